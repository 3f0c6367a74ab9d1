/* Our ends of a child's pipes or terminal, on the loop; and the count that keeps memory alive while
 * libuv has it. */
#ifndef LUM_PROCIO_H
#define LUM_PROCIO_H

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

/* Owners and libuv handles that still refer to the memory around it; `last` runs when the count
 * falls to zero. */
struct lum_hold {
  unsigned count;
  void (*last)(struct lum_hold *hold);
};

void lum_hold_drop(struct lum_hold *hold);

/* Closes handle, which counts in hold; its data field is overwritten. */
void lum_hold_close(struct lum_hold *hold, uv_handle_t *handle);

struct lum_stream {
  uv_poll_t poll;
  struct lum_hold *hold;
  void (*on_ready)(
      struct lum_stream *stream); /* readable or writable, whichever it was armed for */
  void *owner;
  int fd;     /* -1: closed */
  bool ended; /* read to its end; a terminal stays open until its process is gone, or that would be
                 hung up */
  bool has_poll, armed, enlarged, is_pty;
};

/* Takes fd, which may be -1. Counts in hold only while a handle exists. */
void lum_stream_create(struct lum_stream *stream, int fd, bool is_pty, struct lum_hold *hold,
                       void (*on_ready)(struct lum_stream *), void *owner);

/* Waits for UV_READABLE or UV_WRITABLE. 0 or a negative errno. Harmless when it waits already. */
int lum_stream_arm(struct lum_stream *stream, uv_loop_t *loop, int events);
void lum_stream_disarm(struct lum_stream *stream);

/* Closes the descriptor and the handle; idempotent. */
void lum_stream_close(struct lum_stream *stream);

static inline bool lum_stream_open(const struct lum_stream *stream) {
  return stream->fd >= 0 && !stream->ended;
}

/* The number of bytes read; 0 at the end, after which the stream is not open any more; -EAGAIN when
 * there is nothing now. */
ssize_t lum_stream_read(struct lum_stream *stream, void *buf, size_t size);

/* The number of bytes written, 0 when there is no room now, or a negative errno. Raises no SIGPIPE.
 */
ssize_t lum_stream_write(struct lum_stream *stream, const void *buf, size_t size);

/* write() with SIGPIPE held back in this thread: its disposition belongs to the host. */
ssize_t lum_quiet_write(int fd, const void *buf, size_t size);

#endif
