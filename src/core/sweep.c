#include "sweep.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "procfs.h"
#include "target.h"

#define DEATH_WAIT 0.1   /* seconds without one that dies: the kernel holds the others */
#define SWEEP_LIMIT 30.0 /* seconds after which processes that keep appearing are reported */
#define ROUNDS_MAX 100   /* of one scan */

struct lum_sweep {
  struct lum_sweep *next;
  lum_sweep_fn done;
  bool stopped;
  void *arg;
  char *cookie; /* NULL: only the session */
  size_t len;
  pid_t root;
  double started;
  size_t killed;
  size_t hits; /* of the last scan */
};

/* One scan serves all sweeps that were asked for before it began; those asked for meanwhile wait
 * for the next. */
struct lum_sweeper {
  struct lum_engine *eng;
  bool (*is_child)(void *arg, pid_t pid);
  void *arg;
  uv_work_t work;
  bool busy;
  void (*freed)(void *arg); /* set: no more requests, destroy it when idle */
  struct lum_sweep *waiting, **waiting_end;
  /* of the scan that runs: only the worker touches these then */
  struct lum_sweep **active; /* sorted by cookie, those without one last */
  size_t active_count, cookie_count;
  struct lum_sweep **list, *single[1]; /* where active points: to single when memory is short */
  size_t list_size;
  struct lum_pids known, fresh; /* processes seen, and those of them that are new in this round */
  struct lum_pstat *stats;
  size_t stat_count, stat_size;
  struct lum_environ env;
  struct lum_targets hits, stuck;
  struct lum_err err;
};

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len) {
  int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
  return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_sweeps(const void *left, const void *right) {
  const struct lum_sweep *a = *(struct lum_sweep *const *)left,
                         *b = *(struct lum_sweep *const *)right;
  if (!a->cookie || !b->cookie)
    return (a->cookie == NULL) - (b->cookie == NULL);
  return compare_bytes(a->cookie, a->len, b->cookie, b->len);
}

/* The first of those that look for this entry, or NULL. */
static struct lum_sweep *sweep_of_entry(const struct lum_sweeper *sweeper, const char *entry,
                                        size_t len) {
  size_t low = 0, high = sweeper->cookie_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const struct lum_sweep *sweep = sweeper->active[middle];
    if (compare_bytes(sweep->cookie, sweep->len, entry, len) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  struct lum_sweep *found = low < sweeper->cookie_count ? sweeper->active[low] : NULL;
  return found && compare_bytes(found->cookie, found->len, entry, len) == 0 ? found : NULL;
}

/* The sweep that looks for a process with that environment, or NULL. */
static struct lum_sweep *match_environ(struct lum_sweeper *sweeper, pid_t pid) {
  lum_procfs_environ(pid, &sweeper->env);
  const char *at = sweeper->env.data, *end = at + sweeper->env.len;
  while (at < end) {
    const char *nul = memchr(at, '\0', (size_t)(end - at));
    size_t len = (size_t)((nul ? nul : end) - at);
    struct lum_sweep *sweep = sweep_of_entry(sweeper, at, len);
    if (sweep)
      return sweep;
    at += len + 1;
  }
  return NULL;
}

static bool fail_memory(struct lum_sweeper *sweeper) {
  return lum_err_set(&sweeper->err, LUM_QUOTA, "sweep: out of memory");
}

static bool add_hit(struct lum_sweeper *sweeper, pid_t pid, int pidfd, struct lum_sweep *sweep) {
  return lum_targets_add(&sweeper->hits, pid, pidfd, sweep) || fail_memory(sweeper);
}

static void find_by_cookie(struct lum_sweeper *sweeper) {
  for (size_t i = 0; i < sweeper->fresh.count; i++) {
    pid_t pid = sweeper->fresh.list[i];
    if (!match_environ(sweeper, pid) || lum_targets_have(&sweeper->stuck, pid))
      continue;
    bool gone;
    int pidfd = lum_pin(pid, &gone);
    struct lum_sweep *sweep =
        gone ? NULL : match_environ(sweeper, pid); /* the same process still? */
    if (sweep)
      add_hit(sweeper, pid, pidfd, sweep);
    else
      lum_unpin(pidfd);
  }
}

/* ---- kin: descendants, and members of a session, whatever their environment ---- */

static bool read_stats(struct lum_sweeper *sweeper) {
  size_t wanted = sweeper->stat_count + sweeper->fresh.count;
  if (sweeper->stat_size < wanted) {
    struct lum_pstat *stats = realloc(sweeper->stats, wanted * sizeof *stats);
    if (!stats)
      return fail_memory(sweeper);
    sweeper->stats = stats;
    sweeper->stat_size = wanted;
  }
  for (size_t i = 0; i < sweeper->fresh.count; i++) {
    struct lum_pstat *st = &sweeper->stats[sweeper->stat_count];
    if (lum_procfs_stat(sweeper->fresh.list[i], st) && !st->dead && !st->kernel)
      sweeper->stat_count++;
  }
  return true;
}

/* The sweep that wants this process because of its parent or its session, or NULL. */
static struct lum_sweep *match_kin(const struct lum_sweeper *sweeper, const struct lum_pstat *st) {
  for (size_t i = 0; i < sweeper->hits.count; i++) {
    const struct lum_target *hit = &sweeper->hits.list[i];
    if (hit->pid == st->ppid || hit->pid == st->session)
      return hit->tag;
  }
  for (size_t i = 0; i < sweeper->active_count; i++) {
    if (sweeper->active[i]->root == st->session && st->session != 0)
      return sweeper->active[i];
  }
  return NULL;
}

static bool add_kin(struct lum_sweeper *sweeper, const struct lum_pstat *st) {
  if (!match_kin(sweeper, st) || lum_targets_have(&sweeper->hits, st->pid) ||
      lum_targets_have(&sweeper->stuck, st->pid))
    return false;
  struct lum_pstat now; /* it may have changed its session, or be another process */
  bool gone;
  int pidfd = lum_pin(st->pid, &gone);
  struct lum_sweep *sweep =
      !gone && lum_procfs_stat(st->pid, &now) && !now.dead ? match_kin(sweeper, &now) : NULL;
  if (sweep)
    return add_hit(sweeper, st->pid, pidfd, sweep);
  lum_unpin(pidfd);
  return false;
}

static void find_kin(struct lum_sweeper *sweeper) {
  bool roots = false, more = true;
  for (size_t i = 0; i < sweeper->active_count; i++)
    roots = roots || sweeper->active[i]->root != 0;
  if ((sweeper->hits.count == 0 && !roots) || !read_stats(sweeper))
    return;
  while (more) {
    more = false;
    for (size_t i = 0; i < sweeper->stat_count; i++)
      more = add_kin(sweeper, &sweeper->stats[i]) || more;
  }
}

/* ---- one scan ---- */

/* Lists the processes that were not there in the round before; /proc lists in ascending order. */
static bool list_fresh(struct lum_sweeper *sweeper) {
  struct lum_pids now = {0};
  if (!lum_procfs_pids(&now, &sweeper->err)) {
    free(now.list);
    return false;
  }
  bool ok = true;
  sweeper->fresh.count = 0;
  for (size_t i = 0, k = 0; i < now.count && ok; i++) {
    while (k < sweeper->known.count && sweeper->known.list[k] < now.list[i])
      k++;
    if (k == sweeper->known.count || sweeper->known.list[k] != now.list[i])
      ok = lum_pids_add(&sweeper->fresh, now.list[i]) || fail_memory(sweeper);
  }
  free(sweeper->known.list);
  sweeper->known = now;
  return ok;
}

/* Everything that is found is stopped first, and looked for once more: what it started in between
 * would otherwise lose the parent by which it can be found. */
static void find_all(struct lum_sweeper *sweeper) {
  sweeper->known.count = sweeper->stat_count = 0;
  for (int round = 0; round < ROUNDS_MAX; round++) {
    size_t before = sweeper->hits.count;
    if (!list_fresh(sweeper))
      return;
    if (sweeper->cookie_count > 0)
      find_by_cookie(sweeper);
    find_kin(sweeper);
    if (sweeper->hits.count == before)
      return;
    lum_targets_freeze(&sweeper->hits, before);
  }
}

static void kill_all(struct lum_sweeper *sweeper) {
  for (size_t i = 0; i < sweeper->hits.count; i++) {
    struct lum_sweep *sweep = sweeper->hits.list[i].tag;
    bool sent = lum_target_signal(&sweeper->hits.list[i], SIGKILL);
    if (sent || errno == ESRCH) /* what we may not kill is not ours to wait for */
      sweep->hits++;
    if (sent)
      sweep->killed++;
  }
}

/* So that the next scan does not find, and count, those that are about to end. Those that the
 * kernel holds are remembered instead: they are killed, but not dead. */
static void await_deaths(struct lum_sweeper *sweeper) {
  double end = lum_monotonic() + DEATH_WAIT;
  for (size_t i = 0; i < sweeper->hits.count; i++) {
    struct lum_target *hit = &sweeper->hits.list[i];
    while (!lum_target_is_gone(hit) && lum_monotonic() < end) {
      struct timespec pause = {0, 200000};
      nanosleep(&pause, NULL);
    }
    if (lum_target_is_gone(hit)) {
      end = lum_monotonic() + DEATH_WAIT;
    } else {
      lum_targets_add(&sweeper->stuck, hit->pid, hit->pidfd, NULL);
      hit->pidfd = -1;
    }
  }
}

static void forget_dead(struct lum_targets *stuck) {
  size_t kept = 0;
  for (size_t i = 0; i < stuck->count; i++) {
    if (lum_target_is_gone(&stuck->list[i]))
      lum_unpin(stuck->list[i].pidfd);
    else
      stuck->list[kept++] = stuck->list[i];
  }
  stuck->count = kept;
}

static void on_scan(uv_work_t *work) {
  struct lum_sweeper *sweeper = work->data;
  forget_dead(&sweeper->stuck);
  find_all(sweeper);
  kill_all(sweeper);
  await_deaths(sweeper);
}

/* ---- the engine's side ---- */

static void sweep_end(struct lum_sweep *sweep, const struct lum_err *err) {
  sweep->done(sweep->arg, sweep->killed, err);
  free(sweep->cookie);
  free(sweep);
}

static void wait_for_scan(struct lum_sweeper *sweeper, struct lum_sweep *sweep) {
  sweep->next = NULL;
  *sweeper->waiting_end = sweep;
  sweeper->waiting_end = &sweep->next;
}

/* Orphans of a killed tree become ours when this process is init or a subreaper. */
static void reap_adopted(struct lum_sweeper *sweeper) {
  for (size_t i = 0; i < sweeper->hits.count; i++) {
    struct lum_target *hit = &sweeper->hits.list[i];
    siginfo_t info;
    if (hit->pidfd >= 0 && !sweeper->is_child(sweeper->arg, hit->pid))
      waitid(P_PIDFD, (id_t)hit->pidfd, &info, WEXITED | WNOHANG);
  }
}

static void settle(struct lum_sweeper *sweeper, struct lum_sweep *sweep) {
  struct lum_err err = sweeper->err;
  if (sweep->stopped) {
    lum_err_set(&err, LUM_CANCELLED, "sweep: cancelled");
  } else if (err.kind == LUM_OK && sweep->hits > 0) {
    if (lum_monotonic() - sweep->started < SWEEP_LIMIT) {
      wait_for_scan(sweeper, sweep);
      return;
    }
    lum_err_set(&err, LUM_TIMEOUT, "sweep: processes keep appearing, %zu were killed",
                sweep->killed);
  }
  sweep_end(sweep, err.kind == LUM_OK ? NULL : &err);
}

static void sweeper_destroy(struct lum_sweeper *sweeper) {
  void (*freed)(void *) = sweeper->freed;
  void *arg = sweeper->arg;
  free(sweeper->list);
  free(sweeper->known.list);
  free(sweeper->fresh.list);
  free(sweeper->stats);
  free(sweeper->env.data);
  free(sweeper->hits.list);
  lum_targets_clear(&sweeper->stuck);
  free(sweeper->stuck.list);
  free(sweeper);
  freed(arg);
}

/* Hits were counted for the first of those with the same cookie; none of them may end before a
 * clean scan. */
static void share_hits(struct lum_sweeper *sweeper) {
  for (size_t i = 1; i < sweeper->cookie_count; i++) {
    if (compare_sweeps(&sweeper->active[i - 1], &sweeper->active[i]) == 0)
      sweeper->active[i]->hits = sweeper->active[i - 1]->hits;
  }
}

static void next_scan(struct lum_sweeper *sweeper);

static void on_scanned(uv_work_t *work, int status) {
  (void)status; /* never cancelled */
  struct lum_sweeper *sweeper = work->data;
  reap_adopted(sweeper);
  lum_targets_clear(&sweeper->hits);
  share_hits(sweeper);
  for (size_t i = 0; i < sweeper->active_count; i++)
    settle(sweeper,
           sweeper->active[i]); /* what is asked for from in there waits: busy is still set */
  sweeper->busy = false;
  if (sweeper->waiting)
    next_scan(sweeper);
  if (sweeper->freed && !sweeper->busy)
    sweeper_destroy(sweeper);
}

static void activate(struct lum_sweeper *sweeper) {
  size_t count = 0;
  for (struct lum_sweep *sweep = sweeper->waiting; sweep; sweep = sweep->next)
    count++;
  if (count > sweeper->list_size) {
    struct lum_sweep **list = realloc(sweeper->list, count * sizeof(struct lum_sweep *));
    sweeper->list = list ? list : sweeper->list;
    sweeper->list_size = list ? count : sweeper->list_size;
  }
  bool fits = count <= sweeper->list_size;
  sweeper->active = fits ? sweeper->list : sweeper->single;
  sweeper->active_count = sweeper->cookie_count = 0;
  for (struct lum_sweep *sweep;
       (sweep = sweeper->waiting) && (fits || sweeper->active_count == 0);) {
    sweeper->waiting = sweep->next;
    sweep->hits = 0;
    sweeper->cookie_count += sweep->cookie != NULL;
    sweeper->active[sweeper->active_count++] = sweep;
  }
  if (!sweeper->waiting)
    sweeper->waiting_end = &sweeper->waiting;
  qsort(sweeper->active, sweeper->active_count, sizeof(struct lum_sweep *), compare_sweeps);
}

static void next_scan(struct lum_sweeper *sweeper) {
  activate(sweeper);
  lum_err_clear(&sweeper->err);
  sweeper->busy = true;
  uv_queue_work(&sweeper->eng->loop, &sweeper->work, on_scan, on_scanned);
}

struct lum_sweep *lum_sweep_request(struct lum_sweeper *sweeper, const char *cookie, pid_t root,
                                    lum_sweep_fn done, void *arg) {
  struct lum_sweep *sweep = calloc(1, sizeof *sweep);
  char *copy = cookie ? strdup(cookie) : NULL;
  if (!sweep || (cookie && !copy)) {
    free(sweep);
    free(copy);
    return NULL;
  }
  sweep->cookie = copy;
  sweep->len = cookie ? strlen(cookie) : 0;
  sweep->root = root;
  sweep->done = done;
  sweep->arg = arg;
  sweep->started = lum_monotonic();
  wait_for_scan(sweeper, sweep);
  if (!sweeper->busy)
    next_scan(sweeper);
  return sweep;
}

void lum_sweep_stop(struct lum_sweep *sweep) {
  sweep->stopped = true;
}

struct lum_sweeper *lum_sweeper_new(struct lum_engine *eng, bool (*is_child)(void *arg, pid_t pid),
                                    void *arg) {
  struct lum_sweeper *sweeper = calloc(1, sizeof *sweeper);
  if (!sweeper)
    return NULL;
  sweeper->eng = eng;
  sweeper->is_child = is_child;
  sweeper->arg = arg;
  sweeper->work.data = sweeper;
  sweeper->waiting_end = &sweeper->waiting;
  return sweeper;
}

void lum_sweeper_free(struct lum_sweeper *sweeper, void (*freed)(void *arg)) {
  sweeper->freed = freed;
  if (!sweeper->busy)
    sweeper_destroy(sweeper);
}

/* ---- as operations ---- */

struct sweep_op {
  struct lum_op op;
  struct lum_sweep *sweep;
  size_t killed;
};

static void on_swept(void *arg, size_t killed, const struct lum_err *err) {
  struct sweep_op *op = arg;
  op->killed = killed;
  if (err)
    op->op.err = *err;
  lum_op_complete(&op->op);
}

static void sweep_op_cancel(struct lum_op *op) {
  lum_sweep_stop(((struct sweep_op *)op)->sweep);
}

static void sweep_op_free(struct lum_op *op) {
  free(op);
}

static const struct lum_op_type sweep_type = {"process.sweep", sweep_op_cancel, sweep_op_free};

struct lum_op *lum_sweep_start(struct lum_sweeper *sweeper, const char *cookie) {
  struct sweep_op *op = calloc(1, sizeof *op);
  if (!op)
    return NULL;
  lum_op_init(&op->op, sweeper->eng, &sweep_type);
  lum_op_start(&op->op);
  op->sweep = lum_sweep_request(sweeper, cookie, 0, on_swept, op);
  if (!op->sweep) {
    lum_err_set(&op->op.err, LUM_QUOTA, "process.sweep: out of memory");
    lum_op_complete(&op->op);
  }
  return &op->op;
}

size_t lum_sweep_killed(struct lum_op *op) {
  return ((struct sweep_op *)op)->killed;
}
