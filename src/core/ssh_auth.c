/* Proving who the user is. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "ssh_agent.h"
#include "ssh_impl.h"
#include "ssh_key.h"
#include "ssh_wire.h"

struct auth_op {
  struct lum_op op;
  struct lum_ssh *ssh;
  struct ssh_task task;
  int (*step)(struct auth_op *self); /* as libssh2: 0, LIBSSH2_ERROR_EAGAIN or an error */
  char *user, *secret;               /* secret: a password or passphrase, may be NULL */
  char *key;                         /* private key, or public one for the agent */
  size_t key_len;
  char *socket;             /* of the agent */
  unsigned char *sha2_blob; /* what key is called for an RSA signature over SHA-2 */
  size_t sha2_len;
  struct lum_op *signer;
  bool answered; /* by the agent */
  struct ssh_key *rsa;
  char *methods;
};

static struct auth_op *of_task(struct ssh_task *task) {
  return (struct auth_op *)((char *)task - offsetof(struct auth_op, task));
}

static void drop_signer(struct auth_op *self) {
  if (!self->signer)
    return;
  lum_op_cancel(self->signer);
  lum_op_unref(self->signer);
  self->signer = NULL;
}

static void end_auth(struct auth_op *self) {
  ssh_task_remove(self->ssh, &self->task);
  self->ssh->request = NULL;
  drop_signer(self);
  lum_op_complete(&self->op);
}

static void on_ended(struct ssh_task *task, const struct lum_err *err) {
  struct auth_op *self = of_task(task);
  self->op.err = *err;
  end_auth(self);
}

static bool advance(struct ssh_task *task) {
  struct auth_op *self = of_task(task);
  struct lum_ssh *ssh = self->ssh;
  int rc = self->step(self);
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return false;
  if (rc == 0) {
    ssh->stage = libssh2_userauth_authenticated(ssh->lib) ? SSH_READY : ssh->stage;
    if (ssh->stage == SSH_READY) {
      ssh_start_keepalive(ssh);
      ssh_open_spare(ssh);
    }
  } else if (self->op.err.kind == LUM_OK) {
    ssh_lib_err(ssh, rc, &self->op.err, self->op.type->name);
    if (self->op.err.kind == LUM_AUTH && (self->rsa || self->sha2_blob))
      lum_err_set(
          &self->op.err, LUM_AUTH,
          "%s: refused; an RSA key signs as rsa-sha2-512: where the host does not take that, "
          "use an ed25519 key",
          self->op.type->name);
    if (ssh->hangup)
      ssh_set_lost(ssh, &self->op.err, "was closed while the user was being asked for");
  }
  end_auth(self);
  return true;
}

/* libssh2 is in the middle of something that cannot be taken back. */
static void auth_cancel(struct lum_op *op) {
  struct auth_op *self = (struct auth_op *)op;
  struct lum_ssh *ssh = self->ssh;
  struct lum_err err;
  lum_op_set_cancelled(op);
  err = op->err;
  ssh_ref(ssh);
  end_auth(self);
  ssh_end(ssh, &err);
  lum_ssh_unref(ssh);
}

static void wipe(char *text, size_t len) {
  if (text)
    explicit_bzero(text, len);
  free(text);
}

static void auth_free(struct lum_op *op) {
  struct auth_op *self = (struct auth_op *)op;
  wipe(self->secret, self->secret ? strlen(self->secret) : 0);
  wipe(self->key, self->key_len);
  ssh_key_free(self->rsa);
  free(self->sha2_blob);
  free(self->user);
  free(self->socket);
  free(self->methods);
  lum_ssh_unref(self->ssh);
  free(self);
}

static const struct lum_op_type auth_type = {"ssh.auth", auth_cancel, auth_free};

static char *copy(const char *bytes, size_t len) {
  char *text = malloc(len + 1);
  if (text) {
    memcpy(text, bytes, len);
    text[len] = '\0';
  }
  return text;
}

static struct auth_op *new_auth(struct lum_ssh *ssh, const char *user, const char *secret,
                                const char *key, size_t key_len, struct lum_err *err) {
  if (!ssh_request_ok(ssh, SSH_CONNECTED, "ssh.auth", err))
    return NULL;
  struct auth_op *self = calloc(1, sizeof *self);
  if (!self) {
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
    return NULL;
  }
  lum_op_init(&self->op, ssh->life.eng, &auth_type);
  self->ssh = ssh;
  ssh_ref(ssh);
  self->user = strdup(user);
  self->secret = secret ? strdup(secret) : NULL;
  self->key = key ? copy(key, key_len) : NULL;
  self->key_len = key_len;
  if (self->user && (self->secret || !secret) && (self->key || !key))
    return self;
  lum_op_unref(&self->op);
  lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  return NULL;
}

static struct lum_op *start(struct auth_op *self, int (*step)(struct auth_op *)) {
  self->step = step;
  self->task.advance = advance;
  self->task.fail = on_ended;
  self->ssh->request = &self->op;
  lum_op_start(&self->op);
  ssh_task_add(self->ssh, &self->task);
  ssh_pump(self->ssh);
  return &self->op;
}

static unsigned length(const char *text) {
  return (unsigned)strlen(text);
}

/* ---- what there is ---- */

static int list_step(struct auth_op *self) {
  LIBSSH2_SESSION *lib = self->ssh->lib;
  const char *list = libssh2_userauth_list(lib, self->user, length(self->user));
  if (list)
    return (self->methods = strdup(list)) ? 0 : LIBSSH2_ERROR_ALLOC;
  return libssh2_userauth_authenticated(lib) ? 0 : libssh2_session_last_errno(lib);
}

struct lum_op *lum_ssh_auth_methods(struct lum_ssh *ssh, const char *user, struct lum_err *err) {
  struct auth_op *self = new_auth(ssh, user, NULL, NULL, 0, err);
  return self ? start(self, list_step) : NULL;
}

const char *lum_ssh_auth_methods_result(const struct lum_op *op) {
  return ((const struct auth_op *)op)->methods;
}

/* ---- passwords ---- */

static int password_step(struct auth_op *self) {
  return libssh2_userauth_password_ex(self->ssh->lib, self->user, length(self->user), self->secret,
                                      length(self->secret), NULL);
}

static void answer(const char *name, int name_len, const char *instruction, int instruction_len,
                   int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT *prompts,
                   LIBSSH2_USERAUTH_KBDINT_RESPONSE *responses, void **abstract) {
  (void)name;
  (void)name_len;
  (void)instruction;
  (void)instruction_len;
  (void)prompts;
  struct lum_ssh *ssh = *abstract;
  struct auth_op *self = (struct auth_op *)ssh->request;
  for (int i = 0; i < count; i++) {
    unsigned len = length(self->secret);
    responses[i].text = ssh_spy_copy(ssh, self->secret, len);
    responses[i].length = responses[i].text ? len : 0;
  }
}

static int interactive_step(struct auth_op *self) {
  return libssh2_userauth_keyboard_interactive_ex(self->ssh->lib, self->user, length(self->user),
                                                  answer);
}

struct lum_op *lum_ssh_auth_password(struct lum_ssh *ssh, const char *user, const char *password,
                                     bool interactive, struct lum_err *err) {
  struct auth_op *self = new_auth(ssh, user, password, NULL, 0, err);
  return self ? start(self, interactive ? interactive_step : password_step) : NULL;
}

/* ---- keys ---- */

/* libssh2 does not always say why it cannot read a key. */
static int key_step(struct auth_op *self) {
  LIBSSH2_SESSION *lib = self->ssh->lib;
  int rc = libssh2_userauth_publickey_frommemory(lib, self->user, strlen(self->user), NULL, 0,
                                                 self->key, self->key_len, self->secret);
  if (rc != 0 && rc != LIBSSH2_ERROR_EAGAIN &&
      libssh2_session_last_errno(lib) == LIBSSH2_ERROR_EAGAIN)
    lum_err_set(&self->op.err, LUM_AUTH, "the key cannot be read, or its passphrase is wrong");
  return rc;
}

static int sign_here(LIBSSH2_SESSION *lib, unsigned char **sig, size_t *sig_len,
                     const unsigned char *data, size_t data_len, void **abstract) {
  (void)lib;
  struct auth_op *self = *abstract;
  unsigned char *bytes = ssh_key_sign(self->rsa, data, data_len, sig_len);
  *sig = bytes ? (unsigned char *)ssh_spy_copy(self->ssh, (char *)bytes, *sig_len) : NULL;
  free(bytes);
  return *sig ? 0 : -1;
}

static int rsa_step(struct auth_op *self) {
  size_t len;
  const unsigned char *blob = ssh_key_blob(self->rsa, &len);
  void *abstract = self;
  return libssh2_userauth_publickey(self->ssh->lib, self->user, blob, len, sign_here, &abstract);
}

struct lum_op *lum_ssh_auth_key(struct lum_ssh *ssh, const char *user, const char *key, size_t len,
                                const char *passphrase, struct lum_err *err) {
  struct auth_op *self = new_auth(ssh, user, passphrase, key, len, err);
  if (!self)
    return NULL;
  self->rsa = ssh_key_read(self->key, len, self->secret, err);
  if (!self->rsa && err->kind != LUM_OK) {
    lum_op_unref(&self->op);
    return NULL;
  }
  return start(self, self->rsa ? rsa_step : key_step);
}

/* ---- the agent ---- */

static void on_signed(void *arg) {
  struct auth_op *self = arg;
  self->answered = true;
  ssh_pump(self->ssh);
}

/* The bytes alone: libssh2 puts the name in front itself. */
static int take_signature(struct auth_op *self, unsigned char **sig, size_t *sig_len) {
  if (self->signer->err.kind != LUM_OK) {
    self->op.err = self->signer->err;
    return -1;
  }
  size_t len, name_len, count;
  const unsigned char *at = ssh_agent_signature(self->signer, &len), *name, *bytes;
  if (!ssh_take(&at, &len, &name, &name_len) || !ssh_take(&at, &len, &bytes, &count))
    return -1;
  *sig = (unsigned char *)ssh_spy_copy(self->ssh, (const char *)bytes, count);
  *sig_len = count;
  return *sig ? 0 : -1;
}

static int sign_by_agent(LIBSSH2_SESSION *lib, unsigned char **sig, size_t *sig_len,
                         const unsigned char *data, size_t data_len, void **abstract) {
  (void)lib;
  struct auth_op *self = *abstract;
  if (!self->signer)
    self->signer =
        ssh_agent_sign(self->op.eng, self->socket, self->key, self->key_len, data, data_len,
                       self->sha2_blob ? SSH_AGENT_RSA_SHA2_512 : 0, on_signed, self);
  if (!self->signer)
    return -1;
  return self->answered ? take_signature(self, sig, sig_len) : LIBSSH2_ERROR_EAGAIN;
}

static int agent_step(struct auth_op *self) {
  const unsigned char *blob = self->sha2_blob ? self->sha2_blob : (const unsigned char *)self->key;
  void *abstract = self;
  return libssh2_userauth_publickey(self->ssh->lib, self->user, blob,
                                    self->sha2_blob ? self->sha2_len : self->key_len, sign_by_agent,
                                    &abstract);
}

struct lum_op *lum_ssh_auth_agent(struct lum_ssh *ssh, const char *user, const char *socket,
                                  const char *blob, size_t len, struct lum_err *err) {
  struct auth_op *self = new_auth(ssh, user, NULL, blob, len, err);
  if (!self)
    return NULL;
  self->sha2_blob = ssh_rsa_sha2_blob(blob, len, &self->sha2_len);
  self->socket = strdup(socket);
  if (self->socket)
    return start(self, agent_step);
  lum_op_unref(&self->op);
  lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  return NULL;
}
