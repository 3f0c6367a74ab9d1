#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "procio.h"
#include "worker.h"

#define LOOK_MS 50                /* between two looks whether a write was cancelled */
#define LARGE_PIECE (1024 * 1024) /* what is written to a file between two looks */

struct lum_output {
  struct lum_engine *eng;
  struct lum_op *writing;
  int fd;
  bool is_socket;
  bool never_waits; /* a write takes what there is room for */
  size_t piece;     /* at most so many bytes a write */
  unsigned refs;    /* the caller's, and one for a write */
};

struct write_op {
  struct lum_work work;
  struct lum_output *output;
  char *data; /* what did not fit at once */
  size_t len;
};

static void output_unref(struct lum_output *output) {
  if (--output->refs > 0)
    return;
  close(output->fd);
  free(output);
}

/* The master of terminals is another one each time it is opened. */
static bool may_reopen(int fd, const struct stat *st) {
  return S_ISFIFO(st->st_mode) ||
         (S_ISCHR(st->st_mode) && st->st_rdev != makedev(5, 2) && isatty(fd));
}

/* A pipe or terminal is opened once more, so that only our own descriptor becomes non-blocking.
 * Where that is not allowed, as after `su`, the shared one is written in pieces that fit into a
 * pipe with room. */
static bool own_descriptor(struct lum_output *output, int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0)
    return false;
  if (may_reopen(fd, &st)) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    output->fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    output->never_waits = output->fd >= 0;
  }
  output->is_socket = S_ISSOCK(st.st_mode);
  output->never_waits = output->never_waits || output->is_socket;
  output->piece = output->never_waits || S_ISREG(st.st_mode) ? LARGE_PIECE : PIPE_BUF;
  if (output->fd < 0)
    output->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  return output->fd >= 0;
}

struct lum_output *lum_output_open(struct lum_engine *eng, int fd, struct lum_err *err) {
  struct lum_output *output = calloc(1, sizeof *output);
  if (!output) {
    lum_err_set(err, LUM_QUOTA, "output: out of memory");
    return NULL;
  }
  output->eng = eng;
  output->fd = -1;
  output->refs = 1;
  if (own_descriptor(output, fd))
    return output;
  lum_err_sys(err, errno, "output: cannot write to descriptor %d", fd);
  free(output);
  return NULL;
}

void lum_output_close(struct lum_output *output) {
  if (output->writing)
    lum_op_cancel(output->writing);
  output_unref(output);
}

/* Whether there is room within ms milliseconds. An error counts: the write tells it. */
static bool has_room(const struct lum_output *output, int ms) {
  struct pollfd wait = {output->fd, POLLOUT, 0};
  return poll(&wait, 1, ms) > 0;
}

/* The number of bytes written, 0 when there is no room now, or a negative errno. */
static ssize_t write_piece(const struct lum_output *output, const char *data, size_t len) {
  if (len > output->piece)
    len = output->piece;
  ssize_t n;
  if (output->is_socket)
    do
      n = send(output->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
  else
    n = lum_quiet_write(output->fd, data, len);
  if (n >= 0)
    return n;
  return errno == EAGAIN ? 0 : -errno;
}

ssize_t lum_output_offer(struct lum_output *output, const char *data, size_t len,
                         struct lum_err *err) {
  ssize_t n = 0;
  if (len > 0 && (output->never_waits || has_room(output, 0)))
    n = write_piece(output, data, len);
  if (n >= 0)
    return n;
  lum_err_sys(err, (int)-n, "output");
  return -1;
}

/* ---- the operation ---- */

static void write_run(struct lum_work *work) {
  struct write_op *self = (struct write_op *)work;
  size_t at = 0;
  while (at < self->len && !lum_work_cancelled(work)) {
    if (!has_room(self->output, LOOK_MS))
      continue;
    ssize_t n = write_piece(self->output, self->data + at, self->len - at);
    if (n < 0) {
      lum_err_sys(&work->result_err, (int)-n, "output");
      return;
    }
    at += (size_t)n;
  }
}

static void write_finish(struct lum_work *work) {
  ((struct write_op *)work)->output->writing = NULL;
}

static void write_release(struct lum_work *work) {
  struct write_op *self = (struct write_op *)work;
  free(self->data);
  output_unref(self->output);
}

static const struct lum_work_type write_type = {
    {"output.write", lum_work_op_cancel, lum_work_op_free}, write_run, write_release, write_finish};

static struct lum_op *no_memory(struct lum_op *op, struct lum_err *err) {
  lum_err_set(err, LUM_QUOTA, "output: out of memory");
  if (op)
    lum_op_unref(op);
  return NULL;
}

struct lum_op *lum_output_write_start(struct lum_output *output, const char *data, size_t len,
                                      struct lum_err *err) {
  if (output->writing) {
    lum_err_set(err, LUM_CONFLICT, "output: another write is in flight");
    return NULL;
  }
  struct write_op *self = (struct write_op *)lum_work_new(output->eng, &write_type, sizeof *self);
  if (!self)
    return no_memory(NULL, err);
  struct lum_op *op = &self->work.op;
  self->output = output;
  output->refs++;
  ssize_t n = output->never_waits && len > 0 ? write_piece(output, data, len) : 0;
  self->len = len - (n > 0 ? (size_t)n : 0);
  if (n >= 0 && self->len > 0) {
    self->data = malloc(self->len);
    if (!self->data)
      return no_memory(op, err);
    memcpy(self->data, data + n, self->len);
    output->writing = op;
    lum_work_start(&self->work);
    return op;
  }
  if (n < 0)
    lum_err_sys(&op->err, (int)-n, "output");
  lum_op_start(op);
  lum_op_complete(op);
  return op;
}
