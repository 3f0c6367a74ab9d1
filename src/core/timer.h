/* Waiting for time to pass. */
#ifndef LUM_TIMER_H
#define LUM_TIMER_H

#include "engine.h"

/* An operation that completes after ms milliseconds; the caller's reference is returned. NULL: out
 * of memory. A background one keeps nobody waiting. */
struct lum_op *lum_sleep_start(struct lum_engine *eng, uint64_t ms, bool background);

#endif
