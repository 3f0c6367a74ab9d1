#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct lum_input {
  struct lum_engine *eng;
  struct lum_op *reading;
  int fd;
  unsigned refs; /* the caller's, and one for a read */
};

struct read_op {
  struct lum_op op;
  struct lum_input *input;
  uv_poll_t poll;
  bool polling;
  size_t len, max;
  char bytes[];
};

static void input_unref(struct lum_input *input) {
  if (--input->refs > 0)
    return;
  close(input->fd);
  free(input);
}

/* A pipe or terminal is opened once more, so that only our own descriptor becomes non-blocking; a
 * socket cannot be opened again, and a file must keep its position. */
static int own_descriptor(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0)
    return -1;
  if (S_ISREG(st.st_mode))
    return fcntl(fd, F_DUPFD_CLOEXEC, 3);
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int own = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (own >= 0 || errno != ENXIO)
    return own;
  own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own >= 0)
    fcntl(own, F_SETFL, fcntl(own, F_GETFL) | O_NONBLOCK);
  return own;
}

struct lum_input *lum_input_open(struct lum_engine *eng, int fd, struct lum_err *err) {
  struct lum_input *input = calloc(1, sizeof *input);
  if (!input) {
    lum_err_set(err, LUM_QUOTA, "input: out of memory");
    return NULL;
  }
  input->fd = own_descriptor(fd);
  if (input->fd < 0) {
    lum_err_sys(err, errno, "input: cannot read descriptor %d", fd);
    free(input);
    return NULL;
  }
  input->eng = eng;
  input->refs = 1;
  return input;
}

void lum_input_close(struct lum_input *input) {
  if (input->reading)
    lum_op_cancel(input->reading);
  input_unref(input);
}

static void on_close(uv_handle_t *handle) {
  struct read_op *self = handle->data;
  lum_op_unref(&self->op); /* the handle's reference */
}

static void finish(struct read_op *self) {
  self->input->reading = NULL;
  if (self->polling)
    uv_close((uv_handle_t *)&self->poll, on_close);
  lum_op_complete(&self->op);
}

/* True when it is over: bytes, the end, or an error. */
static bool try_read(struct read_op *self) {
  ssize_t n;
  do
    n = read(self->input->fd, self->bytes, self->max);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN)
    return false;
  if (n < 0 && errno != EIO) /* a terminal that was hung up is at its end */
    lum_err_sys(&self->op.err, errno, "input");
  self->len = n > 0 ? (size_t)n : 0;
  return true;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)status; /* an error shows up in the read */
  (void)events;
  struct read_op *self = poll->data;
  if (try_read(self))
    finish(self);
}

static void read_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  finish((struct read_op *)op);
}

static void read_free(struct lum_op *op) {
  struct read_op *self = (struct read_op *)op;
  input_unref(self->input);
  free(self);
}

static const struct lum_op_type read_type = {"input.read", read_cancel, read_free};

static void wait_readable(struct read_op *self) {
  struct lum_input *input = self->input;
  int rc = uv_poll_init(&input->eng->loop, &self->poll, input->fd);
  if (rc == 0) {
    self->polling = true;
    self->poll.data = self;
    lum_op_ref(&self->op); /* the handle lives until its close callback */
    rc = uv_poll_start(&self->poll, UV_READABLE, on_poll);
  }
  if (rc != 0) {
    lum_err_sys(&self->op.err, -rc, "input");
    finish(self);
  }
}

struct lum_op *lum_input_read_start(struct lum_input *input, size_t max, struct lum_err *err) {
  if (input->reading) {
    lum_err_set(err, LUM_CONFLICT, "input: another read is in flight");
    return NULL;
  }
  struct read_op *self = calloc(1, sizeof *self + max);
  if (!self) {
    lum_err_set(err, LUM_QUOTA, "input: out of memory");
    return NULL;
  }
  lum_op_init(&self->op, input->eng, &read_type);
  self->input = input;
  self->max = max;
  input->refs++;
  input->reading = &self->op;
  lum_op_start(&self->op);
  if (try_read(self))
    finish(self);
  else
    wait_readable(self);
  return &self->op;
}

const char *lum_input_bytes(const struct lum_op *op, size_t *len) {
  const struct read_op *self = (const struct read_op *)op;
  *len = self->len;
  return self->bytes;
}
