/* What the two halves of a channel share: its life (ssh_channel.c) and its streams (ssh_stream.c).
 */
#ifndef LUM_SSH_CHANNEL_IMPL_H
#define LUM_SSH_CHANNEL_IMPL_H

#include "ssh_impl.h"

#define PACKET 32768
#define CHUNK 65536  /* bytes of small writes on their way into libssh2 */
#define NOTE_MAX 160 /* bytes of the marker's line after it */
#define SAID_MAX 400 /* bytes of noise kept, to tell what was wrong */

enum state { OPENING, OPEN, PTY, STARTING, RUNNING, CLOSING, GONE };

struct read_op {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  size_t max, len;
  char *data;
  int which;
  bool pours; /* it is a struct pour: ssh_pour.c */
};

struct write_op {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  struct write_op *next;
  char *data;
  size_t len, off;
};

struct wait_op {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  struct wait_op *next;
};

/* What comes before the marker's line is noise of the login shell. */
struct filter {
  bool open;
  char line[512]; /* the current line, as far as it is known */
  size_t len, dropped;
};

struct lum_ssh_channel {
  struct lum_ssh *ssh;
  struct ssh_task task;
  struct lum_ssh_channel *next;
  LIBSSH2_CHANNEL *lib;
  unsigned refs; /* the caller's, the session's, one for each operation */
  enum state state;
  uint32_t id;
  bool spare, counted;
  /* what is wanted */
  char *command, *term, *marker, *host;
  size_t command_len;
  bool pty, marks_stderr;
  int cols, rows, port;
  unsigned window;
  bool resize, input_ends, eof_sent, asked, closed;
  /* what is known */
  struct lum_err err; /* why it could not be started, or was lost */
  bool exited, read_ended, held_open;
  struct lum_ssh_status status;
  struct filter filters[2];
  char note[NOTE_MAX + 1], said[SAID_MAX + 1];
  size_t note_len, said_len;
  struct {
    char *data;
    size_t from, to;
  } ahead[2]; /* came with the markers' packets */
  int last;   /* the stream that was read last: 1 or 2 */
  unsigned reads;
  /* who waits */
  struct wait_op *starter, *waiters;
  struct read_op *reader;
  struct write_op *writes, **writes_end;
  char *chunk, *large; /* what is being sent is in `large` when there is one */
  size_t chunk_from, chunk_to;
  struct ssh_pipe *pipe;
  uv_timer_t quiet;
  bool timing, pinging, ping_stale, pinged; /* stale: sent before output that has come since */
};

/* For operations of a channel. */
void ssh_channel_op_start(struct lum_ssh_channel *channel, struct lum_op *op,
                          const struct lum_op_type *type);
bool ssh_channel_op_ok(const struct lum_ssh_channel *channel, const char *what,
                       struct lum_err *err);
void ssh_channel_unref(struct lum_ssh_channel *channel);
void ssh_channel_end_start(struct lum_ssh_channel *channel);

/* ssh_stream.c: each gives true when it got further. */
bool ssh_stream_await_marker(struct lum_ssh_channel *channel);
bool ssh_stream_try_read(struct lum_ssh_channel *channel);
bool ssh_stream_send_input(struct lum_ssh_channel *channel);
void ssh_stream_end_read(struct lum_ssh_channel *channel);
void ssh_stream_fail_writes(struct lum_ssh_channel *channel);
/* Bytes of stream 0 or 1; 0: none now; below: an error of libssh2. */
ssize_t ssh_stream_take(struct lum_ssh_channel *channel, int stream, char *buf, size_t size);
/* Nothing is left on stdout, but a read has something to tell: bytes of stderr, or the end. */
bool ssh_stream_wants_read(struct lum_ssh_channel *channel);
bool ssh_stream_at_end(struct lum_ssh_channel *channel);
bool ssh_channel_read_ok(const struct lum_ssh_channel *channel, struct lum_err *err);
void ssh_channel_begin_read(struct lum_ssh_channel *channel, struct read_op *reader);

/* ssh_haul.c: of this channel, if there is one. */
void ssh_haul_cancel(struct lum_ssh_channel *channel);
void ssh_haul_fail(struct lum_ssh_channel *channel);

/* ssh_pour.c */
bool ssh_pour_advance(struct lum_ssh_channel *channel);
void ssh_pour_end(struct read_op *reader);

#endif
