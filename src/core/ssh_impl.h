/* What the parts of ssh.h share. */
#ifndef LUM_SSH_IMPL_H
#define LUM_SSH_IMPL_H

#include <libssh2.h>

#include "ssh.h"
#include "ssh_proxy.h"

/* Something that calls libssh2 again and again until it is done. */
struct ssh_task {
  struct ssh_task *prev, *next;
  bool (*advance)(struct ssh_task *task);                         /* true: it got further */
  void (*fail)(struct ssh_task *task, const struct lum_err *err); /* the session has ended */
};

struct ssh_buf {
  char *data;
  size_t from, to, size;
};

/* One handle stands for one socket; while connecting several may be tried. */
struct ssh_socket {
  uv_poll_t poll;
  struct lum_ssh *ssh;
  int fd, events;
};

enum ssh_stage { SSH_FRESH, SSH_CONNECTING, SSH_SHAKING, SSH_CONNECTED, SSH_READY, SSH_ENDED };

struct lum_ssh {
  struct lum_op life; /* in the background from creation to the last closed handle; owns the memory
                       */
  LIBSSH2_SESSION *lib;
  enum ssh_stage stage;
  struct lum_err err;
  char *host;
  char *hostkeys;
  char *proxy_command;
  struct ssh_proxy *proxy; /* while it runs */
  int port;
  struct ssh_socket *sock;
  struct lum_ssh *via;
  struct ssh_buf in, out;
  bool hangup;  /* no more bytes will come */
  bool settled; /* the first command runs */
  bool dry;     /* nothing more to receive until the poll says so */
  bool pumping, again;
  uv_timer_t timer;
  uv_idle_t soon;
  unsigned handles; /* that are not closed yet */
  unsigned keepalive_ms, unanswered;
  struct ssh_task tasks; /* list head */
  struct ssh_task *cursor;
  struct lum_op *request;           /* connect or authentication in flight */
  struct lum_ssh_channel *opening;  /* the one that is in libssh2_channel_open: one at a time */
  struct lum_ssh_channel *spare;    /* opened ahead, so that a command costs one round trip */
  struct lum_ssh_channel *channels; /* all of them */
  unsigned load;
  bool tight;         /* the host opens fewer channels than usual */
  uint32_t confirmed; /* our id of the channel that was opened last, seen by ssh_spy */
  bool spying;
  char *scratch;         /* SSH_SCRATCH bytes to read into */
  struct ssh_haul *haul; /* waits for the session, or has it: ssh_haul.c */
  bool lent;             /* a thread has lib, the buffers and the channels' streams */
  bool late;             /* the keepalive fell due meanwhile */
  bool doomed;           /* it ends as soon as it is back; err tells why */
};

#define SSH_SCRATCH (128 * 1024)
#define SSH_OUT_HIGH                                                                               \
  (512 * 1024) /* more is not given to libssh2 while so much waits to be sent                      \
                */

void ssh_ref(struct lum_ssh *ssh);

void ssh_task_add(struct lum_ssh *ssh, struct ssh_task *task);
void ssh_task_remove(struct lum_ssh *ssh, struct ssh_task *task);

/* Moves everything as far as it goes; harmless at any time. */
void ssh_pump(struct lum_ssh *ssh);

/* Moves bytes between the socket and the buffers. ssh_fill: true when something came, be it the
 * end.
 */
bool ssh_fill(struct lum_ssh *ssh);
void ssh_flush(struct lum_ssh *ssh);
size_t ssh_unsent(const struct lum_ssh *ssh);

/* Hands the session to a thread, and takes it back. */
void ssh_lend(struct lum_ssh *ssh);
void ssh_come_back(struct lum_ssh *ssh);

/* Whether it can be used for something new. */
bool ssh_usable(const struct lum_ssh *ssh, struct lum_err *err);

/* Ends the session for a reason. */
void ssh_end(struct lum_ssh *ssh, const struct lum_err *err);

/* Fills err from the last error of libssh2; what says which step it was. Always false. */
bool ssh_lib_err(struct lum_ssh *ssh, int rc, struct lum_err *err, const char *what);

void ssh_set_lost(struct lum_ssh *ssh, struct lum_err *err, const char *why);
void ssh_start_keepalive(struct lum_ssh *ssh);

/* The session owns fd from then on; false: not, out of memory. */
bool ssh_use_socket(struct lum_ssh *ssh, int fd);
void ssh_drop_socket(struct lum_ssh *ssh);

/* Whether the session can start an operation of its own now. */
bool ssh_request_ok(struct lum_ssh *ssh, enum ssh_stage stage, const char *what,
                    struct lum_err *err);

/* ssh_channel.c */
void ssh_note_exit(struct lum_ssh *ssh, uint32_t channel, uint32_t code);
void ssh_open_spare(struct lum_ssh *ssh);
/* Lets libssh2 sort what has come, whoever it is for. */
void ssh_drive(struct lum_ssh *ssh);

/* Whether there is a channel whose bytes are pumped by somebody else. */
bool ssh_has_pipes(const struct lum_ssh *ssh);

/* A channel whose bytes are pumped by somebody else instead of read by operations. */
struct lum_ssh_channel *ssh_channel_tcp(struct lum_ssh *ssh, const char *host, int port,
                                        struct lum_err *err);
struct ssh_pipe {
  bool (*move)(struct ssh_pipe *pipe); /* bytes may be there, or room; true: it got further */
  void (*failed)(struct ssh_pipe *pipe, const struct lum_err *err);
};
void ssh_channel_attach(struct lum_ssh_channel *channel, struct ssh_pipe *pipe);
/* Bytes of stdout; 0: none now; -1: the end; -2: an error. */
ssize_t ssh_channel_take(struct lum_ssh_channel *channel, char *buf, size_t size);
/* Bytes taken; 0: none now; -2: an error. */
ssize_t ssh_channel_give(struct lum_ssh_channel *channel, const char *buf, size_t len);

/* ssh_forward.c: a local descriptor whose other end leads to a port of the host behind the session;
 * -1 with err filled. The caller owns it. */
int ssh_stream_open(struct lum_ssh *ssh, const char *host, int port, struct lum_err *err);

/* ssh_haul.c */
void ssh_haul_try(struct lum_ssh *ssh);  /* begins with it when the session can be lent */
void ssh_haul_stop(struct lum_ssh *ssh); /* asks for the session that is lent */

/* ssh_spy.c: libssh2's memory, and what can be learnt from it. */
LIBSSH2_SESSION *ssh_spy_session(struct lum_ssh *ssh);
/* Bytes that libssh2 will free; a NUL follows them. */
char *ssh_spy_copy(struct lum_ssh *ssh, const char *bytes, size_t len);

#endif
