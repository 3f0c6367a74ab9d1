/* Raw connections: curl does names, proxies, TLS and unix sockets, then the bytes are ours. Each
 * has a client of its own, see lum_httpc_new. Nothing is read ahead: a read operation reads, so the
 * peer is made to wait. */
#include "http_impl.h"

#include <assert.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct raw_op {
  struct lum_op op;
  struct lum_raw *raw;
  struct lum_http_buf bytes;
  size_t max;
};

struct lum_raw {
  struct lum_httpc_guest guest;
  struct lum_engine *eng;
  struct lum_http *plan; /* the options, the label, the transfer */
  struct lum_httpc *client;
  unsigned refs;
  bool open, closed, handed_out;
  SSL *tls;         /* curl's, as long as the connection is open; NULL: none, or none of OpenSSL */
  bool closing_tls; /* our close_notify is not all sent yet */
  uv_poll_t poll;
  int fd;
  struct raw_op *connect, *read, *write;
};

static struct raw_op *op_of(struct lum_op *op) {
  return (struct raw_op *)op; /* first member */
}

void lum_raw_unref(struct lum_raw *raw) {
  if (--raw->refs > 0)
    return;
  lum_http_unref(raw->plan);
  free(raw);
}

static void settle(struct raw_op **slot, const struct lum_err *err) {
  struct raw_op *self = *slot;
  *slot = NULL;
  if (err)
    self->op.err = *err;
  lum_op_complete(&self->op);
}

/* ---- closing ---- */

static void on_poll_closed(uv_handle_t *handle) {
  lum_raw_unref(handle->data);
}

static void shut(struct lum_raw *raw, const struct lum_err *err) {
  if (raw->closed)
    return;
  raw->closed = true;
  if (raw->open)
    uv_close((uv_handle_t *)&raw->poll, on_poll_closed);
  raw->open = false;
  lum_transfer_end(&raw->plan->transfer);
  lum_httpc_free(raw->client);
  lum_httpc_leave(&raw->guest);
  if (raw->connect)
    settle(&raw->connect, err);
  if (raw->read)
    settle(&raw->read, err);
  if (raw->write)
    settle(&raw->write, err);
  lum_raw_unref(raw);
}

void lum_raw_close(struct lum_raw *raw) {
  struct lum_err err;
  lum_err_set(&err, LUM_CANCELLED, "%.32s %s: closed", raw->plan->method, raw->plan->url.label);
  shut(raw, &err);
}

static void drop_guest(struct lum_httpc_guest *guest) {
  lum_raw_close((struct lum_raw *)guest); /* first member */
}

/* ---- operations ---- */

static void op_free(struct lum_op *op) {
  struct raw_op *self = op_of(op);
  lum_http_buf_free(&self->bytes);
  lum_raw_unref(self->raw);
  free(self);
}

static void connect_free(struct lum_op *op) {
  struct raw_op *self = op_of(op);
  if (!self->raw->handed_out)
    lum_raw_close(self->raw); /* connected, but nobody came for it */
  op_free(op);
}

static void cancel_all(struct lum_op *op) {
  struct lum_err err;
  lum_err_set(&err, LUM_CANCELLED, "%s: cancelled", op->type->name);
  shut(op_of(op)->raw, &err);
}

static void watch(struct lum_raw *raw);

static void leave(struct lum_op *op, struct raw_op **slot) {
  assert(*slot == op_of(op));
  *slot = NULL;
  lum_op_set_cancelled(op);
  lum_op_complete(op);
  watch(op_of(op)->raw);
}

static void read_cancel(struct lum_op *op) {
  leave(op, &op_of(op)->raw->read);
}

static void write_cancel(struct lum_op *op) {
  if (op_of(op)->bytes.at == 0)
    leave(op, &op_of(op)->raw->write);
  else
    cancel_all(op); /* half of it is on the way */
}

static const struct lum_op_type connect_type = {"http.connect", cancel_all, connect_free};
static const struct lum_op_type read_type = {"raw.read", read_cancel, op_free};
static const struct lum_op_type write_type = {"raw.write", write_cancel, op_free};

static struct raw_op *op_new(struct lum_raw *raw, const struct lum_op_type *type,
                             struct lum_err *err) {
  struct raw_op *self = calloc(1, sizeof *self);
  if (!self) {
    lum_err_set(err, LUM_QUOTA, "%s: out of memory", type->name);
    return NULL;
  }
  lum_op_init(&self->op, raw->eng, type);
  self->raw = raw;
  raw->refs++;
  return self;
}

/* ---- bytes ---- */

static void fail(struct lum_raw *raw, struct raw_op **slot, CURLcode code) {
  struct lum_err err;
  lum_http_err_code(raw->plan, &err, code);
  settle(slot, &err);
}

static bool make_room(struct lum_raw *raw) {
  struct lum_http_buf *bytes = &raw->read->bytes;
  if (bytes->data)
    return true;
  bytes->data = malloc(raw->read->max);
  bytes->cap = raw->read->max;
  return bytes->data != NULL;
}

static void try_read(struct lum_raw *raw) {
  if (!make_room(raw)) {
    fail(raw, &raw->read, CURLE_OUT_OF_MEMORY);
    return;
  }
  struct lum_http_buf *bytes = &raw->read->bytes;
  CURLcode code = curl_easy_recv(lum_http_easy(raw->plan), bytes->data, bytes->cap, &bytes->len);
  if (code == CURLE_AGAIN)
    bytes->len = 0;
  else if (code == CURLE_OK)
    settle(&raw->read, NULL);
  else
    fail(raw, &raw->read, code);
}

static void try_write(struct lum_raw *raw) {
  struct lum_http_buf *bytes = &raw->write->bytes;
  while (lum_http_buf_left(bytes) > 0) {
    size_t n = 0;
    CURLcode code = curl_easy_send(lum_http_easy(raw->plan), bytes->data + bytes->at,
                                   lum_http_buf_left(bytes), &n);
    if (code == CURLE_AGAIN)
      return;
    if (code != CURLE_OK) {
      fail(raw, &raw->write, code);
      return;
    }
    bytes->at += n;
  }
  lum_http_buf_free(bytes); /* the collector does not see how large they are */
  settle(&raw->write, NULL);
}

/* Sends our close_notify, which is TLS's half-close: the other side may go on sending. Zero: it is
 * sent, theirs has not come. */
static void try_close_tls(struct lum_raw *raw) {
  int rc = SSL_shutdown(raw->tls);
  raw->closing_tls = rc < 0 && SSL_get_error(raw->tls, rc) == SSL_ERROR_WANT_WRITE;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  struct lum_raw *raw = poll->data;
  (void)events; /* TLS may have to write in order to read, so both are tried */
  (void)status; /* an error shows when they are */
  if (raw->closing_tls)
    try_close_tls(raw);
  if (raw->read)
    try_read(raw);
  if (raw->write)
    try_write(raw);
  watch(raw);
}

static void watch(struct lum_raw *raw) {
  if (!raw->open)
    return;
  int events = (raw->read ? UV_READABLE : 0) | (raw->write || raw->closing_tls ? UV_WRITABLE : 0);
  if (events)
    uv_poll_start(&raw->poll, events, on_poll);
  else
    uv_poll_stop(&raw->poll);
}

/* ---- connecting ---- */

/* Called by curl before it would send its request: the last moment at which it tells of the
 * session. */
int lum_raw_on_ready(void *arg, char *theirs, char *ours, int their_port, int our_port) {
  (void)theirs;
  (void)ours;
  (void)their_port;
  (void)our_port;
  struct lum_raw *raw = arg;
  const struct curl_tlssessioninfo *info = NULL;
  CURLcode code = curl_easy_getinfo(lum_http_easy(raw->plan), CURLINFO_TLS_SSL_PTR, &info);
  if (code == CURLE_OK && info && info->backend == CURLSSLBACKEND_OPENSSL)
    raw->tls = info->internals;
  return CURL_PREREQFUNC_OK;
}

static bool opened(struct lum_raw *raw, struct lum_err *err) {
  curl_socket_t fd = CURL_SOCKET_BAD;
  CURLcode code = curl_easy_getinfo(lum_http_easy(raw->plan), CURLINFO_ACTIVESOCKET, &fd);
  if (code != CURLE_OK || fd == CURL_SOCKET_BAD)
    return lum_http_refuse(raw->plan, err, LUM_INTERNAL, "curl has no socket to hand out");
  lum_httpc_let_go(raw->client, fd);
  int rc = uv_poll_init(&raw->eng->loop, &raw->poll, fd);
  if (rc != 0)
    return lum_err_sys(err, -rc, "http.connect: cannot watch the socket");
  raw->fd = fd;
  raw->poll.data = raw;
  raw->refs++; /* until the close callback */
  raw->open = true;
  return true;
}

static void on_connected(struct lum_transfer *transfer, CURLcode code) {
  struct lum_raw *raw = ((struct lum_http *)transfer)->raw;
  struct lum_err err;
  if (code != CURLE_OK)
    lum_http_err_code(raw->plan, &err, code);
  else if (opened(raw, &err)) {
    settle(&raw->connect, NULL);
    return;
  }
  shut(raw, &err);
}

static struct lum_raw *raw_new(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err) {
  struct lum_httpc *host = lum_httpc_get(eng, LUM_HTTPC_SHARED, err);
  struct lum_http *plan = host ? lum_http_make(eng, opts, err) : NULL;
  if (!plan)
    return NULL;
  struct lum_raw *raw = calloc(1, sizeof *raw);
  struct lum_httpc *client = raw ? lum_httpc_new(eng, err) : NULL;
  if (!client) {
    lum_err_set(err, LUM_QUOTA, "http.connect: out of memory");
    lum_http_unref(plan);
    free(raw);
    return NULL;
  }
  raw->eng = eng;
  raw->refs = 1; /* its own, until it is closed */
  raw->plan = plan;
  raw->client = client;
  raw->fd = -1;
  raw->guest.drop = drop_guest;
  lum_httpc_join(host, &raw->guest);
  plan->raw = raw;
  plan->version = LUM_HTTP_1_1;
  plan->transfer.done = on_connected;
  plan->left_ms = plan->timeout_ms;
  return raw;
}

static bool go(struct lum_raw *raw, struct lum_err *err) {
  if (!lum_transfer_begin(&raw->plan->transfer, raw->client, err))
    return false;
  lum_http_setup(raw->plan);
  return lum_transfer_start(&raw->plan->transfer, err);
}

struct lum_op *lum_raw_connect(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err) {
  struct lum_raw *raw = raw_new(eng, opts, err);
  if (!raw)
    return NULL;
  struct raw_op *self = op_new(raw, &connect_type, err);
  if (self && go(raw, err)) {
    raw->connect = self;
    lum_op_start(&self->op);
    return &self->op;
  }
  if (self)
    lum_op_unref(&self->op); /* closes raw */
  else
    lum_raw_close(raw);
  return NULL;
}

struct lum_raw *lum_raw_of(struct lum_op *op) {
  struct lum_raw *raw = op_of(op)->raw;
  raw->handed_out = true;
  raw->refs++;
  return raw;
}

/* ---- for the holder ---- */

static bool may_wait(const struct lum_raw *raw, const struct raw_op *slot, struct lum_err *err) {
  if (raw->closed)
    return lum_http_refuse(raw->plan, err, LUM_INVALID, "the connection is closed");
  if (slot)
    return lum_http_refuse(raw->plan, err, LUM_CONFLICT, "another such operation is still waiting");
  return true;
}

struct lum_op *lum_raw_read(struct lum_raw *raw, size_t max, struct lum_err *err) {
  if (!may_wait(raw, raw->read, err))
    return NULL;
  struct raw_op *self = op_new(raw, &read_type, err);
  if (!self)
    return NULL;
  self->max = max;
  raw->read = self;
  lum_op_start(&self->op);
  try_read(raw);
  watch(raw);
  return &self->op;
}

struct lum_op *lum_raw_write(struct lum_raw *raw, const char *data, size_t len,
                             struct lum_err *err) {
  if (!may_wait(raw, raw->write, err))
    return NULL;
  struct raw_op *self = op_new(raw, &write_type, err);
  if (!self)
    return NULL;
  if (!lum_http_buf_append(&self->bytes, data, len)) {
    lum_err_set(err, LUM_QUOTA, "raw.write: out of memory");
    lum_op_unref(&self->op);
    return NULL;
  }
  raw->write = self;
  lum_op_start(&self->op);
  try_write(raw);
  watch(raw);
  return &self->op;
}

bool lum_raw_taken(struct lum_op *op, const char **data, size_t *len) {
  struct lum_http_buf *bytes = &op_of(op)->bytes;
  *data = bytes->data ? bytes->data : "";
  *len = bytes->data ? bytes->len : 0;
  return bytes->len > 0;
}

void lum_raw_drop_taken(struct lum_op *op) {
  struct lum_http_buf *bytes = &op_of(op)->bytes;
  free(bytes->data);
  bytes->data = NULL; /* its length stays: that this was not the end */
}

bool lum_raw_finish_write(struct lum_raw *raw, struct lum_err *err) {
  if (!may_wait(raw, raw->write, err))
    return false;
  if (raw->plan->url.tls) {
    if (!raw->tls)
      return lum_http_refuse(raw->plan, err, LUM_UNSUPPORTED,
                             "libcurl was built without OpenSSL: one direction cannot be closed");
    try_close_tls(raw);
    watch(raw);
    return true;
  }
  if (shutdown(raw->fd, SHUT_WR) != 0)
    return lum_err_sys(err, errno, "%.32s %s: half-close", raw->plan->method, raw->plan->url.label);
  return true;
}

bool lum_raw_closed(const struct lum_raw *raw) {
  return raw->closed;
}
