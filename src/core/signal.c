#include "signal.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
  const char *name;
  int number;
} known[] = {
    {"INT", SIGINT},     {"TERM", SIGTERM}, {"HUP", SIGHUP},
    {"WINCH", SIGWINCH}, {"USR1", SIGUSR1}, {"CONT", SIGCONT},
};

struct watch {
  uv_signal_t handles[LUM_SIGNALS_MAX];
  size_t open; /* handles whose close callback has not run */
  struct signal_op *current;
};

struct signal_op {
  struct lum_op op;
  struct watch *watch;
  struct signal_op *next; /* ours until somebody asks for it */
  int signum;
};

/* ---- a program that never comes back to its loop ---- */

/* libuv's handler only writes to a pipe. A thread that is stuck in a C function would never read
 * it, so ours counts in front of it: the third deadly signal in a row that nobody has seen ends the
 * process. */
static atomic_uint unseen;
static void (*_Atomic uv_handler)(int);

static void count_signal(int signum) {
  static const char note[] =
      "\nluarium: stopped by force; sandboxes may be left behind: see `luarium ls`\n";
  if (atomic_fetch_add(&unseen, 1) >= 2) {
    ssize_t ignored = write(STDERR_FILENO, note, sizeof note - 1);
    (void)ignored;
    _exit(128 + signum);
  }
  atomic_load (&uv_handler)(signum);
}

static bool is_deadly(int signum) {
  return signum == SIGINT || signum == SIGTERM || signum == SIGHUP;
}

static void put_in_front(int signum) {
  struct sigaction action;
  if (!is_deadly(signum) || sigaction(signum, NULL, &action) != 0 ||
      action.sa_handler == count_signal)
    return;
  atomic_store(&uv_handler, action.sa_handler);
  action.sa_handler = count_signal;
  sigaction(signum, &action, NULL);
}

bool lum_signal_ignored(int signum) {
  struct sigaction action;
  return sigaction(signum, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* ---- operations ---- */

static void on_close(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  if (--watch->open == 0)
    free(watch);
}

static void close_watch(struct watch *watch) {
  size_t count = watch->open; /* the close callbacks run later */
  for (size_t i = 0; i < count; i++)
    uv_close((uv_handle_t *)&watch->handles[i], on_close);
}

static void signals_cancel(struct lum_op *op) {
  struct signal_op *self = (struct signal_op *)op;
  close_watch(self->watch);
  lum_op_set_cancelled(op);
  lum_op_complete(op);
}

static void signals_free(struct lum_op *op) {
  struct lum_op *next = lum_signals_next(op);
  if (next) {
    lum_op_cancel(next);
    lum_op_unref(next);
  }
  free(op);
}

static const struct lum_op_type signals_type = {"signal", signals_cancel, signals_free};

static struct signal_op *wait_on(struct lum_engine *eng, struct watch *watch) {
  struct signal_op *self = calloc(1, sizeof *self);
  if (!self)
    return NULL;
  lum_op_init(&self->op, eng, &signals_type);
  self->op.background = true;
  self->watch = watch;
  watch->current = self;
  lum_op_start(&self->op);
  return self;
}

static void on_signal(uv_signal_t *handle, int signum) {
  struct watch *watch = handle->data;
  struct signal_op *self = watch->current;
  struct lum_engine *eng = self->op.eng;
  self->next = wait_on(eng, watch);
  if (!self->next)
    close_watch(watch); /* out of memory: the next signal has its default effect */
  self->signum = signum;
  if (is_deadly(signum)) {
    eng->interrupted = signum;
    atomic_store(&unseen, 0);
  }
  lum_op_complete(&self->op);
}

struct lum_op *lum_signals_start(struct lum_engine *eng, const int *signums, size_t count,
                                 struct lum_err *err) {
  struct watch *watch = calloc(1, sizeof *watch);
  struct signal_op *self = watch ? wait_on(eng, watch) : NULL;
  if (!self) {
    free(watch);
    lum_err_set(err, LUM_QUOTA, "signal: out of memory");
    return NULL;
  }
  for (size_t i = 0; i < count; i++) {
    uv_signal_t *handle = &watch->handles[i];
    uv_signal_init(&eng->loop, handle);
    handle->data = watch;
    watch->open++;
    int rc = uv_signal_start(handle, on_signal, signums[i]);
    if (rc != 0) {
      lum_err_sys(err, -rc, "signal: cannot wait for SIG%s", lum_signals_name(signums[i]));
      lum_op_cancel(&self->op);
      lum_op_unref(&self->op);
      return NULL;
    }
    put_in_front(signums[i]);
  }
  return &self->op;
}

int lum_signals_number(const struct lum_op *op) {
  return ((const struct signal_op *)op)->signum;
}

struct lum_op *lum_signals_next(struct lum_op *op) {
  struct signal_op *self = (struct signal_op *)op;
  struct signal_op *next = self->next;
  self->next = NULL;
  return next ? &next->op : NULL;
}

int lum_signals_by_name(const char *name) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i].name, name) == 0)
      return known[i].number;
  return 0;
}

const char *lum_signals_name(int signum) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].number == signum)
      return known[i].name;
  return "?";
}
