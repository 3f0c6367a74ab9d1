/* From a name to agreed keys. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pool.h"
#include "ssh_impl.h"

struct lookup;

struct connect_op {
  struct lum_op op;
  struct lum_ssh *ssh;
  struct ssh_task task;
  struct lookup *lookup;
  struct addrinfo *list, *at; /* what was found, and what comes next */
  int errnum;                 /* why the last one failed */
};

/* Cannot always be called off: outlives its operation if need be. */
struct lookup {
  uv_getaddrinfo_t req;
  struct connect_op *owner; /* NULL: nobody waits for it */
};

static struct connect_op *of_task(struct ssh_task *task) {
  return (struct connect_op *)((char *)task - offsetof(struct connect_op, task));
}

static void end_connect(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  ssh_task_remove(ssh, &self->task);
  if (self->lookup) {
    self->lookup->owner = NULL;
    uv_cancel((uv_req_t *)&self->lookup->req);
    self->lookup = NULL;
  }
  ssh->request = NULL;
  lum_op_complete(&self->op);
}

/* A session that could not be connected is of no use. */
static void fail_connect(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  struct lum_err err = self->op.err;
  ssh_ref(ssh);
  end_connect(self);
  ssh_end(ssh, &err);
  lum_ssh_unref(ssh);
}

static void on_ended(struct ssh_task *task, const struct lum_err *err) {
  struct connect_op *self = of_task(task);
  self->op.err = *err;
  end_connect(self);
}

/* ---- agreeing on keys ---- */

static void tell_hangup(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  char said[256], why[400];
  if (!ssh->proxy) {
    ssh_set_lost(ssh, &self->op.err, "was closed before both sides had agreed on keys");
    snprintf(self->op.err.name, sizeof self->op.err.name, "SSH_TURNED_AWAY");
    return;
  }
  ssh_proxy_said(ssh->proxy, said, sizeof said);
  snprintf(why, sizeof why, "was closed by the ProxyCommand, which said: %s",
           *said ? said : "nothing");
  ssh_set_lost(ssh, &self->op.err, why);
}

static bool shake_hands(struct ssh_task *task) {
  struct connect_op *self = of_task(task);
  struct lum_ssh *ssh = self->ssh;
  if (ssh->stage != SSH_SHAKING)
    return false;
  int rc = libssh2_session_handshake(ssh->lib, ssh->sock->fd);
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return false;
  if (rc == 0) {
    ssh->stage = SSH_CONNECTED;
    end_connect(self);
    return true;
  }
  char what[300];
  snprintf(what, sizeof what, "ssh: %s port %d", ssh->host, ssh->port);
  ssh_lib_err(ssh, rc, &self->op.err, what);
  if (ssh->hangup)
    tell_hangup(self);
  fail_connect(self);
  return true;
}

static void begin_handshake(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  int on = 1;
  setsockopt(ssh->sock->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (ssh->hostkeys)
    libssh2_session_method_pref(ssh->lib, LIBSSH2_METHOD_HOSTKEY, ssh->hostkeys);
  ssh->stage = SSH_SHAKING;
  ssh_pump(ssh);
}

/* ---- sockets ---- */

static void try_next(struct connect_op *self);

static void on_connected(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct ssh_socket *sock = poll->data;
  struct lum_ssh *ssh = sock->ssh;
  struct connect_op *self = (struct connect_op *)ssh->request;
  int errnum = 0;
  socklen_t len = sizeof errnum;
  /* libuv says EBADF of every socket that failed; the socket knows why. */
  getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &errnum, &len);
  if (errnum == 0 && status < 0)
    errnum = -status;
  uv_poll_stop(poll);
  if (errnum == 0) {
    begin_handshake(self);
    return;
  }
  self->errnum = errnum;
  ssh_drop_socket(ssh);
  try_next(self);
}

static void refuse(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  lum_err_sys(&self->op.err, self->errnum ? self->errnum : EADDRNOTAVAIL,
              "ssh: cannot connect to %s port %d", ssh->host, ssh->port);
  self->op.err.kind = LUM_UNAVAILABLE;
  self->op.err.retryable = true;
  fail_connect(self);
}

/* False when this address is of no use; errnum says why. */
static bool try_address(struct connect_op *self, const struct addrinfo *address) {
  struct lum_ssh *ssh = self->ssh;
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    self->errnum = errno;
    return false;
  }
  int rc = connect(fd, address->ai_addr, address->ai_addrlen);
  self->errnum = rc == 0 ? 0 : errno;
  if ((rc != 0 && errno != EINPROGRESS) || !ssh_use_socket(ssh, fd)) {
    close(fd);
    return false;
  }
  rc = uv_poll_start(&ssh->sock->poll, UV_WRITABLE, on_connected);
  if (rc == 0)
    return true;
  self->errnum = -rc;
  ssh_drop_socket(ssh);
  return false;
}

static void try_next(struct connect_op *self) {
  while (self->at) {
    const struct addrinfo *address = self->at;
    self->at = address->ai_next;
    if (try_address(self, address))
      return;
  }
  refuse(self);
}

/* ---- names ---- */

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *list) {
  struct lookup *lookup = req->data;
  struct connect_op *self = lookup->owner;
  free(lookup);
  if (!self) {
    uv_freeaddrinfo(list);
    return;
  }
  self->lookup = NULL;
  self->list = self->at = list;
  if (status == 0) {
    try_next(self);
    return;
  }
  lum_err_set(&self->op.err, LUM_UNAVAILABLE, "ssh: cannot find the host %s: %s", self->ssh->host,
              uv_strerror(status));
  self->op.err.retryable = status == UV_EAI_AGAIN;
  snprintf(self->op.err.name, sizeof self->op.err.name, "%s", uv_err_name(status));
  fail_connect(self);
}

static bool look_up(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  if (!lum_pool_ready(ssh->life.eng, &self->op.err))
    return false;
  struct lookup *lookup = calloc(1, sizeof *lookup);
  if (!lookup)
    return lum_err_set(&self->op.err, LUM_QUOTA, "ssh: out of memory");
  lookup->owner = self;
  lookup->req.data = lookup;
  char port[8];
  snprintf(port, sizeof port, "%d", ssh->port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
  int rc = uv_getaddrinfo(&ssh->life.eng->loop, &lookup->req, on_found, ssh->host, port, &hints);
  if (rc != 0) {
    free(lookup);
    return lum_err_sys(&self->op.err, -rc, "ssh: cannot look up the host %s", ssh->host);
  }
  self->lookup = lookup;
  return true;
}

/* ---- the operation ---- */

static void connect_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  fail_connect((struct connect_op *)op);
}

static void connect_free(struct lum_op *op) {
  struct connect_op *self = (struct connect_op *)op;
  if (self->list)
    uv_freeaddrinfo(self->list);
  lum_ssh_unref(self->ssh);
  free(self);
}

static const struct lum_op_type connect_type = {"ssh.connect", connect_cancel, connect_free};

static bool begin(struct connect_op *self) {
  struct lum_ssh *ssh = self->ssh;
  int fd = -1;
  if (ssh->proxy_command)
    ssh->proxy = ssh_proxy_start(ssh->life.eng, ssh->proxy_command, &fd, &self->op.err);
  else if (ssh->via)
    fd = ssh_stream_open(ssh->via, ssh->host, ssh->port, &self->op.err);
  else
    return look_up(self);
  if (fd < 0)
    return false;
  if (!ssh_use_socket(ssh, fd)) {
    close(fd);
    return lum_err_set(&self->op.err, LUM_QUOTA, "ssh: out of memory");
  }
  begin_handshake(self);
  return true;
}

struct lum_op *lum_ssh_connect(struct lum_ssh *ssh, struct lum_err *err) {
  if (!ssh_request_ok(ssh, SSH_FRESH, "ssh.connect", err))
    return NULL;
  struct connect_op *self = calloc(1, sizeof *self);
  if (!self) {
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
    return NULL;
  }
  lum_op_init(&self->op, ssh->life.eng, &connect_type);
  self->ssh = ssh;
  ssh_ref(ssh);
  ssh->request = &self->op;
  ssh->stage = SSH_CONNECTING;
  lum_op_start(&self->op);
  self->task.advance = shake_hands;
  self->task.fail = on_ended;
  ssh_task_add(ssh, &self->task);
  if (!begin(self))
    fail_connect(self);
  return &self->op;
}
