#include "ssh.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh_impl.h"

#define SSH_IN_SIZE (256 * 1024)
#define ROUNDS 32         /* of the pump before the rest of the loop gets a turn */
#define UNANSWERED_MAX 3  /* keepalives */
#define GOODBYE_TRIES 100 /* of libssh2_session_free, which must not be waited for */

/* ---- errors ---- */

static enum lum_kind kind_of(int rc) {
  switch (rc) {
  case LIBSSH2_ERROR_AUTHENTICATION_FAILED:
  case LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED:
  case LIBSSH2_ERROR_KEYFILE_AUTH_FAILED:
  case LIBSSH2_ERROR_METHOD_NONE:
    return LUM_AUTH;
  case LIBSSH2_ERROR_FILE:
    return LUM_AUTH; /* a key that cannot be read: they are given as bytes */
  case LIBSSH2_ERROR_KEX_FAILURE:
  case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
  case LIBSSH2_ERROR_METHOD_NOT_SUPPORTED:
    return LUM_UNSUPPORTED;
  case LIBSSH2_ERROR_CHANNEL_FAILURE:
    return LUM_QUOTA;
  case LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED:
    return LUM_UNSUPPORTED;
  case LIBSSH2_ERROR_SOCKET_SEND:
  case LIBSSH2_ERROR_SOCKET_RECV:
  case LIBSSH2_ERROR_SOCKET_DISCONNECT:
  case LIBSSH2_ERROR_SOCKET_TIMEOUT:
  case LIBSSH2_ERROR_TIMEOUT:
  case LIBSSH2_ERROR_BANNER_RECV:
  case LIBSSH2_ERROR_BANNER_SEND:
    return LUM_UNAVAILABLE;
  case LIBSSH2_ERROR_ALLOC:
    return LUM_QUOTA;
  default:
    return LUM_PROTOCOL;
  }
}

bool ssh_lib_err(struct lum_ssh *ssh, int rc, struct lum_err *err, const char *what) {
  char *said = NULL;
  if (libssh2_session_last_error(ssh->lib, &said, NULL, 0) == LIBSSH2_ERROR_EAGAIN)
    said = NULL; /* what was said before */
  enum lum_kind kind = kind_of(rc);
  if (kind == LUM_UNAVAILABLE)
    ssh_set_lost(ssh, err, "was lost");
  else
    lum_err_set(err, kind, "%s: %s", what, said && *said ? said : "failed");
  err->code = rc;
  if (rc == LIBSSH2_ERROR_CHANNEL_FAILURE)
    snprintf(err->name, sizeof err->name, "SSH_REFUSED");
  return false;
}

void ssh_set_lost(struct lum_ssh *ssh, struct lum_err *err, const char *why) {
  lum_err_set(err, LUM_UNAVAILABLE, "ssh: the connection to %s port %d %s", ssh->host, ssh->port,
              why);
  err->retryable = true;
  snprintf(err->name, sizeof err->name, "SSH_LOST");
}

bool ssh_request_ok(struct lum_ssh *ssh, enum ssh_stage stage, const char *what,
                    struct lum_err *err) {
  if (!ssh_usable(ssh, err))
    return false;
  if (ssh->request)
    lum_err_set(err, LUM_CONFLICT, "%s: another request of this session is in flight", what);
  else if (ssh->stage != stage)
    lum_err_set(err, LUM_INVALID, "%s: not at this stage of the session", what);
  else
    return true;
  return false;
}

bool ssh_usable(const struct lum_ssh *ssh, struct lum_err *err) {
  if (ssh->stage == SSH_ENDED || ssh->doomed)
    *err = ssh->err;
  else if (ssh->lent)
    lum_err_set(err, LUM_CONFLICT, "ssh: the session is busy with a file");
  else
    return true;
  return false;
}

/* ---- the bytes ---- */

static ssize_t on_send(libssh2_socket_t fd, const void *bytes, size_t len, int flags,
                       void **abstract) {
  (void)fd;
  (void)flags;
  struct lum_ssh *ssh = *abstract;
  struct ssh_buf *out = &ssh->out;
  if (ssh->hangup)
    return -EPIPE;
  if (out->from == out->to)
    out->from = out->to = 0;
  if (out->size - out->to < len && out->from > 0) {
    memmove(out->data, out->data + out->from, out->to - out->from);
    out->to -= out->from;
    out->from = 0;
  }
  if (out->size - out->to < len) {
    size_t size = out->size ? out->size : 65536;
    while (size - out->to < len)
      size *= 2;
    char *data = realloc(out->data, size);
    if (!data)
      return -ENOMEM;
    out->data = data;
    out->size = size;
  }
  memcpy(out->data + out->to, bytes, len);
  out->to += len;
  return (ssize_t)len;
}

static ssize_t on_recv(libssh2_socket_t fd, void *bytes, size_t len, int flags, void **abstract) {
  (void)fd;
  (void)flags;
  struct lum_ssh *ssh = *abstract;
  struct ssh_buf *in = &ssh->in;
  if (in->from == in->to)
    return ssh->hangup ? 0 : -EAGAIN;
  size_t n = in->to - in->from < len ? in->to - in->from : len;
  memcpy(bytes, in->data + in->from, n);
  in->from += n;
  return (ssize_t)n;
}

/* sshd lets its small packets wait for our acknowledgement until the first command runs. */
static void hurry(struct lum_ssh *ssh) {
  int on = 1;
  setsockopt(ssh->sock->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* True when something came, be it the end. */
bool ssh_fill(struct lum_ssh *ssh) {
  struct ssh_buf *in = &ssh->in;
  if (ssh->hangup || ssh->dry || ssh->stage < SSH_SHAKING || in->from < in->to)
    return false;
  in->from = in->to = 0;
  ssize_t n;
  do
    n = recv(ssh->sock->fd, in->data, in->size, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN) {
    ssh->dry = true;
    return false;
  }
  ssh->unanswered = 0;
  if (!ssh->settled)
    hurry(ssh);
  if (n > 0)
    in->to = (size_t)n;
  else
    ssh->hangup = true;
  ssh->dry = n > 0 && (size_t)n < in->size;
  return true;
}

void ssh_flush(struct lum_ssh *ssh) {
  struct ssh_buf *out = &ssh->out;
  while (!ssh->hangup && out->from < out->to && ssh->sock) {
    ssize_t n = send(ssh->sock->fd, out->data + out->from, out->to - out->from, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno != EAGAIN)
      ssh->hangup = true; /* what was received before is still worth reading */
    if (n < 0)
      break;
    out->from += (size_t)n;
  }
}

size_t ssh_unsent(const struct lum_ssh *ssh) {
  return ssh->out.to - ssh->out.from;
}

/* ---- the pump ---- */

void ssh_task_add(struct lum_ssh *ssh, struct ssh_task *task) {
  task->next = &ssh->tasks;
  task->prev = ssh->tasks.prev;
  task->prev->next = task;
  ssh->tasks.prev = task;
}

void ssh_task_remove(struct lum_ssh *ssh, struct ssh_task *task) {
  if (!task->next)
    return;
  if (ssh->cursor == task)
    ssh->cursor = task->next;
  task->prev->next = task->next;
  task->next->prev = task->prev;
  task->prev = task->next = NULL;
}

static bool run_tasks(struct lum_ssh *ssh) {
  bool further = false;
  ssh->cursor = ssh->tasks.next;
  while (ssh->cursor != &ssh->tasks && ssh->stage != SSH_ENDED) {
    struct ssh_task *task = ssh->cursor;
    ssh->cursor = task->next;
    further = task->advance(task) || further;
  }
  return further;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct ssh_socket *sock = poll->data;
  if (status < 0)
    sock->events = 0; /* libuv has stopped: the reads tell why, once all that came has been read */
  sock->ssh->dry = false;
  ssh_pump(sock->ssh);
}

/* No timer of 0: one that is started again by its own callback never lets the loop go on, so that a
 * server that never stops talking would hold up everything. */
static void on_soon(uv_idle_t *idle) {
  uv_idle_stop(idle);
  ssh_pump(idle->data);
}

static void watch(struct lum_ssh *ssh) {
  if (!ssh->sock || ssh->stage == SSH_CONNECTING)
    return;
  bool wants = ssh->in.from == ssh->in.to && !ssh->hangup;
  int events =
      (wants ? UV_READABLE : 0) | (ssh->out.from < ssh->out.to && !ssh->hangup ? UV_WRITABLE : 0);
  if (events == ssh->sock->events)
    return;
  ssh->sock->events = events;
  if (events == 0)
    uv_poll_stop(&ssh->sock->poll);
  else
    uv_poll_start(&ssh->sock->poll, events, on_poll);
}

void ssh_pump(struct lum_ssh *ssh) {
  ssh->again = true;
  if (ssh->pumping || ssh->lent || ssh->stage == SSH_ENDED)
    return;
  ssh->pumping = true;
  ssh_ref(ssh);
  for (int round = 0; ssh->again && ssh->stage != SSH_ENDED; round++) {
    ssh->again = false;
    if (round == ROUNDS) {
      uv_idle_start(&ssh->soon, on_soon);
      break;
    }
    bool came = ssh_fill(ssh);
    if (came && ssh->stage == SSH_READY)
      ssh_drive(ssh);
    bool further = run_tasks(ssh);
    ssh->again = ssh->again || came || further;
    if (ssh->stage != SSH_ENDED)
      ssh_flush(ssh);
  }
  if (ssh->stage != SSH_ENDED && ssh->hangup && !ssh->again && ssh->in.from == ssh->in.to) {
    struct lum_err err;
    ssh_set_lost(ssh, &err, "was closed by the other side");
    ssh_end(ssh, &err);
  }
  if (ssh->stage != SSH_ENDED)
    watch(ssh);
  ssh->pumping = false;
  ssh_haul_try(ssh);
  lum_ssh_unref(ssh);
}

/* ---- keepalive ---- */

static void on_timer(uv_timer_t *timer) {
  struct lum_ssh *ssh = timer->data;
  ssh->late = ssh->lent;
  if (ssh->lent)
    return;
  if (ssh->unanswered >= UNANSWERED_MAX) {
    struct lum_err err;
    ssh_set_lost(ssh, &err, "gives no answer any more");
    ssh_end(ssh, &err);
    return;
  }
  int next;
  ssh->unanswered++;
  libssh2_keepalive_send(ssh->lib, &next);
  ssh_pump(ssh);
}

void ssh_start_keepalive(struct lum_ssh *ssh) {
  if (ssh->keepalive_ms == 0)
    return;
  /* The library sends when its interval has passed: ours is the only clock. */
  libssh2_keepalive_config(ssh->lib, 1, 1);
  uv_timer_start(&ssh->timer, on_timer, ssh->keepalive_ms, ssh->keepalive_ms);
}

/* ---- lending ---- */

void ssh_lend(struct lum_ssh *ssh) {
  ssh->lent = true;
  ssh->sock->events = 0;
  uv_poll_stop(&ssh->sock->poll);
}

void ssh_come_back(struct lum_ssh *ssh) {
  ssh->lent = false;
  if (ssh->doomed) {
    struct lum_err err = ssh->err;
    ssh->doomed = false;
    ssh_end(ssh, &err);
    return;
  }
  if (ssh->in.from < ssh->in.to)
    ssh_drive(ssh); /* or the poll would wait for more */
  if (ssh->late)
    on_timer(&ssh->timer);
  ssh_pump(ssh);
}

/* ---- life ---- */

void ssh_ref(struct lum_ssh *ssh) {
  lum_op_ref(&ssh->life);
}

void lum_ssh_unref(struct lum_ssh *ssh) {
  lum_op_unref(&ssh->life);
}

/* The last handle of an ended session is its end. */
static void handle_gone(struct lum_ssh *ssh) {
  if (--ssh->handles == 0)
    lum_op_complete(&ssh->life);
  lum_ssh_unref(ssh);
}

static void on_timer_closed(uv_handle_t *handle) {
  handle_gone(handle->data);
}

static void on_socket_closed(uv_handle_t *handle) {
  struct ssh_socket *sock = handle->data;
  struct lum_ssh *ssh = sock->ssh;
  free(sock);
  handle_gone(ssh);
}

bool ssh_use_socket(struct lum_ssh *ssh, int fd) {
  struct ssh_socket *sock = calloc(1, sizeof *sock);
  if (!sock || uv_poll_init(&ssh->life.eng->loop, &sock->poll, fd) != 0) {
    free(sock);
    return false;
  }
  sock->poll.data = sock;
  sock->ssh = ssh;
  sock->fd = fd;
  ssh->sock = sock;
  ssh->handles++;
  ssh_ref(ssh);
  return true;
}

void ssh_drop_socket(struct lum_ssh *ssh) {
  if (!ssh->sock)
    return;
  uv_close((uv_handle_t *)&ssh->sock->poll, on_socket_closed);
  close(ssh->sock->fd);
  ssh->sock = NULL;
}

static void free_lib(struct lum_ssh *ssh) {
  if (!ssh->lib)
    return;
  if (ssh->stage >= SSH_CONNECTED && !ssh->hangup) {
    libssh2_session_disconnect(ssh->lib, "done");
    ssh_flush(ssh);
  }
  ssh->stage = SSH_ENDED;
  ssh->hangup = true; /* from now on libssh2 finds its connection closed */
  ssh->in.from = ssh->in.to = 0;
  ssh->spying = false;
  for (int i = 0; i < GOODBYE_TRIES && libssh2_session_free(ssh->lib) != 0; i++)
    ;
  ssh->lib = NULL;
}

void ssh_end(struct lum_ssh *ssh, const struct lum_err *err) {
  if (ssh->stage == SSH_ENDED || ssh->doomed)
    return;
  if (ssh->lent) {
    ssh->doomed = true;
    ssh->err = *err;
    ssh_haul_stop(ssh);
    return;
  }
  enum ssh_stage stage = ssh->stage;
  ssh->stage = SSH_ENDED;
  ssh->err = *err;
  ssh_ref(ssh);
  for (struct ssh_task *task; (task = ssh->tasks.next) != &ssh->tasks;) {
    ssh_task_remove(ssh, task);
    task->fail(task, err);
  }
  ssh->stage = stage;
  free_lib(ssh);
  ssh->stage = SSH_ENDED;
  ssh_drop_socket(ssh);
  ssh_proxy_end(ssh->proxy);
  ssh->proxy = NULL;
  uv_close((uv_handle_t *)&ssh->timer, on_timer_closed);
  uv_close((uv_handle_t *)&ssh->soon, on_timer_closed);
  lum_ssh_unref(ssh);
}

static void life_cancel(struct lum_op *op) {
  struct lum_ssh *ssh = (struct lum_ssh *)op;
  struct lum_err err;
  lum_err_set(&err, LUM_CANCELLED, "ssh: the session was closed");
  ssh_end(ssh, &err);
}

static void life_free(struct lum_op *op) {
  struct lum_ssh *ssh = (struct lum_ssh *)op;
  if (ssh->via)
    lum_ssh_unref(ssh->via);
  free(ssh->host);
  free(ssh->hostkeys);
  free(ssh->proxy_command);
  free(ssh->in.data);
  free(ssh->out.data);
  free(ssh->scratch);
  free(ssh);
}

static const struct lum_op_type life_type = {"ssh.session", life_cancel, life_free};

static bool prepare_lib(struct lum_ssh *ssh, struct lum_err *err) {
  static bool ready;
  if (!ready && libssh2_init(0) != 0)
    return lum_err_set(err, LUM_INTERNAL, "ssh: libssh2 cannot be used");
  ready = true;
  ssh->lib = ssh_spy_session(ssh);
  if (!ssh->lib)
    return lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  ssh->spying = true;
  libssh2_session_set_blocking(ssh->lib, 0);
  union {
    ssize_t (*send)(libssh2_socket_t, const void *, size_t, int, void **);
    ssize_t (*recv)(libssh2_socket_t, void *, size_t, int, void **);
    void *any;
  } fn;
  fn.send = on_send;
  libssh2_session_callback_set(ssh->lib, LIBSSH2_CALLBACK_SEND, fn.any);
  fn.recv = on_recv;
  libssh2_session_callback_set(ssh->lib, LIBSSH2_CALLBACK_RECV, fn.any);
  /* The quickest first; all are sound. */
  libssh2_session_method_pref(ssh->lib, LIBSSH2_METHOD_CRYPT_CS,
                              "aes128-ctr,aes256-ctr,aes192-ctr");
  libssh2_session_method_pref(ssh->lib, LIBSSH2_METHOD_CRYPT_SC,
                              "aes128-ctr,aes256-ctr,aes192-ctr");
  libssh2_session_method_pref(ssh->lib, LIBSSH2_METHOD_MAC_CS, "hmac-sha2-256,hmac-sha2-512");
  libssh2_session_method_pref(ssh->lib, LIBSSH2_METHOD_MAC_SC, "hmac-sha2-256,hmac-sha2-512");
  return true;
}

struct lum_ssh *lum_ssh_new(struct lum_engine *eng, const struct lum_ssh_opts *opts,
                            struct lum_err *err) {
  struct lum_ssh *ssh = calloc(1, sizeof *ssh);
  bool ok = ssh && (ssh->host = strdup(opts->host)) && (ssh->in.data = malloc(SSH_IN_SIZE)) &&
            (ssh->scratch = malloc(SSH_SCRATCH)) &&
            (!opts->hostkeys || (ssh->hostkeys = strdup(opts->hostkeys))) &&
            (!opts->proxy || (ssh->proxy_command = strdup(opts->proxy)));
  if (!ok)
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  if (!ok || !prepare_lib(ssh, err)) {
    if (ssh) {
      free(ssh->host);
      free(ssh->in.data);
      free(ssh->scratch);
      free(ssh->hostkeys);
      free(ssh->proxy_command);
    }
    free(ssh);
    return NULL;
  }
  ssh->in.size = SSH_IN_SIZE;
  ssh->port = opts->port;
  ssh->keepalive_ms = opts->keepalive_ms;
  ssh->tasks.prev = ssh->tasks.next = &ssh->tasks;
  lum_op_init(&ssh->life, eng, &life_type);
  if (opts->via) {
    ssh->via = opts->via;
    ssh_ref(ssh->via);
  }
  ssh->life.background = true;
  lum_op_start(&ssh->life);
  uv_timer_init(&eng->loop, &ssh->timer);
  uv_idle_init(&eng->loop, &ssh->soon);
  ssh->timer.data = ssh->soon.data = ssh;
  ssh->handles = 2;
  ssh_ref(ssh); /* for each timer */
  ssh_ref(ssh);
  return ssh;
}

void lum_ssh_close(struct lum_ssh *ssh) {
  lum_op_cancel(&ssh->life);
}

void lum_ssh_look(struct lum_ssh *ssh) {
  if (!ssh->lent)
    ssh->dry = false;
  ssh_pump(ssh);
}

const struct lum_err *lum_ssh_error(const struct lum_ssh *ssh) {
  return &ssh->err;
}

unsigned lum_ssh_load(const struct lum_ssh *ssh) {
  return ssh->load;
}

const char *lum_ssh_hostkey(struct lum_ssh *ssh, size_t *len) {
  int type;
  *len = 0;
  return ssh->lib && !ssh->lent ? libssh2_session_hostkey(ssh->lib, len, &type) : NULL;
}
