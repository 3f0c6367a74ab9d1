/* Ending what a child has left behind in sessions of its own: it is known by a cookie, a
 * "NAME=value" in its environment. All processes are looked at, on a worker thread; sweeps that are
 * asked for meanwhile share the next look. */
#ifndef LUM_SWEEP_H
#define LUM_SWEEP_H

#include "engine.h"

struct lum_sweeper;
struct lum_sweep;

/* One per engine. is_child tells whether somebody else will reap that child of ours; others that
 * were handed to this process because their parent is gone are reaped after they were killed. */
struct lum_sweeper *lum_sweeper_new(struct lum_engine *eng, bool (*is_child)(void *arg, pid_t pid),
                                    void *arg);

/* Frees it, at once or when the last sweep has ended, and then calls freed. Nothing may be
 * requested any more. */
void lum_sweeper_free(struct lum_sweeper *sweeper, void (*freed)(void *arg));

/* Starts a sweep that ends everything with the cookie in its environment, its descendants, and
 * everything in the session of root (0: none), which must not be reaped before done was called.
 * done runs on the engine's thread once a scan has found nothing, after which the sweep is gone;
 * err is NULL or says why it was given up. cookie may be NULL. NULL: out of memory. */
typedef void (*lum_sweep_fn)(void *arg, size_t killed, const struct lum_err *err);
struct lum_sweep *lum_sweep_request(struct lum_sweeper *sweeper, const char *cookie, pid_t root,
                                    lum_sweep_fn done, void *arg);

/* Ends it with the scan that runs or is next: done is called with `cancelled`. */
void lum_sweep_stop(struct lum_sweep *sweep);

/* The same as an operation; NULL: out of memory. */
struct lum_op *lum_sweep_start(struct lum_sweeper *sweeper, const char *cookie);
size_t lum_sweep_killed(struct lum_op *op);

#endif
