#include "ssh_agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ssh.h"
#include "ssh_wire.h"
#include "worker.h"

#define ANSWER_MAX (256 * 1024)
#define KEYS_MAX 256
#define PATIENCE_MS 60000 /* somebody may have to confirm, or to touch a token */
#define SLICE_MS 100      /* how soon a cancel is noticed */

enum { REQUEST_IDENTITIES = 11, IDENTITIES = 12, SIGN_REQUEST = 13, SIGN_RESPONSE = 14 };

struct agent {
  struct lum_work work;
  char *socket;
  unsigned char *question, *answer; /* without the length in front */
  size_t question_len, answer_len;
  unsigned char expected; /* the kind of answer */
  struct key {
    const unsigned char *blob, *comment;
    size_t blob_len, comment_len;
  } keys[KEYS_MAX];
  size_t key_count;
  const unsigned char *signature;
  size_t signature_len;
  void (*done)(void *arg);
  void *arg;
};

static struct agent *agent_of(const struct lum_op *op) {
  return (struct agent *)op; /* first members */
}

/* ---- talking, on the worker ---- */

static bool wait_for(struct agent *self, int fd, short events, int *left) {
  while (*left > 0) {
    if (lum_work_cancelled(&self->work))
      return false;
    struct pollfd slot = {fd, events, 0};
    if (poll(&slot, 1, SLICE_MS) != 0)
      return true; /* errors show up in the call that follows */
    *left -= SLICE_MS;
  }
  return lum_err_set(&self->work.result_err, LUM_TIMEOUT, "ssh-agent: no answer within %d s",
                     PATIENCE_MS / 1000);
}

static bool transfer(struct agent *self, int fd, unsigned char *bytes, size_t len, bool out) {
  int left = PATIENCE_MS;
  while (len > 0) {
    ssize_t n = out ? send(fd, bytes, len, MSG_NOSIGNAL) : recv(fd, bytes, len, 0);
    if (n > 0) {
      bytes += n;
      len -= (size_t)n;
    } else if (n == 0) {
      return lum_err_set(&self->work.result_err, LUM_UNAVAILABLE,
                         "ssh-agent: it closed the connection");
    } else if (errno == EAGAIN) {
      if (!wait_for(self, fd, out ? POLLOUT : POLLIN, &left))
        return false;
    } else if (errno != EINTR) {
      return lum_err_sys(&self->work.result_err, errno, "ssh-agent");
    }
  }
  return true;
}

static int open_socket(struct agent *self) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(self->socket) >= sizeof address.sun_path) {
    lum_err_set(&self->work.result_err, LUM_INVALID,
                "ssh-agent: the path of its socket is too long");
    return -1;
  }
  memcpy(address.sun_path, self->socket, strlen(self->socket) + 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    lum_err_sys(&self->work.result_err, errno, "ssh-agent: cannot connect to %s", self->socket);
    self->work.result_err.kind = LUM_UNAVAILABLE;
    if (fd >= 0)
      close(fd);
    return -1;
  }
  return fd;
}

static bool ask(struct agent *self, int fd) {
  unsigned char head[4];
  ssh_put32(head, self->question_len);
  if (!transfer(self, fd, head, sizeof head, true) ||
      !transfer(self, fd, self->question, self->question_len, true) ||
      !transfer(self, fd, head, sizeof head, false))
    return false;
  self->answer_len = ssh_get32(head);
  if (self->answer_len < 1 || self->answer_len > ANSWER_MAX)
    return lum_err_set(&self->work.result_err, LUM_PROTOCOL,
                       "ssh-agent: an answer of %zu bytes makes no sense", self->answer_len);
  self->answer = malloc(self->answer_len);
  if (!self->answer)
    return lum_err_set(&self->work.result_err, LUM_QUOTA, "ssh-agent: out of memory");
  return transfer(self, fd, self->answer, self->answer_len, false);
}

static bool read_keys(struct agent *self, const unsigned char *at, size_t len) {
  if (len < 4)
    return false;
  size_t count = ssh_get32(at);
  at += 4;
  len -= 4;
  for (size_t i = 0; i < count && i < KEYS_MAX; i++) {
    struct key *key = &self->keys[i];
    if (!ssh_take(&at, &len, &key->blob, &key->blob_len) ||
        !ssh_take(&at, &len, &key->comment, &key->comment_len))
      return false;
    self->key_count = i + 1;
  }
  return true;
}

static void agent_run(struct lum_work *work) {
  struct agent *self = (struct agent *)work;
  int fd = open_socket(self);
  if (fd < 0)
    return;
  bool ok = ask(self, fd);
  close(fd);
  if (!ok)
    return;
  const unsigned char *at = self->answer + 1;
  size_t len = self->answer_len - 1;
  if (self->answer[0] != self->expected)
    lum_err_set(&work->result_err, LUM_AUTH, "ssh-agent: it refused");
  else if (self->expected == IDENTITIES
               ? !read_keys(self, at, len)
               : !ssh_take(&at, &len, &self->signature, &self->signature_len))
    lum_err_set(&work->result_err, LUM_PROTOCOL, "ssh-agent: its answer makes no sense");
}

/* ---- operations ---- */

static void agent_release(struct lum_work *work) {
  struct agent *self = (struct agent *)work;
  free(self->socket);
  free(self->question);
  free(self->answer);
}

static void agent_finish(struct lum_work *work) {
  struct agent *self = (struct agent *)work;
  if (self->done && !work->op.cancelled)
    self->done(self->arg);
}

static const struct lum_work_type agent_type = {
    {"ssh.agent", lum_work_op_cancel, lum_work_op_free}, agent_run, agent_release, agent_finish};

static struct agent *new_agent(struct lum_engine *eng, const char *socket, size_t question_len) {
  struct agent *self = (struct agent *)lum_work_new(eng, &agent_type, sizeof *self);
  if (!self)
    return NULL;
  self->socket = strdup(socket);
  self->question = malloc(question_len);
  self->question_len = question_len;
  if (self->socket && self->question)
    return self;
  lum_op_unref(&self->work.op);
  return NULL;
}

struct lum_op *lum_ssh_agent_keys(struct lum_engine *eng, const char *socket, struct lum_err *err) {
  struct agent *self = new_agent(eng, socket, 1);
  if (!self) {
    lum_err_set(err, LUM_QUOTA, "ssh-agent: out of memory");
    return NULL;
  }
  self->question[0] = REQUEST_IDENTITIES;
  self->expected = IDENTITIES;
  lum_work_start(&self->work);
  return &self->work.op;
}

size_t lum_ssh_agent_key_count(const struct lum_op *op) {
  return agent_of(op)->key_count;
}

const char *lum_ssh_agent_key(const struct lum_op *op, size_t i, size_t *len, const char **comment,
                              size_t *comment_len) {
  const struct key *key = &agent_of(op)->keys[i];
  *len = key->blob_len;
  *comment = (const char *)key->comment;
  *comment_len = key->comment_len;
  return (const char *)key->blob;
}

struct lum_op *ssh_agent_sign(struct lum_engine *eng, const char *socket, const char *blob,
                              size_t blob_len, const unsigned char *data, size_t len,
                              unsigned flags, void (*done)(void *arg), void *arg) {
  struct agent *self = new_agent(eng, socket, 1 + 4 + blob_len + 4 + len + 4);
  if (!self)
    return NULL;
  unsigned char *at = self->question;
  *at++ = SIGN_REQUEST;
  at = ssh_put(at, blob, blob_len);
  at = ssh_put(at, data, len);
  ssh_put32(at, flags);
  self->expected = SIGN_RESPONSE;
  self->done = done;
  self->arg = arg;
  lum_work_start(&self->work);
  return &self->work.op;
}

const unsigned char *ssh_agent_signature(const struct lum_op *op, size_t *len) {
  *len = agent_of(op)->signature_len;
  return agent_of(op)->signature;
}
