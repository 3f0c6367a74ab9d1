#include "procio.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define PIPE_DEFAULT (64 * 1024)
#define PIPE_LARGE (1024 * 1024)

void lum_hold_drop(struct lum_hold *hold) {
  if (--hold->count == 0)
    hold->last(hold);
}

static void on_closed(uv_handle_t *handle) {
  lum_hold_drop(handle->data);
}

void lum_hold_close(struct lum_hold *hold, uv_handle_t *handle) {
  handle->data = hold;
  uv_close(handle, on_closed);
}

void lum_stream_create(struct lum_stream *stream, int fd, bool is_pty, struct lum_hold *hold,
                       void (*on_ready)(struct lum_stream *), void *owner) {
  stream->fd = fd;
  stream->hold = hold;
  stream->on_ready = on_ready;
  stream->owner = owner;
  stream->ended = stream->has_poll = stream->armed = stream->enlarged = false;
  stream->is_pty = is_pty;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct lum_stream *stream = poll->data;
  if (status < 0)
    stream->armed = false; /* libuv has stopped it; the next read or write tells the reason */
  stream->on_ready(stream);
}

int lum_stream_arm(struct lum_stream *stream, uv_loop_t *loop, int events) {
  if (stream->armed)
    return 0;
  if (!stream->has_poll) {
    int rc = uv_poll_init(loop, &stream->poll, stream->fd);
    if (rc != 0)
      return rc;
    stream->poll.data = stream;
    stream->has_poll = true;
    stream->hold->count++;
  }
  int rc = uv_poll_start(&stream->poll, events, on_poll);
  stream->armed = rc == 0;
  return rc;
}

void lum_stream_disarm(struct lum_stream *stream) {
  if (stream->armed)
    uv_poll_stop(&stream->poll);
  stream->armed = false;
}

static void drop_poll(struct lum_stream *stream) {
  if (stream->has_poll)
    lum_hold_close(stream->hold, (uv_handle_t *)&stream->poll);
  stream->has_poll = stream->armed = false;
}

void lum_stream_close(struct lum_stream *stream) {
  if (stream->fd < 0)
    return;
  drop_poll(stream);
  close(stream->fd);
  stream->fd = -1;
}

static void end_stream(struct lum_stream *stream) {
  stream->ended = true;
  if (stream->is_pty)
    drop_poll(stream);
  else
    lum_stream_close(stream);
}

/* A full pipe means a child that is faster than us: fewer, larger reads then. Large pipes from the
 * start would cost every small command, and a user without privileges may have only a few of them.
 */
static void enlarge(struct lum_stream *stream) {
  stream->enlarged = true;
  if (fcntl(stream->fd, F_SETPIPE_SZ, PIPE_LARGE) < 0)
    fcntl(stream->fd, F_SETPIPE_SZ, PIPE_LARGE / 4);
}

ssize_t lum_stream_read(struct lum_stream *stream, void *buf, size_t size) {
  ssize_t n;
  do
    n = read(stream->fd, buf, size);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN)
    return -EAGAIN;
  if (n <= 0) { /* EIO is how a terminal says that nobody has it open any more */
    end_stream(stream);
    return 0;
  }
  if (n >= PIPE_DEFAULT && !stream->enlarged && !stream->is_pty)
    enlarge(stream);
  return n;
}

ssize_t lum_quiet_write(int fd, const void *buf, size_t size) {
  sigset_t pipe_set, old, pending;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
  ssize_t n;
  do
    n = write(fd, buf, size);
  while (n < 0 && errno == EINTR);
  int errnum = errno;
  if (n < 0 && errnum == EPIPE && !sigismember(&pending, SIGPIPE)) {
    struct timespec zero = {0, 0};
    while (sigtimedwait(&pipe_set, NULL, &zero) < 0 && errno == EINTR)
      ;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = errnum;
  return n;
}

ssize_t lum_stream_write(struct lum_stream *stream, const void *buf, size_t size) {
  if (size > PIPE_DEFAULT && !stream->enlarged && !stream->is_pty)
    enlarge(stream);
  ssize_t n = lum_quiet_write(stream->fd, buf, size);
  if (n >= 0)
    return n;
  return errno == EAGAIN ? 0 : -errno;
}
