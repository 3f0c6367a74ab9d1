/* The life of an exchange: hop by hop, until it has ended. */
#include "http_impl.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static struct lum_http *http_of(struct lum_transfer *transfer) {
  return (struct lum_http *)transfer; /* first member */
}

void lum_http_ref(struct lum_http *http) {
  http->refs++;
}

void lum_http_unref(struct lum_http *http) {
  if (--http->refs == 0)
    lum_http_unmake(http);
}

static void end(struct lum_http *http) {
  if (!http->running)
    return;
  http->running = false;
  http->ended = true;
  lum_transfer_end(&http->transfer);
  lum_http_idle_stop(http);
  if (http->body_fd >= 0)
    close(http->body_fd);
  http->body_fd = -1;
  lum_http_wake(http);
  lum_http_unref(http);
}

void lum_http_fail(struct lum_http *http, const struct lum_err *err) {
  if (!http->running)
    return;
  lum_http_set_err(http, err);
  end(http);
}

static double seconds(CURL *easy, CURLINFO info) {
  curl_off_t us = 0;
  curl_easy_getinfo(easy, info, &us);
  return (double)us / 1e6;
}

void lum_http_measure(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  long connects = 0;
  curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
  http->reused = connects == 0;
  http->timing.dns = seconds(easy, CURLINFO_NAMELOOKUP_TIME_T);
  http->timing.connect = seconds(easy, CURLINFO_CONNECT_TIME_T);
  http->timing.tls = seconds(easy, CURLINFO_APPCONNECT_TIME_T);
  http->timing.first_byte = seconds(easy, CURLINFO_STARTTRANSFER_TIME_T);
  http->timing.total = seconds(easy, CURLINFO_TOTAL_TIME_T);
}

/* ---- hops ---- */

static void on_done(struct lum_transfer *transfer, CURLcode code);

static enum lum_httpc_kind kind_of(const struct lum_http *http) {
  if (http->version == LUM_HTTP_H2C)
    return LUM_HTTPC_H2C;
  if (http->background)
    return LUM_HTTPC_LASTING;
  if (http->version == LUM_HTTP_1_1)
    return LUM_HTTPC_SINGLE;
  return http->buffered ? LUM_HTTPC_SHARED : LUM_HTTPC_STREAMS;
}

static bool hop(struct lum_http *http, struct lum_err *err) {
  struct lum_httpc *client = lum_httpc_get(http->eng, kind_of(http), err);
  if (!client || !lum_transfer_begin(&http->transfer, client, err))
    return false;
  http->transfer.done = on_done;
  lum_http_setup(http);
  return lum_transfer_start(&http->transfer, err);
}

bool lum_http_start(struct lum_http *http, struct lum_err *err) {
  http->left_ms = http->timeout_ms;
  if (!hop(http, err)) {
    lum_transfer_end(&http->transfer);
    return false;
  }
  http->running = true;
  lum_http_ref(http);
  if (lum_http_idle_start(http))
    return true;
  lum_err_set(err, LUM_QUOTA, "http: cannot make a timer");
  lum_http_fail(http, err);
  return false;
}

static void to_get(struct lum_http *http) {
  static const char get[] = "GET";
  memcpy(http->method, get, sizeof get); /* only methods of at least three letters come here */
  http->body_kind = LUM_HTTP_NO_BODY;
}

/* What other clients do: 303 asks for a GET, 301 and 302 turn a POST into one, 307 and 308 repeat
 * as is. */
static bool redirect_method(struct lum_http *http, struct lum_err *err) {
  int status = http->head.status;
  bool is_post = strcmp(http->method, "POST") == 0, is_head = strcmp(http->method, "HEAD") == 0;
  bool is_get = strcmp(http->method, "GET") == 0;
  if ((status == 303 && !is_head && !is_get) || ((status == 301 || status == 302) && is_post)) {
    if (strlen(http->method) < 3)
      return lum_http_refuse(http, err, LUM_PROTOCOL,
                             "redirected, but the method cannot become GET");
    to_get(http);
  } else if (http->body_kind == LUM_HTTP_PUSHED) {
    return lum_http_refuse(http, err, LUM_PROTOCOL,
                           "redirected, but a pushed body cannot be sent again");
  }
  return true;
}

static void forget(char **text) {
  free(*text);
  *text = NULL;
}

static bool redirect_target(struct lum_http *http, struct lum_http_url *to, struct lum_err *err) {
  struct lum_http_url *from = &http->url;
  if (lum_http_url_same_origin(from, to)) {
    to->user = from->user;
    to->password = from->password;
    from->user = from->password = NULL;
    return true;
  }
  if (http->unix_socket)
    return lum_http_refuse(http, err, LUM_PROTOCOL, "redirected away from the unix socket");
  if (from->tls && !to->tls && !http->allow_plain)
    return lum_http_refuse(http, err, LUM_PROTOCOL,
                           "redirected from https to http, which is refused");
  if (to->loopback && !from->loopback)
    return lum_http_refuse(http, err, LUM_PROTOCOL, "redirected to this machine, which is refused");
  lum_http_lines_strip(&http->lines, http->secret);
  forget(&http->cert);
  forget(&http->key);
  return true;
}

static bool redirect(struct lum_http *http, struct lum_err *err) {
  const char *location = lum_http_head_get(&http->head, "location");
  struct lum_http_url to;
  if (!location)
    return lum_http_refuse(http, err, LUM_INTERNAL, "redirect without a location");
  if (!lum_http_url_resolve(&to, &http->url, location, err))
    return false;
  if (!redirect_target(http, &to, err) || !lum_http_allowed(http, &to, err) ||
      !redirect_method(http, err)) {
    lum_http_url_destroy(&to);
    return false;
  }
  lum_http_url_destroy(&http->url);
  http->url = to;
  uint64_t spent = (uint64_t)(http->timing.total * 1000);
  if (http->timeout_ms > 0)
    http->left_ms = http->left_ms > spent ? http->left_ms - spent : 1;
  http->follow--;
  http->redirecting = false;
  http->received = 0;
  http->body_at = 0;
  lum_http_head_reset(&http->head);
  return hop(http, err);
}

static void on_done(struct lum_transfer *transfer, CURLcode code) {
  struct lum_http *http = http_of(transfer);
  struct lum_err err;
  lum_http_measure(http);
  if (http->redirecting && (code == CURLE_OK || code == CURLE_WRITE_ERROR)) {
    lum_transfer_end(transfer);
    if (redirect(http, &err))
      return;
    lum_http_set_err(http, &err);
  } else if (code != CURLE_OK && !http->err) {
    lum_http_err_code(http, &err, code);
    lum_http_set_err(http, &err);
  }
  end(http);
}

/* ---- for the holder of a stream ---- */

void lum_http_close(struct lum_http *http) {
  http->closed = true;
  struct lum_err err;
  lum_err_set(&err, LUM_CANCELLED, "%.32s %s: closed", http->method, http->url.label);
  lum_http_fail(http, &err);
  lum_http_buf_free(&http->in);
}

bool lum_http_closed(const struct lum_http *http) {
  return http->closed;
}

const struct lum_http_head *lum_http_head(const struct lum_http *http) {
  return &http->head;
}

const char *lum_http_url(const struct lum_http *http) {
  return http->url.text;
}

const struct lum_http_timing *lum_http_timing(const struct lum_http *http) {
  return &http->timing;
}

bool lum_http_reused(const struct lum_http *http) {
  return http->reused;
}

const char *lum_http_body(const struct lum_http *http, size_t *len) {
  *len = http->in.len;
  return http->in.data ? http->in.data : "";
}

void lum_http_drop_body(struct lum_http *http) {
  lum_http_buf_free(&http->in);
}
