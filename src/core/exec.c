#include "exec.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "pool.h"

#define KILL_BOUND_MS 70 /* a killed command is waited for no longer than this */
#define READS_MAX 8      /* in a row, so that one command does not starve the others */
#define END_OF_INPUT "\004"

struct exec {
  struct lum_op op;
  struct lum_child child;
  struct lum_stream in, out, err;
  char *input; /* what the pipe did not take at once */
  size_t input_len, input_off;
  uint64_t grace_ms;
  bool killing, timed_out;
  struct lum_exec_result result;
};

static struct exec *exec_of(struct lum_child *child) {
  return (struct exec *)(void *)((char *)child - offsetof(struct exec, child));
}

static void finish(struct exec *exec);

static void drop_input(struct exec *exec) {
  lum_stream_close(&exec->in);
  free(exec->input);
  exec->input = NULL;
}

/* Writes what fits now. A command need not read its input: then the rest is dropped. */
static size_t feed(struct exec *exec, const char *bytes, size_t len) {
  size_t off = 0;
  while (off < len) {
    ssize_t n = lum_stream_write(&exec->in, bytes + off, len - off);
    if (n == 0 && lum_stream_arm(&exec->in, &exec->op.eng->loop, UV_WRITABLE) == 0)
      return off;
    if (n <= 0)
      break;
    off += (size_t)n;
  }
  drop_input(exec);
  return len;
}

static void on_in_ready(struct lum_stream *stream) {
  struct exec *exec = stream->owner;
  exec->input_off += feed(exec, exec->input + exec->input_off, exec->input_len - exec->input_off);
}

/* Reads what is there. */
static void drain(struct exec *exec, struct lum_stream *stream) {
  struct lum_capture *cap = stream == &exec->out ? &exec->result.out : &exec->result.err;
  char *scratch = lum_procs_scratch(exec->op.eng);
  for (int i = 0; i < READS_MAX && lum_stream_open(stream); i++) {
    ssize_t n = lum_stream_read(stream, scratch, LUM_SCRATCH);
    if (n == -EAGAIN)
      return;
    if (n > 0)
      lum_capture_add(cap, scratch, (size_t)n);
  }
}

static void check_finish(struct exec *exec) {
  bool reading = lum_stream_open(&exec->out) || lum_stream_open(&exec->err);
  if (exec->child.over && !reading && !(exec->killing && exec->child.sweep))
    finish(exec);
}

static bool listen_to(struct exec *exec, struct lum_stream *stream) {
  return !lum_stream_open(stream) || lum_stream_arm(stream, &exec->op.eng->loop, UV_READABLE) == 0;
}

static void on_out_ready(struct lum_stream *stream) {
  struct exec *exec = stream->owner;
  drain(exec, stream);
  if (!listen_to(exec, stream))
    lum_stream_close(stream);
  check_finish(exec);
}

/* Everything the command has started dies now; the result is due soon, whatever the kernel does. */
static void begin_kill(struct exec *exec) {
  if (exec->killing)
    return;
  exec->killing = true;
  lum_child_kill(&exec->child);
  lum_child_alarm(&exec->child, KILL_BOUND_MS);
}

static void on_over(struct lum_child *child) {
  struct exec *exec = exec_of(child);
  drain(exec, &exec->out);
  drain(exec, &exec->err);
  if (!exec->killing)
    lum_child_alarm(child, exec->grace_ms);
  check_finish(exec);
}

static void on_alarm(struct lum_child *child) {
  struct exec *exec = exec_of(child);
  bool waited = exec->killing || child->over; /* for those who hold the pipes, or for the kernel */
  lum_child_check(child);
  if (waited) {
    lum_child_presume(child);
    finish(exec);
  } else if (!child->over) {
    exec->timed_out = true;
    begin_kill(exec);
  }
}

static void on_swept(struct lum_child *child) {
  check_finish(exec_of(child));
}

static void on_free(struct lum_child *child) {
  lum_op_unref(&exec_of(child)->op);
}

static const struct lum_child_hooks hooks = {on_over, on_alarm, on_swept, NULL, on_free};

static void fill_result(struct exec *exec) {
  struct lum_exec_result *result = &exec->result;
  const struct lum_child *child = &exec->child;
  result->timed_out = exec->timed_out;
  result->exit_code = exec->timed_out ? -1 : child->exit_code;
  result->signal = exec->timed_out ? SIGKILL : child->signal;
  result->duration = child->finished - child->started;
  if (exec->op.cancelled)
    lum_op_set_cancelled(&exec->op);
  else if (child->lost && !exec->timed_out)
    lum_err_set(&exec->op.err, LUM_INTERNAL,
                "process.run: somebody else in this process took the exit status "
                "(SIGCHLD must not be ignored, nobody may wait for any child)");
}

static void finish(struct exec *exec) {
  if (exec->op.done)
    return;
  drain(exec, &exec->out);
  drain(exec, &exec->err);
  exec->result.held_open = lum_stream_open(&exec->out) || lum_stream_open(&exec->err);
  fill_result(exec);
  drop_input(exec);
  lum_stream_close(&exec->out);
  lum_stream_close(&exec->err);
  lum_child_release(&exec->child);
  lum_op_complete(&exec->op);
  lum_hold_drop(&exec->child.hold);
}

static void exec_cancel(struct lum_op *op) {
  begin_kill((struct exec *)op);
}

static void exec_free(struct lum_op *op) {
  struct exec *exec = (struct exec *)op;
  free(exec->input);
  lum_capture_destroy(&exec->result.out);
  lum_capture_destroy(&exec->result.err);
  free(exec);
}

static const struct lum_op_type exec_type = {"process.run", exec_cancel, exec_free};

/* What does not fit into the pipe now is copied. On a terminal the end of input is a character,
 * which first ends an unfinished line. */
static bool start_input(struct exec *exec, const struct lum_exec_opts *opts) {
  bool pty = opts->spawn.pty,
       open_line = opts->input_len > 0 && opts->input[opts->input_len - 1] != '\n';
  const char *end = !pty ? "" : open_line ? END_OF_INPUT END_OF_INPUT : END_OF_INPUT;
  size_t off = pty || opts->input_len == 0 ? 0 : feed(exec, opts->input, opts->input_len);
  exec->input_len = opts->input_len - off + strlen(end);
  if (exec->input_len == 0) {
    drop_input(exec);
    return true;
  }
  exec->input = malloc(exec->input_len);
  if (!exec->input)
    return false;
  if (opts->input_len > off)
    memcpy(exec->input, opts->input + off, opts->input_len - off);
  memcpy(exec->input + opts->input_len - off, end, strlen(end));
  if (pty)
    on_in_ready(&exec->in);
  return true;
}

static void start_streams(struct exec *exec, const struct lum_exec_opts *opts,
                          const struct lum_spawned *spawned) {
  struct lum_hold *hold = &exec->child.hold;
  lum_stream_create(&exec->in, spawned->in, opts->spawn.pty, hold, on_in_ready, exec);
  lum_stream_create(&exec->out, spawned->out, opts->spawn.pty, hold, on_out_ready, exec);
  lum_stream_create(&exec->err, spawned->err, opts->spawn.pty, hold, on_out_ready, exec);
  bool ok = listen_to(exec, &exec->out) && listen_to(exec, &exec->err);
  if (lum_stream_open(&exec->in))
    ok = start_input(exec, opts) && ok;
  if (!ok) {
    lum_err_set(&exec->op.err, LUM_QUOTA, "process.run: no memory or no room on the loop");
    begin_kill(exec);
  } else if (opts->has_timeout) {
    lum_child_alarm(&exec->child, opts->timeout_ms);
  }
}

size_t lum_refusal(const char *program, const struct lum_spawned *spawned, char *buf, size_t size) {
  int n = snprintf(buf, size, "luarium: %.*s: %s\n", (int)size / 2, program, spawned->reason);
  return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

static void finish_refused(struct exec *exec, const struct lum_exec_opts *opts,
                           const struct lum_spawned *spawned) {
  char line[512];
  size_t len = lum_refusal(opts->spawn.argv[0], spawned, line, sizeof line);
  bool merged = opts->spawn.pty || opts->spawn.merge;
  lum_capture_add(merged ? &exec->result.out : &exec->result.err, line, len);
  finish(exec);
}

static bool start_child(struct exec *exec, const struct lum_exec_opts *opts,
                        struct lum_spawned *spawned, struct lum_err *err) {
  double started = lum_monotonic();
  struct lum_spawn_opts spawn = opts->spawn;
  if (opts->input)
    spawn.in = LUM_STDIN_PIPE;
  if (!lum_procs_scratch(exec->op.eng)) {
    lum_err_set(err, LUM_QUOTA, "process.run: out of memory");
    return false;
  }
  /* The pool looks for what is to be killed: without it nothing may begin. */
  if (!lum_pool_ready(exec->op.eng, err) || !lum_spawn(&spawn, spawned, err))
    return false;
  return lum_child_create(&exec->child, exec->op.eng, &hooks, spawned, spawn.cookie, started, err);
}

struct lum_op *lum_exec_start(struct lum_engine *eng, const struct lum_exec_opts *opts,
                              struct lum_err *err) {
  struct exec *exec = calloc(1, sizeof *exec);
  if (!exec) {
    lum_err_set(err, LUM_QUOTA, "process.run: out of memory");
    return NULL;
  }
  lum_op_init(&exec->op, eng, &exec_type);
  exec->grace_ms = opts->grace_ms;
  lum_capture_create(&exec->result.out, opts->max_output);
  lum_capture_create(&exec->result.err, opts->max_output);
  struct lum_spawned spawned;
  if (!start_child(exec, opts, &spawned, err)) {
    lum_op_unref(&exec->op);
    return NULL;
  }
  lum_op_ref(&exec->op); /* the child's handles live inside */
  lum_op_start(&exec->op);
  start_streams(exec, opts, &spawned);
  if (spawned.refused)
    finish_refused(exec, opts, &spawned);
  return &exec->op;
}

struct lum_exec_result *lum_exec_result(struct lum_op *op) {
  return &((struct exec *)op)->result;
}

void lum_exec_release(struct lum_op *op) {
  struct lum_exec_result *result = lum_exec_result(op);
  result->taken = true;
  lum_capture_destroy(&result->out);
  lum_capture_destroy(&result->err);
}
