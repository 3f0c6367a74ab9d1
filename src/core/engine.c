#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOOP_DESCRIPTORS 6 /* that uv_loop_init and uv_async_init open at most */

static void on_wake(uv_async_t *async) {
  struct lum_engine *eng = async->data;
  eng->woken = true;
}

static void on_poll_timer(uv_timer_t *timer) {
  (void)timer; /* its only purpose is to end uv_run */
}

/* What is opened next would get the number of a closed standard stream: the host's next print would
 * go into a socket, and libuv aborts when it closes one of its own descriptors below 3. */
static bool check_standard_streams(struct lum_err *err) {
  static const char *const names[] = {"input", "output", "error"};
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) == -1)
      return lum_err_set(err, LUM_INVALID,
                         "luarium: standard %s (descriptor %d) is closed in this process, and what "
                         "is opened next would take its place: open /dev/null there first",
                         names[fd], fd);
  return true;
}

/* libuv aborts where a loop cannot get its first descriptors: see whether there are enough. */
static bool check_descriptors(struct lum_err *err) {
  int fds[LOOP_DESCRIPTORS], count = 0, errnum = 0;
  while (count < LOOP_DESCRIPTORS && errnum == 0) {
    fds[count] = fcntl(0, F_DUPFD_CLOEXEC, 3);
    if (fds[count] < 0)
      errnum = errno;
    else
      count++;
  }
  while (count > 0)
    close(fds[--count]);
  return errnum == 0 || lum_err_sys(err, errnum, "luarium: cannot make an event loop");
}

/* How many forks lie between the first process that made an engine and this one. Children that we
 * make ourselves run no code of the host's and do not count. */
static unsigned forks;
static int watch_result;

static void count_fork(void) {
  forks++;
}

static void watch_forks(void) {
  watch_result = pthread_atfork(NULL, NULL, count_fork);
}

static bool check_forks(struct lum_err *err) {
  static uv_once_t once = UV_ONCE_INIT;
  uv_once(&once, watch_forks);
  return watch_result == 0 || lum_err_sys(err, watch_result, "luarium: cannot watch for forks");
}

bool lum_engine_inherited(const struct lum_engine *eng) {
  return eng->forks != forks;
}

bool lum_engine_forked(void) {
  return forks > 0;
}

struct lum_engine *lum_engine_new(struct lum_err *err) {
  if (!check_standard_streams(err) || !check_descriptors(err) || !check_forks(err))
    return NULL;
  struct lum_engine *eng = calloc(1, sizeof *eng);
  if (!eng) {
    lum_err_set(err, LUM_QUOTA, "luarium: out of memory");
    return NULL;
  }
  int rc = uv_loop_init(&eng->loop);
  if (rc == 0) {
    rc = uv_async_init(&eng->loop, &eng->wake, on_wake);
    if (rc != 0)
      uv_loop_close(&eng->loop);
  }
  if (rc != 0) {
    lum_err_sys(err, -rc, "luarium: cannot make an event loop");
    free(eng);
    return NULL;
  }
  eng->forks = forks;
  uv_timer_init(&eng->loop, &eng->poll_timer);
  uv_unref((uv_handle_t *)&eng->wake);
  eng->wake.data = eng;
  eng->inflight.prev = eng->inflight.next = &eng->inflight;
  return eng;
}

static bool is_own(struct lum_engine *eng, uv_handle_t *handle) {
  return handle == (uv_handle_t *)&eng->wake || handle == (uv_handle_t *)&eng->poll_timer;
}

static void drop_completed(struct lum_engine *eng) {
  for (struct lum_op *op; (op = lum_engine_take(eng));)
    lum_op_unref(op);
}

static void cancel_all(struct lum_engine *eng) {
  /* A cancel may complete its operation at once and so change the list: start over after each. */
  bool again = true;
  while (again) {
    again = false;
    for (struct lum_op *op = eng->inflight.next; op != &eng->inflight; op = op->next) {
      if (!op->cancelled) {
        lum_op_cancel(op);
        again = true;
        break;
      }
    }
  }
}

void lum_engine_free(struct lum_engine *eng) {
  cancel_all(eng);
  while (eng->inflight_count > 0) {
    drop_completed(eng);
    uv_run(&eng->loop, UV_RUN_ONCE);
  }
  drop_completed(eng);
  if (eng->httpc)
    eng->httpc_free(eng->httpc);
  if (eng->procs)
    eng->procs_free(eng->procs);
  uv_close((uv_handle_t *)&eng->wake, NULL);
  uv_close((uv_handle_t *)&eng->poll_timer, NULL);
  while (uv_run(&eng->loop, UV_RUN_DEFAULT) != 0)
    ;
  if (uv_loop_close(&eng->loop) != 0)
    abort(); /* a handle outlived its operation: a bug that must not pass unseen */
  eng->closed = true;
  if (eng->live_ops == 0)
    free(eng);
}

void lum_engine_op_freed(struct lum_engine *eng) {
  eng->live_ops--;
  if (eng->closed && eng->live_ops == 0)
    free(eng);
}

static uint64_t now_ms(struct lum_engine *eng) {
  uv_update_time(&eng->loop);
  return uv_now(&eng->loop);
}

enum lum_poll lum_engine_poll(struct lum_engine *eng, int64_t timeout_ms) {
  if (eng->done_head || timeout_ms == 0) {
    uv_run(&eng->loop, UV_RUN_NOWAIT);
    return eng->done_head ? LUM_POLL_DONE : LUM_POLL_TIMEOUT;
  }
  uint64_t end = timeout_ms > 0 ? now_ms(eng) + (uint64_t)timeout_ms : 0;
  if (timeout_ms > 0)
    uv_timer_start(&eng->poll_timer, on_poll_timer, (uint64_t)timeout_ms, 0);
  enum lum_poll result = LUM_POLL_DONE;
  while (!eng->done_head) {
    if (eng->woken) {
      result = LUM_POLL_WOKEN;
      break;
    }
    if (eng->inflight_count == eng->background_count && timeout_ms < 0) {
      uv_run(&eng->loop, UV_RUN_NOWAIT); /* a signal that came with the end of the last one */
      if (eng->done_head || eng->woken)
        continue;
      result = LUM_POLL_IDLE;
      break;
    }
    if (timeout_ms > 0 && now_ms(eng) >= end) {
      result = LUM_POLL_TIMEOUT;
      break;
    }
    uv_run(&eng->loop, UV_RUN_ONCE);
  }
  eng->woken = false;
  uv_timer_stop(&eng->poll_timer);
  return result;
}

void lum_engine_breathe(struct lum_engine *eng) {
  uv_run(&eng->loop, UV_RUN_NOWAIT);
}

int lum_engine_fd(struct lum_engine *eng) {
  return uv_backend_fd(&eng->loop);
}

int lum_engine_next(struct lum_engine *eng) {
  lum_engine_breathe(eng);
  if (eng->done_head)
    return 0;
  return uv_loop_alive(&eng->loop) ? uv_backend_timeout(&eng->loop) : -1;
}

struct lum_op *lum_engine_take(struct lum_engine *eng) {
  struct lum_op *op = eng->done_head;
  if (!op)
    return NULL;
  eng->done_head = op->next;
  if (!eng->done_head)
    eng->done_tail = NULL;
  op->next = NULL;
  return op;
}

void lum_engine_wake(struct lum_engine *eng) {
  uv_async_send(&eng->wake);
}

static double clock_seconds(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double lum_monotonic(void) {
  return clock_seconds(CLOCK_MONOTONIC);
}

double lum_thread_cpu(void) {
  return clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

double lum_realtime(void) {
  return clock_seconds(CLOCK_REALTIME);
}

struct count {
  struct lum_engine *eng;
  size_t n;
};

static void count_handle(uv_handle_t *handle, void *arg) {
  struct count *count = arg;
  if (!is_own(count->eng, handle))
    count->n++;
}

size_t lum_engine_handles(struct lum_engine *eng) {
  struct count count = {eng, 0};
  uv_walk(&eng->loop, count_handle, &count);
  return count.n;
}
