/* A live process: reading, writing, waiting and signals while it runs. */
#ifndef LUM_PROCESS_H
#define LUM_PROCESS_H

#include "engine.h"
#include "spawn.h"

struct lum_process;

struct lum_process_opts {
  struct lum_spawn_opts spawn;
  bool has_timeout;
  uint64_t timeout_ms, grace_ms;
};

struct lum_process_status {
  int exit_code; /* -1: none */
  int signal;    /* 0: none */
  bool timed_out;
  double duration;
};

/* The caller's reference, or NULL with err filled. A program that cannot be run gives a process
 * that has ended. */
struct lum_process *lum_process_start(struct lum_engine *eng, const struct lum_process_opts *opts,
                                      struct lum_err *err);

/* Drops the caller's reference; close first. */
void lum_process_unref(struct lum_process *proc);

/* Kills it with all it has started when it still runs, ends its operations as cancelled, releases
 * everything. Idempotent. */
void lum_process_close(struct lum_process *proc);
bool lum_process_closed(const struct lum_process *proc);

/* The operations: NULL with err filled when they cannot be started. */

/* At most max bytes of whichever stream has some; nothing is read ahead. One at a time. */
struct lum_op *lum_process_read(struct lum_process *proc, size_t max, struct lum_err *err);
/* The bytes, and 1 or 2 for the stream; 0 at the end of both. */
int lum_process_read_result(struct lum_op *op, const char **bytes, size_t *len);
/* Gives the bytes back before the operation is freed; the result then has NULL for them. */
void lum_process_read_release(struct lum_op *op);

/* Ends when all bytes are in the pipe. The bytes are copied as far as needed. */
struct lum_op *lum_process_write(struct lum_process *proc, const char *bytes, size_t len,
                                 struct lum_err *err);

struct lum_op *lum_process_wait(struct lum_process *proc, struct lum_err *err);
const struct lum_process_status *lum_process_wait_result(struct lum_op *op);

/* Ends the input once everything written before is in the pipe. */
void lum_process_close_stdin(struct lum_process *proc);

/* Signals the group; SIGKILL also goes to what has left it. */
bool lum_process_kill(struct lum_process *proc, int sig, struct lum_err *err);

bool lum_process_resize(struct lum_process *proc, unsigned short cols, unsigned short rows,
                        struct lum_err *err);

/* -1 when there never was one. */
pid_t lum_process_pid(const struct lum_process *proc);

#endif
