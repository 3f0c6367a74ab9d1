/* The engine: one event loop, its operations in flight and the queue of completed ones. One per
 * host state, used from one thread. It installs no signal handler and touches no process-wide
 * state. */
#ifndef LUM_ENGINE_H
#define LUM_ENGINE_H

#include <uv.h>

#include "op.h"

struct lum_httpc;
struct lum_procs;

struct lum_engine {
  uv_loop_t loop;
  uv_async_t wake;
  uv_timer_t poll_timer;
  struct lum_op inflight;                            /* list head */
  struct lum_op *done_head, *done_tail;              /* completed, not yet taken */
  size_t inflight_count, background_count, live_ops; /* live: initialised and not yet freed */
  uint64_t next_id;
  unsigned forks; /* of its process's line, when it was made */
  bool woken, closed;
  int interrupted;         /* a signal that asks the program to end, not read yet; see signal.h */
  struct lum_httpc *httpc; /* made at the first request */
  void (*httpc_free)(struct lum_httpc *httpc); /* set with it */
  struct lum_procs *procs;                     /* made at the first child process */
  void (*procs_free)(struct lum_procs *procs); /* set with it */
};

/* NULL on failure, with err filled. */
struct lum_engine *lum_engine_new(struct lum_err *err);

/* Whether this process is a fork of the one that made the engine. It shares the loop's descriptor
 * with its parent then: whatever it did with the engine would be done to the parent's. */
bool lum_engine_inherited(const struct lum_engine *eng);

/* Whether this process is a fork of one that has made an engine: as long as it is none, no engine
 * is inherited. */
bool lum_engine_forked(void);

/* Cancels what is in flight, runs the loop until every handle is closed, and gives up the caller's
 * claim. The memory itself goes with the last operation that somebody still refers to. */
void lum_engine_free(struct lum_engine *eng);

enum lum_poll { LUM_POLL_DONE, LUM_POLL_TIMEOUT, LUM_POLL_WOKEN, LUM_POLL_IDLE };

/* Runs the loop until an operation has completed, timeout_ms has passed (negative: no limit),
 * somebody called lum_engine_wake, or nothing is left that could ever complete (IDLE). */
enum lum_poll lum_engine_poll(struct lum_engine *eng, int64_t timeout_ms);

/* For hosts with a loop of their own: the descriptor that is readable when the engine has work. */
int lum_engine_fd(struct lum_engine *eng);

/* Milliseconds until the engine must be polled although its descriptor is silent; 0: something has
 * completed, negative: nothing is scheduled. Also tells the kernel of what was started since the
 * last poll, so that the descriptor knows of it. */
int lum_engine_next(struct lum_engine *eng);

/* Runs the callbacks that are due and leaves what completed in the queue: for code that computes
 * for long. */
void lum_engine_breathe(struct lum_engine *eng);

/* The next completed operation, or NULL. The caller gets its reference. */
struct lum_op *lum_engine_take(struct lum_engine *eng);

/* Makes a poll return. The one function that other threads and signal handlers may call. */
void lum_engine_wake(struct lum_engine *eng);

/* Seconds on the monotonic clock, and since the epoch. */
double lum_monotonic(void);
double lum_thread_cpu(void); /* what the calling thread has computed */
double lum_realtime(void);

/* Active libuv handles that are not the engine's own: for leak checks. */
size_t lum_engine_handles(struct lum_engine *eng);

/* For op.c: an operation is gone. */
void lum_engine_op_freed(struct lum_engine *eng);

#endif
