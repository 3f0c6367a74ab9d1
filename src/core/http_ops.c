/* The operations of an exchange: the whole of it, its head, reads and writes. */
#include "http_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lum_http_op *op_of(struct lum_op *op) {
  return (struct lum_http_op *)op; /* first member */
}

static void op_free(struct lum_op *op) {
  struct lum_http_op *self = op_of(op);
  lum_http_buf_free(&self->bytes);
  lum_http_unref(self->http);
  free(self);
}

/* Gives up waiting; the exchange goes on and loses nothing. */
static void leave(struct lum_op *op, struct lum_http_op **slot) {
  assert(*slot == op_of(op));
  *slot = NULL;
  lum_op_set_cancelled(op);
  lum_op_complete(op);
}

static void whole_cancel(struct lum_op *op) {
  struct lum_err err;
  lum_err_set(&err, LUM_CANCELLED, "%s: cancelled", op->type->name);
  lum_http_fail(op_of(op)->http, &err);
}

static void response_cancel(struct lum_op *op) {
  leave(op, &op_of(op)->http->response);
}

static void read_cancel(struct lum_op *op) {
  leave(op, &op_of(op)->http->read);
}

static void write_cancel(struct lum_op *op) {
  struct lum_http_op *self = op_of(op);
  if (self->bytes.at == 0)
    leave(op, &self->http->write);
  else
    whole_cancel(op); /* half of it is on the way */
}

static const struct lum_op_type whole_type = {"http.request", whole_cancel, op_free};
static const struct lum_op_type response_type = {"http.response", response_cancel, op_free};
static const struct lum_op_type read_type = {"http.read", read_cancel, op_free};
static const struct lum_op_type write_type = {"http.write", write_cancel, op_free};

static struct lum_http_op *op_new(struct lum_http *http, const struct lum_op_type *type,
                                  struct lum_err *err) {
  struct lum_http_op *self = calloc(1, sizeof *self);
  if (!self) {
    lum_err_set(err, LUM_QUOTA, "%s: out of memory", type->name);
    return NULL;
  }
  lum_op_init(&self->op, http->eng, type);
  self->op.background = http->background;
  self->http = http;
  lum_http_ref(http);
  return self;
}

/* ---- completion ---- */

static void settle(struct lum_http_op **slot, const struct lum_err *err) {
  struct lum_http_op *self = *slot;
  *slot = NULL;
  if (err)
    self->op.err = *err;
  lum_op_complete(&self->op);
}

void lum_http_wake_write(struct lum_http *http) {
  lum_http_buf_free(&http->write->bytes); /* the collector does not see how large they are */
  settle(&http->write, NULL);
}

static void settle_late_write(struct lum_http *http) {
  struct lum_err err;
  if (!http->err)
    lum_http_refuse(http, &err, LUM_UNAVAILABLE,
                    "the server answered without reading all of the body");
  settle(&http->write, http->err ? http->err : &err);
}

void lum_http_wake(struct lum_http *http) {
  bool has_head = http->head.complete && !http->redirecting;
  bool has_bytes = lum_http_buf_left(&http->in) > 0;
  if (http->response && (has_head || http->ended))
    settle(&http->response, has_head && !http->closed ? NULL : http->err);
  if (http->read && (has_bytes || http->ended))
    settle(&http->read, has_bytes ? NULL : http->err);
  if (http->write && http->ended)
    settle_late_write(http);
  if (http->whole && http->ended)
    settle(&http->whole, http->err);
}

/* ---- starting ---- */

struct lum_op *lum_http_request(struct lum_engine *eng, const struct lum_http_opts *opts,
                                struct lum_err *err) {
  struct lum_http *http = lum_http_make(eng, opts, err);
  if (!http)
    return NULL;
  http->buffered = true;
  struct lum_http_op *self = op_new(http, &whole_type, err);
  if (self && !lum_http_start(http, err)) {
    lum_op_unref(&self->op);
    self = NULL;
  }
  if (self) {
    http->whole = self;
    lum_op_start(&self->op);
  }
  lum_http_unref(http);
  return self ? &self->op : NULL;
}

struct lum_http *lum_http_open(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err) {
  struct lum_http *http = lum_http_make(eng, opts, err);
  if (http && !lum_http_start(http, err)) {
    lum_http_unref(http);
    http = NULL;
  }
  return http;
}

static bool may_wait(const struct lum_http *http, const struct lum_http_op *slot, const char *what,
                     struct lum_err *err) {
  char text[96];
  if (http->closed)
    return lum_http_refuse(http, err, LUM_INVALID, "the stream is closed");
  if (!slot)
    return true;
  snprintf(text, sizeof text, "another %s is still waiting", what);
  return lum_http_refuse(http, err, LUM_CONFLICT, text);
}

static struct lum_op *begin(struct lum_http *http, struct lum_http_op **slot,
                            struct lum_http_op *self) {
  *slot = self;
  lum_op_start(&self->op);
  lum_http_wake(http); /* it may be there already */
  return &self->op;
}

struct lum_op *lum_http_response(struct lum_http *http, struct lum_err *err) {
  if (!may_wait(http, http->response, "response", err))
    return NULL;
  struct lum_http_op *self = op_new(http, &response_type, err);
  return self ? begin(http, &http->response, self) : NULL;
}

struct lum_op *lum_http_read(struct lum_http *http, size_t max, struct lum_err *err) {
  if (!may_wait(http, http->read, "read", err))
    return NULL;
  struct lum_http_op *self = op_new(http, &read_type, err);
  if (!self)
    return NULL;
  self->max = max;
  return begin(http, &http->read, self);
}

static bool may_write(const struct lum_http *http, size_t len, struct lum_err *err) {
  if (!may_wait(http, http->write, "write", err))
    return false;
  if (http->body_kind != LUM_HTTP_PUSHED || http->body_finished)
    return lum_http_refuse(http, err, LUM_INVALID, "the request body is complete");
  if (http->body_size >= 0 && (int64_t)len > http->body_size - http->body_at)
    return lum_http_refuse(http, err, LUM_INVALID, "more bytes than body_size announced");
  return true;
}

struct lum_op *lum_http_write(struct lum_http *http, const char *data, size_t len,
                              struct lum_err *err) {
  if (!may_write(http, len, err))
    return NULL;
  struct lum_http_op *self = op_new(http, &write_type, err);
  if (!self)
    return NULL;
  if (!lum_http_buf_append(&self->bytes, data, len)) {
    lum_err_set(err, LUM_QUOTA, "http.write: out of memory");
    lum_op_unref(&self->op);
    return NULL;
  }
  begin(http, &http->write, self);
  if (http->write && len == 0)
    lum_http_wake_write(http);
  else if (http->write)
    lum_http_resume_send(http);
  return &self->op;
}

bool lum_http_finish_write(struct lum_http *http, struct lum_err *err) {
  if (http->body_finished)
    return true;
  if (!may_wait(http, http->write, "write", err))
    return false;
  if (http->body_kind != LUM_HTTP_PUSHED)
    return lum_http_refuse(http, err, LUM_INVALID, "this request has no pushed body");
  if (http->body_size >= 0 && http->body_at != http->body_size)
    return lum_http_refuse(http, err, LUM_INVALID, "fewer bytes than body_size announced");
  http->body_finished = true;
  lum_http_resume_send(http);
  return true;
}

/* ---- results ---- */

struct lum_http *lum_http_of(struct lum_op *op) {
  return op_of(op)->http;
}

static void claim(struct lum_http_op *self) {
  struct lum_http_buf *in = &self->http->in;
  size_t left = lum_http_buf_left(in);
  if (left <= self->max) {
    self->bytes = *in;
    memset(in, 0, sizeof *in);
  } else if (lum_http_buf_append(&self->bytes, in->data + in->at, self->max)) {
    in->at += self->max;
  }
}

bool lum_http_take(struct lum_op *op, const char **data, size_t *len) {
  struct lum_http_op *self = op_of(op);
  struct lum_http *http = self->http;
  bool at_end = lum_http_buf_left(&http->in) == 0 && http->ended && !http->err;
  if (!self->taken) {
    if (at_end)
      return false;
    self->taken = true;
    claim(self);
    lum_http_resume_recv(http);
  }
  *data = self->bytes.data ? self->bytes.data + self->bytes.at : "";
  *len = lum_http_buf_left(&self->bytes);
  return true;
}

void lum_http_drop_taken(struct lum_op *op) {
  lum_http_buf_free(&op_of(op)->bytes);
}
