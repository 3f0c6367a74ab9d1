#include "proctree.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"
#include "worker.h"

#define TREE_MAX 4096 /* descendants followed right in the engine's thread */

static void pin_child(struct lum_targets *tree, pid_t parent, pid_t pid) {
  struct lum_pstat st;
  bool gone;
  int pidfd = lum_pin(pid, &gone);
  if (gone || !lum_procfs_stat(pid, &st) || st.ppid != parent)
    lum_unpin(pidfd);
  else if (lum_targets_add(tree, pid, pidfd, NULL))
    lum_target_signal(&tree->list[tree->count - 1], SIGSTOP); /* it shall start nothing more */
}

static void pin_children(struct lum_targets *tree, pid_t parent, struct lum_pids *pids) {
  pids->count = 0;
  lum_procfs_children(parent, pids);
  for (size_t i = 0; i < pids->count && tree->count < TREE_MAX; i++)
    pin_child(tree, parent, pids->list[i]);
}

void lum_tree_kill(pid_t root) {
  struct lum_targets tree = {0};
  struct lum_pids pids = {0};
  kill(-root,
       SIGSTOP); /* nothing new while we look; not waited for, as the engine's thread must not */
  pin_children(&tree, root, &pids);
  for (size_t i = 0; i < tree.count; i++)
    pin_children(&tree, tree.list[i].pid, &pids);
  kill(-root, SIGKILL);
  for (size_t i = 0; i < tree.count; i++)
    lum_target_signal(&tree.list[i], SIGKILL);
  lum_targets_clear(&tree);
  free(tree.list);
  free(pids.list);
}

/* ---- looking only ---- */

struct find_work {
  struct lum_work work;
  char *cookie;
  struct lum_pstat *found;
  size_t count, size;
};

static bool has_entry(const struct lum_environ *env, const char *entry) {
  size_t wanted = strlen(entry);
  for (size_t at = 0; at < env->len;) {
    size_t len = strnlen(env->data + at, env->len - at);
    if (len == wanted && memcmp(env->data + at, entry, len) == 0)
      return true;
    at += len + 1;
  }
  return false;
}

static bool found_add(struct find_work *find, const struct lum_pstat *st) {
  if (find->count == find->size) {
    size_t size = find->size ? find->size * 2 : 16;
    struct lum_pstat *found = realloc(find->found, size * sizeof *found);
    if (!found)
      return lum_err_set(&find->work.result_err, LUM_QUOTA, "process.find: out of memory");
    find->found = found;
    find->size = size;
  }
  find->found[find->count++] = *st;
  return true;
}

static void find_run(struct lum_work *work) {
  struct find_work *find = (struct find_work *)work;
  struct lum_pids pids = {0};
  struct lum_environ env = {0};
  bool ok = lum_procfs_pids(&pids, &work->result_err);
  for (size_t i = 0; ok && i < pids.count && !lum_work_cancelled(work); i++) {
    struct lum_pstat st;
    lum_procfs_environ(pids.list[i], &env);
    if (has_entry(&env, find->cookie) && lum_procfs_stat(pids.list[i], &st) && !st.dead)
      ok = found_add(find, &st);
  }
  free(pids.list);
  free(env.data);
}

static void find_release(struct lum_work *work) {
  struct find_work *find = (struct find_work *)work;
  free(find->cookie);
  free(find->found);
}

static const struct lum_work_type find_type = {
    {"process.find", lum_work_op_cancel, lum_work_op_free}, find_run, find_release, NULL};

struct lum_op *lum_find_start(struct lum_engine *eng, const char *cookie) {
  char *copy = strdup(cookie);
  struct find_work *find =
      copy ? (struct find_work *)lum_work_new(eng, &find_type, sizeof *find) : NULL;
  if (!find) {
    free(copy);
    return NULL;
  }
  find->cookie = copy;
  lum_work_start(&find->work);
  return &find->work.op;
}

const struct lum_pstat *lum_find_result(struct lum_op *op, size_t *count) {
  struct find_work *find = (struct find_work *)op;
  *count = find->count;
  return find->found;
}
