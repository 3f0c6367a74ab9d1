/* Finding and ending what a child has left behind: processes that moved to a session of their own
 * are known by a cookie, a "NAME=value" in their environment. Signals go through pidfds, so that a
 * pid that was given to somebody else in between is never hit. */
#ifndef LUM_PROCTREE_H
#define LUM_PROCTREE_H

#include "engine.h"
#include "procfs.h"

struct lum_sweeper;
struct lum_sweep;

/* Kills the group and session leader root, which must not have been reaped, its group, and those of
 * its descendants that are elsewhere but still linked to it. */
void lum_tree_kill(pid_t root);

/* Starts a sweep that ends everything with the cookie in its environment, its descendants, and
 * everything in the session of root (0: none), which must not be reaped before done was called.
 * done runs on the engine's thread once a scan has found nothing, after which the sweep is gone;
 * err is NULL or says why it was given up. cookie may be NULL. NULL: out of memory. */
typedef void (*lum_sweep_fn)(void *arg, size_t killed, const struct lum_err *err);
struct lum_sweep *lum_sweep_request(struct lum_sweeper *sweeper, const char *cookie, pid_t root,
                                    lum_sweep_fn done, void *arg);

/* The sweep goes on, but done will not be called. */
void lum_sweep_forget(struct lum_sweep *sweep);

/* The same as an operation; NULL: out of memory. */
struct lum_op *lum_sweep_start(struct lum_sweeper *sweeper, const char *cookie);
size_t lum_sweep_killed(struct lum_op *op);

/* An operation that lists the processes with the cookie in their environment. */
struct lum_op *lum_find_start(struct lum_engine *eng, const char *cookie);
const struct lum_pstat *lum_find_result(struct lum_op *op, size_t *count);

/* One per engine. is_child tells whether somebody else will reap that child of ours; others that
 * were handed to this process because their parent is gone are reaped after they were killed. */
struct lum_sweeper *lum_sweeper_new(struct lum_engine *eng, bool (*is_child)(void *arg, pid_t pid),
                                    void *arg);

/* Frees it, at once or when the last sweep has ended, and then calls freed. Nothing may be
 * requested any more. */
void lum_sweeper_free(struct lum_sweeper *sweeper, void (*freed)(void *arg));

#endif
