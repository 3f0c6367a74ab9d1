/* Finding and ending what a child has started. */
#ifndef LUM_PROCTREE_H
#define LUM_PROCTREE_H

#include "engine.h"
#include "procfs.h"

/* Kills the group and session leader root, which must not have been reaped, its group, and those of
 * its descendants that are elsewhere but still linked to it. */
void lum_tree_kill(pid_t root);

/* An operation that lists the processes with the cookie in their environment. */
struct lum_op *lum_find_start(struct lum_engine *eng, const char *cookie);
const struct lum_pstat *lum_find_result(struct lum_op *op, size_t *count);

#endif
