#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "child.h"
#include "exec.h"
#include "pool.h"

#define KILL_BOUND_MS                                                                              \
  70 /* after the deadline: the status is then given whatever the kernel does                      \
      */

struct read_op {
  struct lum_op op;
  struct lum_process *proc;
  size_t max, len;
  char *data;
  bool whole; /* data is a buffer of the engine */
  int which;
};

struct write_op {
  struct lum_op op;
  struct lum_process *proc;
  struct write_op *next;
  char *data; /* what is not written yet, from off */
  size_t len, off;
};

struct wait_op {
  struct lum_op op;
  struct lum_process *proc;
  struct wait_op *next;
  struct lum_process_status status;
};

struct lum_process {
  struct lum_child child;
  struct lum_stream in, out, err;
  struct read_op *reader;
  struct write_op *writes, **writes_end;
  struct wait_op *waiters;
  double grace;
  bool pty, closed, timed_out;
  bool input_ends; /* close_stdin was called */
  int last;        /* the stream that was read last: the other one has precedence */
  char *note;      /* what a shell would have printed; read before everything else */
  size_t note_len;
  int note_stream;
};

static struct lum_process *process_of(struct lum_child *child) {
  return (struct lum_process *)child; /* first member */
}

static bool fail_closed(struct lum_err *err, const char *what) {
  return lum_err_set(err, LUM_INVALID, "%s: the process is closed", what);
}

static bool fail_memory(struct lum_err *err) {
  return lum_err_set(err, LUM_QUOTA, "process: out of memory");
}

static void op_start(struct lum_process *proc, struct lum_op *op, const struct lum_op_type *type) {
  proc->child.hold.count++; /* the operation points to the process */
  lum_op_init(op, proc->child.eng, type);
  lum_op_start(op);
}

/* Both streams at their end: nobody will ask for the group any more. */
static void reap_if_ended(struct lum_process *proc) {
  if (!lum_stream_open(&proc->out) && !lum_stream_open(&proc->err))
    lum_child_reap(&proc->child);
}

/* ---- reading ---- */

static void end_read(struct lum_process *proc) {
  struct read_op *reader = proc->reader;
  proc->reader = NULL;
  lum_stream_disarm(&proc->out);
  lum_stream_disarm(&proc->err);
  if (proc->child.over)
    lum_child_no_alarm(&proc->child); /* the grace of this read */
  lum_op_complete(&reader->op);
}

/* Ends the read with the first len bytes of the engine's read buffer. */
static void deliver(struct lum_process *proc, size_t len, int which) {
  struct read_op *reader = proc->reader;
  reader->data = lum_procs_keep(proc->child.eng, len, &reader->whole);
  if (reader->data) {
    reader->len = len;
    reader->which = proc->last = which;
  } else {
    fail_memory(&reader->op.err);
  }
  end_read(proc);
}

static void deliver_note(struct lum_process *proc) {
  size_t len = proc->note_len < proc->reader->max ? proc->note_len : proc->reader->max;
  memcpy(lum_procs_scratch(proc->child.eng), proc->note, len);
  deliver(proc, len, proc->note_stream);
  proc->note_len -= len;
  memmove(proc->note, proc->note + len, proc->note_len);
}

static bool read_stream(struct lum_process *proc, struct lum_stream *stream) {
  if (!lum_stream_open(stream))
    return false;
  char *scratch = lum_procs_scratch(proc->child.eng);
  size_t max = proc->reader->max < LUM_SCRATCH ? proc->reader->max : LUM_SCRATCH;
  ssize_t n = lum_stream_read(stream, scratch, max);
  if (n <= 0)
    return false;
  deliver(proc, (size_t)n, stream == &proc->out ? 1 : 2);
  return true;
}

static void fail_read(struct lum_process *proc, int rc) {
  lum_err_sys(&proc->reader->op.err, -rc, "process.read");
  end_read(proc);
}

/* Waits for more, but for no longer than the grace once the process itself has ended. */
static void await_more(struct lum_process *proc) {
  uv_loop_t *loop = &proc->child.eng->loop;
  double left = proc->child.finished + proc->grace - lum_monotonic();
  if (proc->child.over && left <= 0) {
    end_read(proc);
    lum_child_reap(&proc->child);
    return;
  }
  int rc = lum_stream_open(&proc->out) ? lum_stream_arm(&proc->out, loop, UV_READABLE) : 0;
  if (rc == 0 && lum_stream_open(&proc->err))
    rc = lum_stream_arm(&proc->err, loop, UV_READABLE);
  if (rc != 0)
    fail_read(proc, rc);
  else if (proc->child.over)
    lum_child_alarm(&proc->child, (uint64_t)(left * 1e3) + 1);
}

static void try_read(struct lum_process *proc) {
  if (proc->note_len > 0) {
    deliver_note(proc);
    return;
  }
  bool err_first = proc->last == 1;
  if (read_stream(proc, err_first ? &proc->err : &proc->out) ||
      read_stream(proc, err_first ? &proc->out : &proc->err))
    return;
  if (lum_stream_open(&proc->out) || lum_stream_open(&proc->err)) {
    await_more(proc);
    return;
  }
  end_read(proc);
  reap_if_ended(proc);
}

static void on_out_ready(struct lum_stream *stream) {
  struct lum_process *proc = stream->owner;
  if (proc->reader)
    try_read(proc);
}

static void read_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  end_read(((struct read_op *)op)->proc);
}

void lum_process_read_release(struct lum_op *op) {
  struct read_op *reader = (struct read_op *)op;
  if (reader->data)
    lum_procs_give_back(op->eng, reader->data, reader->whole);
  reader->data = NULL;
}

static void read_free(struct lum_op *op) {
  struct read_op *reader = (struct read_op *)op;
  struct lum_process *proc = reader->proc;
  lum_process_read_release(op);
  free(reader);
  lum_hold_drop(&proc->child.hold);
}

static const struct lum_op_type read_type = {"process.read", read_cancel, read_free};

struct lum_op *lum_process_read(struct lum_process *proc, size_t max, struct lum_err *err) {
  struct read_op *reader = NULL;
  if (proc->closed)
    fail_closed(err, "process.read");
  else if (proc->reader)
    lum_err_set(err, LUM_CONFLICT, "process.read: another read is waiting");
  else if (!(reader = calloc(1, sizeof *reader)))
    fail_memory(err);
  if (!reader)
    return NULL;
  op_start(proc, &reader->op, &read_type);
  reader->proc = proc;
  reader->max = max;
  proc->reader = reader;
  try_read(proc);
  return &reader->op;
}

int lum_process_read_result(struct lum_op *op, const char **bytes, size_t *len) {
  struct read_op *reader = (struct read_op *)op;
  *bytes = reader->data;
  *len = reader->len;
  return reader->which;
}

/* ---- writing ---- */

static void end_write(struct write_op *write) {
  struct lum_process *proc = write->proc;
  struct write_op **at = &proc->writes;
  while (*at != write)
    at = &(*at)->next;
  *at = write->next;
  if (!*at)
    proc->writes_end = at;
  free(write->data);
  write->data = NULL;
  lum_op_complete(&write->op);
}

static void fail_writes(struct lum_process *proc, int errnum) {
  lum_stream_close(&proc->in);
  for (struct write_op *write; (write = proc->writes);) {
    lum_err_sys(&write->op.err, errnum, "process.write");
    end_write(write);
  }
}

/* On a terminal the end of input is a character. */
static void end_input(struct lum_process *proc) {
  if (proc->pty)
    lum_stream_write(&proc->in, "\004", 1);
  lum_stream_close(&proc->in);
}

/* Writes in order; the head of the queue may be partly written. */
static void flush(struct lum_process *proc) {
  while (proc->writes) {
    struct write_op *write = proc->writes;
    ssize_t n = write->off < write->len
                    ? lum_stream_write(&proc->in, write->data + write->off, write->len - write->off)
                    : 0;
    if (n < 0) {
      fail_writes(proc, (int)-n);
      return;
    }
    write->off += (size_t)n;
    if (write->off == write->len) {
      end_write(write);
    } else if (n == 0) {
      int rc = lum_stream_arm(&proc->in, &proc->child.eng->loop, UV_WRITABLE);
      if (rc != 0)
        fail_writes(proc, -rc);
      return;
    }
  }
  lum_stream_disarm(&proc->in);
  if (proc->input_ends)
    end_input(proc);
}

static void on_in_ready(struct lum_stream *stream) {
  flush(stream->owner);
}

static void write_cancel(struct lum_op *op) {
  struct write_op *write = (struct write_op *)op;
  struct lum_process *proc = write->proc;
  lum_err_set(&op->err, LUM_CANCELLED, "process.write: cancelled after %zu of %zu bytes",
              write->off, write->len);
  end_write(write);
  if (!proc->writes && lum_stream_open(&proc->in))
    flush(proc);
}

static void write_free(struct lum_op *op) {
  struct write_op *write = (struct write_op *)op;
  struct lum_process *proc = write->proc;
  free(write->data);
  free(write);
  lum_hold_drop(&proc->child.hold);
}

static const struct lum_op_type write_type = {"process.write", write_cancel, write_free};

/* Offers the bytes to the pipe before they are copied. */
static bool take_bytes(struct lum_process *proc, struct write_op *write, const char *bytes,
                       size_t len) {
  write->len = len;
  while (!proc->writes && write->off < len) {
    ssize_t n = lum_stream_write(&proc->in, bytes + write->off, len - write->off);
    if (n <= 0)
      break; /* an error comes again when the rest is written */
    write->off += (size_t)n;
  }
  if (write->off == len)
    return true;
  write->data = malloc(len); /* only the rest is filled, so that offsets stay what they are */
  if (write->data)
    memcpy(write->data + write->off, bytes + write->off, len - write->off);
  return write->data != NULL;
}

struct lum_op *lum_process_write(struct lum_process *proc, const char *bytes, size_t len,
                                 struct lum_err *err) {
  struct write_op *write = NULL;
  if (proc->closed)
    fail_closed(err, "process.write");
  else if (!lum_stream_open(&proc->in) || proc->input_ends)
    lum_err_sys(err, EPIPE, "process.write");
  else if (!(write = calloc(1, sizeof *write)))
    fail_memory(err);
  if (!write)
    return NULL;
  op_start(proc, &write->op, &write_type);
  write->proc = proc;
  bool taken = take_bytes(proc, write, bytes, len);
  *proc->writes_end = write;
  proc->writes_end = &write->next;
  if (!taken) {
    fail_memory(&write->op.err);
    end_write(write);
  } else if (proc->writes == write) {
    flush(proc);
  }
  return &write->op;
}

void lum_process_close_stdin(struct lum_process *proc) {
  if (proc->closed || proc->input_ends || !lum_stream_open(&proc->in))
    return;
  proc->input_ends = true;
  if (!proc->writes)
    end_input(proc);
}

/* ---- the end ---- */

static void end_wait(struct lum_process *proc, struct wait_op *wait) {
  const struct lum_child *child = &proc->child;
  wait->status.exit_code = proc->timed_out ? -1 : child->exit_code;
  wait->status.signal = proc->timed_out ? SIGKILL : child->signal;
  wait->status.timed_out = proc->timed_out;
  wait->status.duration = child->finished - child->started;
  if (child->lost && !proc->timed_out)
    lum_err_set(&wait->op.err, LUM_INTERNAL,
                "process.wait: somebody else in this process took the exit status "
                "(SIGCHLD must not be ignored, nobody may wait for any child)");
  lum_op_complete(&wait->op);
}

static void on_over(struct lum_child *child) {
  struct lum_process *proc = process_of(child);
  lum_child_no_alarm(child);
  for (struct wait_op *wait; (wait = proc->waiters);) {
    proc->waiters = wait->next;
    end_wait(proc, wait);
  }
  if (proc->reader)
    try_read(proc);
  reap_if_ended(proc);
}

static void on_alarm(struct lum_child *child) {
  struct lum_process *proc = process_of(child);
  lum_child_check(child); /* it may have ended just in time */
  if (child->over) {
    if (proc->reader)
      try_read(proc);
  } else if (proc->timed_out) {
    lum_child_presume(child);
    on_over(child);
  } else {
    proc->timed_out = true;
    lum_child_kill(child);
    lum_child_alarm(child, KILL_BOUND_MS);
  }
}

static void on_swept(struct lum_child *child) {
  reap_if_ended(process_of(child));
}

static void on_engine_end(struct lum_child *child) {
  lum_process_close(process_of(child));
}

static void on_free(struct lum_child *child) {
  free(process_of(child)->note);
  free(child);
}

static const struct lum_child_hooks hooks = {on_over, on_alarm, on_swept, on_engine_end, on_free};

static void wait_cancel(struct lum_op *op) {
  struct wait_op *wait = (struct wait_op *)op;
  struct wait_op **at = &wait->proc->waiters;
  while (*at != wait)
    at = &(*at)->next;
  *at = wait->next;
  lum_op_set_cancelled(op);
  lum_op_complete(op);
}

static void wait_free(struct lum_op *op) {
  struct lum_process *proc = ((struct wait_op *)op)->proc;
  free(op);
  lum_hold_drop(&proc->child.hold);
}

static const struct lum_op_type wait_type = {"process.wait", wait_cancel, wait_free};

struct lum_op *lum_process_wait(struct lum_process *proc, struct lum_err *err) {
  struct wait_op *wait = NULL;
  if (proc->closed)
    fail_closed(err, "process.wait");
  else if (!(wait = calloc(1, sizeof *wait)))
    fail_memory(err);
  if (!wait)
    return NULL;
  op_start(proc, &wait->op, &wait_type);
  wait->proc = proc;
  if (proc->child.over) {
    end_wait(proc, wait);
  } else {
    wait->next = proc->waiters;
    proc->waiters = wait;
  }
  return &wait->op;
}

const struct lum_process_status *lum_process_wait_result(struct lum_op *op) {
  return &((struct wait_op *)op)->status;
}

bool lum_process_kill(struct lum_process *proc, int sig, struct lum_err *err) {
  if (proc->closed)
    return fail_closed(err, "process.kill");
  if (sig != SIGKILL || !lum_child_reachable(&proc->child))
    return lum_child_signal(&proc->child, sig, err);
  lum_child_kill(&proc->child);
  return true;
}

bool lum_process_resize(struct lum_process *proc, unsigned short cols, unsigned short rows,
                        struct lum_err *err) {
  if (proc->closed)
    return fail_closed(err, "process.resize");
  if (!proc->pty)
    return lum_err_set(err, LUM_UNSUPPORTED,
                       "process.resize: the process has no terminal (pty = true gives it one)");
  struct winsize size = {.ws_col = cols, .ws_row = rows};
  if (proc->out.fd < 0)
    return lum_err_set(err, LUM_NOT_FOUND, "process.resize: the terminal is closed");
  return ioctl(proc->out.fd, TIOCSWINSZ, &size) == 0 ? true
                                                     : lum_err_sys(err, errno, "process.resize");
}

pid_t lum_process_pid(const struct lum_process *proc) {
  return proc->child.pid;
}

/* ---- life ---- */

bool lum_process_closed(const struct lum_process *proc) {
  return proc->closed;
}

void lum_process_close(struct lum_process *proc) {
  if (proc->closed)
    return;
  proc->closed = true;
  if (!proc->child.over)
    lum_child_kill(&proc->child);
  if (proc->reader)
    lum_op_cancel(&proc->reader->op);
  while (proc->waiters)
    lum_op_cancel(&proc->waiters->op);
  while (proc->writes)
    lum_op_cancel(&proc->writes->op);
  lum_stream_close(&proc->in);
  lum_stream_close(&proc->out);
  lum_stream_close(&proc->err);
  lum_child_release(&proc->child);
}

void lum_process_unref(struct lum_process *proc) {
  lum_hold_drop(&proc->child.hold);
}

static bool keep_note(struct lum_process *proc, const struct lum_spawn_opts *opts,
                      const struct lum_spawned *spawned) {
  if (!spawned->refused)
    return true;
  char line[512];
  proc->note_len = lum_refusal(opts->argv[0], spawned, line, sizeof line);
  proc->note_stream = opts->pty || opts->merge ? 1 : 2;
  proc->note = malloc(proc->note_len);
  if (proc->note)
    memcpy(proc->note, line, proc->note_len);
  return proc->note != NULL;
}

struct lum_process *lum_process_start(struct lum_engine *eng, const struct lum_process_opts *opts,
                                      struct lum_err *err) {
  struct lum_process *proc = calloc(1, sizeof *proc);
  struct lum_spawned spawned;
  double started = lum_monotonic();
  if (!proc || !lum_procs_scratch(eng)) {
    fail_memory(err);
    free(proc);
    return NULL;
  }
  if (!lum_pool_ready(eng, err) || !lum_spawn(&opts->spawn, &spawned, err) ||
      !lum_child_create(&proc->child, eng, &hooks, &spawned, opts->spawn.cookie, started, err)) {
    free(proc);
    return NULL;
  }
  proc->writes_end = &proc->writes;
  proc->grace = (double)opts->grace_ms / 1e3;
  proc->pty = opts->spawn.pty;
  struct lum_hold *hold = &proc->child.hold;
  lum_stream_create(&proc->in, spawned.in, opts->spawn.pty, hold, on_in_ready, proc);
  lum_stream_create(&proc->out, spawned.out, opts->spawn.pty, hold, on_out_ready, proc);
  lum_stream_create(&proc->err, spawned.err, opts->spawn.pty, hold, on_out_ready, proc);
  if (!keep_note(proc, &opts->spawn, &spawned))
    proc->note_len = 0; /* the exit code still tells */
  if (opts->has_timeout && !spawned.refused)
    lum_child_alarm(&proc->child, opts->timeout_ms);
  return proc;
}
