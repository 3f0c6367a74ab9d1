/* libuv's pool of worker threads, which it starts at the first use and aborts the process when it
 * cannot. */
#ifndef LUM_POOL_H
#define LUM_POOL_H

#include "engine.h"

/* Whether something may be given to the pool; false with err filled where its threads cannot be
 * made. Once true it stays so in this process. */
bool lum_pool_ready(struct lum_engine *eng, struct lum_err *err);

#endif
