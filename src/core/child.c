#include "child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_WAIT_MS 2000 /* at the engine's end: killed children are gone long before */
#define SPARES_MAX 4
#define KEEP_WHOLE (32 * 1024) /* smaller ones are copied rather than kept in a large buffer */
#define EXIT_POLL_MS 2         /* where there are no pidfds */

/* What an engine has of children. */
struct lum_procs {
  struct lum_engine *eng;
  struct lum_child list; /* head; all that are not reaped */
  struct lum_sweeper *sweeper;
  bool ending; /* no operations are started any more */
  char *scratch;
  char *spare[SPARES_MAX]; /* buffers like scratch */
  size_t spare_count;
};

/* ---- the engine's part ---- */

static bool is_child(void *arg, pid_t pid) {
  struct lum_procs *procs = arg;
  for (struct lum_child *child = procs->list.next; child != &procs->list; child = child->next) {
    if (child->pid == pid)
      return true;
  }
  return false;
}

static void procs_free(struct lum_procs *procs);

static struct lum_procs *procs_of(struct lum_engine *eng) {
  if (eng->procs)
    return eng->procs;
  struct lum_procs *procs = calloc(1, sizeof *procs);
  char *scratch = malloc(LUM_SCRATCH);
  struct lum_sweeper *sweeper = procs && scratch ? lum_sweeper_new(eng, is_child, procs) : NULL;
  if (!sweeper) {
    free(scratch);
    free(procs);
    return NULL;
  }
  procs->eng = eng;
  procs->scratch = scratch;
  procs->list.prev = procs->list.next = &procs->list;
  procs->sweeper = sweeper;
  eng->procs = procs;
  eng->procs_free = procs_free;
  return procs;
}

struct lum_sweeper *lum_procs_sweeper(struct lum_engine *eng) {
  struct lum_procs *procs = procs_of(eng);
  return procs ? procs->sweeper : NULL;
}

char *lum_procs_scratch(struct lum_engine *eng) {
  struct lum_procs *procs = procs_of(eng);
  return procs ? procs->scratch : NULL;
}

char *lum_procs_keep(struct lum_engine *eng, size_t len, bool *whole) {
  struct lum_procs *procs = eng->procs;
  char *next = NULL;
  if (len >= KEEP_WHOLE)
    next = procs->spare_count > 0 ? procs->spare[--procs->spare_count] : malloc(LUM_SCRATCH);
  *whole = next != NULL;
  char *bytes = *whole ? procs->scratch : malloc(len);
  if (*whole)
    procs->scratch = next;
  else if (bytes)
    memcpy(bytes, procs->scratch, len);
  return bytes;
}

void lum_procs_give_back(struct lum_engine *eng, char *bytes, bool whole) {
  struct lum_procs *procs = eng->procs;
  if (whole && procs && procs->spare_count < SPARES_MAX)
    procs->spare[procs->spare_count++] = bytes;
  else
    free(bytes);
}

/* ---- the end of a child ---- */

static void unlist(struct lum_child *child) {
  if (!child->listed)
    return;
  child->listed = false;
  child->prev->next = child->next;
  child->next->prev = child->prev;
}

static void unwatch(struct lum_child *child) {
  if (!child->watched)
    return;
  child->watched = false;
  uv_handle_t *handle =
      child->pidfd >= 0 ? (uv_handle_t *)&child->exit_poll : (uv_handle_t *)&child->exit_timer;
  lum_hold_close(&child->hold, handle);
}

static void await_status(pid_t pid) {
  siginfo_t info;
  while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
    ;
}

void lum_child_reap(struct lum_child *child) {
  if (child->reaped || !child->ended || child->sweep)
    return;
  child->reaped = true;
  await_status(child->pid);
  if (child->pidfd >= 0)
    close(child->pidfd);
  unlist(child);
}

static void set_status(struct lum_child *child, const siginfo_t *info) {
  if (child->over)
    return; /* presumed */
  child->over = true;
  child->finished = lum_monotonic();
  if (info->si_code == CLD_EXITED)
    child->exit_code = info->si_status;
  else
    child->signal = info->si_status;
}

/* Somebody else in this process took the status: its own wait for any child, or SIGCHLD being
 * ignored. */
static void set_lost(struct lum_child *child) {
  child->lost = child->reaped = true;
  if (child->pidfd >= 0)
    close(child->pidfd);
  unlist(child);
  if (!child->over) {
    child->over = true;
    child->finished = lum_monotonic();
  }
}

void lum_child_check(struct lum_child *child) {
  if (child->ended)
    return;
  siginfo_t info = {0};
  int rc = waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT);
  if ((rc < 0 && errno == EINTR) || (rc == 0 && info.si_pid == 0))
    return;
  bool was_over = child->over;
  child->ended = true;
  unwatch(child);
  if (rc < 0)
    set_lost(child);
  else
    set_status(child, &info);
  if (child->released)
    lum_child_reap(child);
  else if (!was_over)
    child->hooks->on_over(child);
}

static void on_exit_poll(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  lum_child_check(poll->data);
}

static void on_exit_timer(uv_timer_t *timer) {
  lum_child_check(timer->data);
}

/* ---- the end of the engine ---- */

static void await_exit(struct lum_child *child, double end) {
  struct pollfd fd = {.fd = child->pidfd, .events = POLLIN};
  while (!child->ended && lum_monotonic() < end) {
    poll(&fd, child->pidfd >= 0 ? 1 : 0, EXIT_POLL_MS);
    lum_child_check(child);
  }
}

/* The kernel does not let it go: it will be a zombie of the host. */
static void abandon(struct lum_child *child) {
  child->ended = child->reaped = true;
  unwatch(child);
  if (child->pidfd >= 0)
    close(child->pidfd);
  unlist(child);
}

static void procs_free(struct lum_procs *procs) {
  struct lum_child *list = &procs->list;
  procs->ending = true;
  for (struct lum_child *child = list->next; child != list; child = child->next)
    lum_child_kill(child);
  double end = lum_monotonic() + END_WAIT_MS / 1e3;
  for (struct lum_child *child = list->next, *next; child != list; child = next) {
    next = child->next;
    await_exit(child, end);
  }
  for (struct lum_child *child = list->next, *next; child != list; child = next) {
    next = child->next;
    if (!child->released)
      child->hooks->on_engine_end(child);
    else if (!child->ended)
      abandon(child);
  }
  procs->eng->procs = NULL;
  free(procs->scratch);
  while (procs->spare_count > 0)
    free(procs->spare[--procs->spare_count]);
  lum_sweeper_free(procs->sweeper, free);
}

/* ---- life ---- */

static struct lum_child *child_of(struct lum_hold *hold) {
  return (struct lum_child *)(void *)((char *)hold - offsetof(struct lum_child, hold));
}

static void on_last(struct lum_hold *hold) {
  struct lum_child *child = child_of(hold);
  free(child->cookie);
  child->hooks->free(child);
}

static int watch(struct lum_child *child) {
  uv_loop_t *loop = &child->eng->loop;
  int rc = child->pidfd >= 0 ? uv_poll_init(loop, &child->exit_poll, child->pidfd)
                             : uv_timer_init(loop, &child->exit_timer);
  if (rc != 0)
    return rc;
  child->watched = true;
  child->hold.count++;
  if (child->pidfd >= 0) {
    child->exit_poll.data = child;
    uv_poll_start(&child->exit_poll, UV_READABLE, on_exit_poll);
  } else {
    child->exit_timer.data = child;
    uv_timer_start(&child->exit_timer, on_exit_timer, EXIT_POLL_MS, EXIT_POLL_MS);
  }
  return 0;
}

static void enlist(struct lum_child *child, struct lum_procs *procs) {
  child->listed = true;
  child->next = &procs->list;
  child->prev = procs->list.prev;
  child->prev->next = child;
  procs->list.prev = child;
}

bool lum_child_create(struct lum_child *child, struct lum_engine *eng,
                      const struct lum_child_hooks *hooks, struct lum_spawned *spawned,
                      const char *cookie, double started, struct lum_err *err) {
  *child = (struct lum_child){.hold = {1, on_last}, .hooks = hooks, .eng = eng, .exit_code = -1};
  child->pid = spawned->pid;
  child->pidfd = spawned->pidfd;
  child->started = started;
  if (spawned->refused) {
    child->over = child->ended = child->reaped = true;
    child->exit_code = spawned->refused;
    child->finished = lum_monotonic();
    return true;
  }
  struct lum_procs *procs = procs_of(eng);
  int rc = procs ? watch(child) : -ENOMEM;
  if (rc != 0) {
    kill(-child->pid, SIGKILL);
    await_status(child->pid);
    lum_spawned_close(spawned);
    return lum_err_sys(err, -rc, "cannot watch a child process");
  }
  enlist(child, procs);
  child->cookie =
      cookie ? strdup(cookie) : NULL; /* without it, only the group and the session are found */
  return true;
}

static void on_alarm(uv_timer_t *timer) {
  struct lum_child *child = timer->data;
  child->hooks->on_alarm(child);
}

void lum_child_alarm(struct lum_child *child, uint64_t ms) {
  if (child->released)
    return;
  if (!child->has_alarm) {
    uv_timer_init(&child->eng->loop, &child->alarm);
    child->alarm.data = child;
    child->has_alarm = true;
    child->hold.count++;
  }
  uv_update_time(&child->eng->loop);
  uv_timer_start(&child->alarm, on_alarm, ms, 0);
}

void lum_child_no_alarm(struct lum_child *child) {
  if (child->has_alarm)
    uv_timer_stop(&child->alarm);
}

void lum_child_release(struct lum_child *child) {
  if (child->released)
    return;
  child->released = true;
  if (child->has_alarm)
    lum_hold_close(&child->hold, (uv_handle_t *)&child->alarm);
  lum_child_reap(child);
}

/* ---- signals ---- */

bool lum_child_reachable(const struct lum_child *child) {
  return !child->reaped;
}

bool lum_child_signal(struct lum_child *child, int sig, struct lum_err *err) {
  if (!lum_child_reachable(child))
    return lum_err_set(err, LUM_NOT_FOUND, "process.kill: the process has ended");
  return kill(-child->pid, sig) == 0 ? true
                                     : lum_err_sys(err, errno, "process.kill %d", (int)child->pid);
}

struct cleanup_op {
  struct lum_op op;
  struct lum_child *child;
};

static void end_cleanup(struct lum_child *child) {
  struct lum_op *op = child->cleanup;
  child->cleanup = NULL;
  if (op)
    lum_op_complete(op);
}

static void cleanup_cancel(struct lum_op *op) {
  end_cleanup(((struct cleanup_op *)op)->child); /* the sweep goes on */
}

static void cleanup_free(struct lum_op *op) {
  free(op);
}

static const struct lum_op_type cleanup_type = {"process.cleanup", cleanup_cancel, cleanup_free};

static void begin_cleanup(struct lum_child *child) {
  struct cleanup_op *cleanup = child->eng->procs->ending ? NULL : calloc(1, sizeof *cleanup);
  if (!cleanup)
    return;
  lum_op_init(&cleanup->op, child->eng, &cleanup_type);
  cleanup->op.background = true;
  cleanup->child = child;
  lum_op_start(&cleanup->op);
  lum_op_unref(&cleanup->op); /* nobody waits for it */
  child->cleanup = &cleanup->op;
}

static void on_swept(void *arg, size_t killed, const struct lum_err *err) {
  (void)killed;
  (void)err; /* the result of a command does not depend on it, and the caller may sweep again */
  struct lum_child *child = arg;
  child->sweep = NULL;
  if (child->released)
    lum_child_reap(child);
  else
    child->hooks->on_swept(child);
  end_cleanup(child);
  lum_hold_drop(&child->hold);
}

void lum_child_kill(struct lum_child *child) {
  if (child->reaped)
    return;
  lum_tree_kill(child->pid);
  if (child->sweep)
    return; /* it goes on until nothing is left */
  child->hold.count++;
  child->sweep =
      lum_sweep_request(lum_procs_sweeper(child->eng), child->cookie, child->pid, on_swept, child);
  if (child->sweep)
    begin_cleanup(child);
  else
    lum_hold_drop(&child->hold);
}

void lum_child_presume(struct lum_child *child) {
  if (child->over)
    return;
  child->over = true;
  child->signal = SIGKILL;
  child->finished = lum_monotonic();
}
