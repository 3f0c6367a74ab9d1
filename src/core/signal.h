/* Waiting for signals of the process. Only a program that owns its process may do this, such as the
 * command line: the disposition of a watched signal is taken over, and given back when the last
 * wait for it is cancelled. */
#ifndef LUM_SIGNAL_H
#define LUM_SIGNAL_H

#include "engine.h"

enum { LUM_SIGNALS_MAX = 8 };

/* An operation that completes when one of the signals arrives. It is a background operation: it
 * does not keep the loop from being seen as idle. NULL with err filled on failure. */
struct lum_op *lum_signals_start(struct lum_engine *eng, const int *signums, size_t count,
                                 struct lum_err *err);

/* The signal that completed the operation. */
int lum_signals_number(const struct lum_op *op);

/* The operation that already waits for the next signal, so that none is missed in between; the
 * caller gets its reference, the second call gets NULL. */
struct lum_op *lum_signals_next(struct lum_op *op);

/* Whether the process ignores the signal, as one that nohup started does SIGHUP. */
bool lum_signal_ignored(int signum);

/* The number of a name such as "INT", 0 when it cannot be waited for; and back. */
int lum_signals_by_name(const char *name);
const char *lum_signals_name(int signum);

#endif
