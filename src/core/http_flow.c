/* What curl calls while a transfer runs. These touch C buffers only; results go to operations,
 * which queue. */
#include "http_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_RESERVE (1024 * 1024)
#define REDIRECT_BODY (64 * 1024) /* more of it is not worth keeping the connection for */

/* ---- buffers ---- */

size_t lum_http_buf_left(const struct lum_http_buf *buf) {
  return buf->len - buf->at;
}

void lum_http_buf_free(struct lum_http_buf *buf) {
  free(buf->data);
  memset(buf, 0, sizeof *buf);
}

static bool buf_reserve(struct lum_http_buf *buf, size_t len) {
  if (buf->len + len <= buf->cap)
    return true;
  if (buf->at > 0) {
    memmove(buf->data, buf->data + buf->at, buf->len - buf->at);
    buf->len -= buf->at;
    buf->at = 0;
  }
  size_t cap = buf->cap ? buf->cap : 64;
  while (cap < buf->len + len)
    cap *= 2;
  if (cap == buf->cap)
    return true;
  char *data = realloc(buf->data, cap);
  if (!data)
    return false;
  buf->data = data;
  buf->cap = cap;
  return true;
}

bool lum_http_buf_append(struct lum_http_buf *buf, const char *data, size_t len) {
  if (len == 0)
    return true;
  if (!buf_reserve(buf, len))
    return false;
  memcpy(buf->data + buf->len, data, len);
  buf->len += len;
  return true;
}

static struct lum_http *http_of(void *arg) {
  struct lum_slot *slot = arg;
  return (struct lum_http *)slot->owner; /* first member */
}

/* ---- the clock of silence ---- */

static void touch(struct lum_http *http) {
  lum_transfer_moved(&http->transfer);
  http->last_byte = uv_now(&http->eng->loop);
  http->idle_suspect = false;
}

/* It stands still while the peer waits for us. */
static bool waits_for_us(const struct lum_http *http) {
  return http->recv_paused || (http->send_paused && !http->write);
}

static void on_idle_closed(uv_handle_t *handle) {
  free(handle);
}

static void on_idle(uv_timer_t *timer) {
  struct lum_http *http = timer->data;
  uint64_t now = uv_now(&http->eng->loop);
  if (waits_for_us(http))
    touch(http);
  uint64_t silent = now - http->last_byte;
  if (silent < http->idle_ms) {
    uv_timer_start(timer, on_idle, http->idle_ms - silent, 0);
  } else if (!http->idle_suspect) {
    /* Timers run before sockets: bytes may lie there since before a script that computed for long.
     */
    http->idle_suspect = true;
    uv_timer_start(timer, on_idle, 1, 0);
  } else {
    struct lum_err err;
    lum_err_set(&err, LUM_TIMEOUT, "%.32s %s: not a byte for %.3g s (idle_timeout)", http->method,
                http->url.label, (double)http->idle_ms / 1000);
    err.retryable = true;
    lum_http_fail(http, &err);
  }
}

bool lum_http_idle_start(struct lum_http *http) {
  if (http->idle_ms == 0)
    return true;
  uv_timer_t *timer = malloc(sizeof *timer);
  if (!timer)
    return false;
  uv_timer_init(&http->eng->loop, timer); /* cannot fail */
  timer->data = http;
  http->idle = timer;
  uv_update_time(&http->eng->loop);
  http->last_byte = uv_now(&http->eng->loop);
  return uv_timer_start(timer, on_idle, http->idle_ms, 0) == 0;
}

void lum_http_idle_stop(struct lum_http *http) {
  if (http->idle)
    uv_close((uv_handle_t *)http->idle, on_idle_closed);
  http->idle = NULL;
}

/* ---- response ---- */

/* Ends the transfer with this reason, from inside of a callback. */
static size_t refuse(struct lum_http *http, enum lum_kind kind, const char *text) {
  struct lum_err err;
  lum_http_refuse(http, &err, kind, text);
  lum_http_set_err(http, &err);
  return 0;
}

static size_t refuse_head(struct lum_http *http) {
  if (http->head.broken)
    return refuse(http, LUM_PROTOCOL, "the head of the response is malformed");
  char text[96];
  snprintf(text, sizeof text, "the head of the response is larger than %zu bytes",
           http->head.limit);
  return refuse(http, LUM_PROTOCOL, text);
}

static bool is_redirect(const struct lum_http *http) {
  int status = http->head.status;
  return http->follow > 0 &&
         (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) &&
         lum_http_head_get(&http->head, "location");
}

size_t lum_http_on_header(char *data, size_t size, size_t count, void *arg) {
  struct lum_http *http = http_of(arg);
  size_t len = size * count;
  touch(http);
  bool was_complete = http->head.complete;
  if (!lum_http_head_line(&http->head, data, len))
    return refuse_head(http);
  if (http->head.complete && !was_complete) {
    http->redirecting = is_redirect(http);
    if (!http->buffered)
      lum_http_measure(http);
    lum_http_wake(http);
  }
  return len;
}

static size_t too_large(struct lum_http *http) {
  char text[96];
  snprintf(text, sizeof text, "the body is larger than max_body (%lld bytes)",
           (long long)http->max_body);
  return refuse(http, LUM_PROTOCOL, text);
}

static void reserve_first(struct lum_http *http) {
  curl_off_t announced = -1;
  curl_easy_getinfo(lum_http_easy(http), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
  if (announced > 0 && announced <= http->max_body)
    buf_reserve(&http->in, announced < FIRST_RESERVE ? (size_t)announced : FIRST_RESERVE);
}

size_t lum_http_on_body(char *data, size_t size, size_t count, void *arg) {
  struct lum_http *http = http_of(arg);
  size_t len = size * count;
  touch(http);
  if (http->redirecting) {
    http->received += (int64_t)len;
    return http->received > REDIRECT_BODY ? 0 : len;
  }
  if (!http->buffered && lum_http_buf_left(&http->in) > 0 &&
      lum_http_buf_left(&http->in) + len > LUM_HTTP_WINDOW) {
    http->recv_paused = true; /* curl keeps this chunk and brings it again */
    return CURL_WRITEFUNC_PAUSE;
  }
  if (http->max_body > 0 && (int64_t)len > http->max_body - http->received)
    return too_large(http);
  if (http->buffered && http->received == 0)
    reserve_first(http);
  if (!lum_http_buf_append(&http->in, data, len))
    return refuse(http, LUM_QUOTA, "out of memory");
  http->received += (int64_t)len;
  if (http->read)
    lum_http_wake(http);
  return len;
}

/* ---- request body ---- */

static size_t read_bytes(struct lum_http *http, char *data, size_t room) {
  size_t left = http->body.len - (size_t)http->body_at;
  size_t n = left < room ? left : room;
  memcpy(data, http->body.data + http->body_at, n);
  return n;
}

static size_t read_file(struct lum_http *http, char *data, size_t room) {
  int64_t left = http->body_size - http->body_at;
  size_t want = left < (int64_t)room ? (size_t)left : room;
  if (want == 0)
    return 0;
  ssize_t n;
  do
    n = pread(http->body_fd, data, want, http->body_offset + http->body_at);
  while (n < 0 && errno == EINTR);
  if (n > 0)
    return (size_t)n;
  struct lum_err err;
  if (n < 0)
    lum_err_sys(&err, errno, "%.32s %s: body file", http->method, http->url.label);
  else
    lum_http_refuse(http, &err, LUM_IO, "the body file became shorter while it was sent");
  lum_http_set_err(http, &err);
  return CURL_READFUNC_ABORT;
}

static size_t read_pushed(struct lum_http *http, char *data, size_t room) {
  struct lum_http_op *write = http->write;
  if (!write) {
    if (http->body_finished)
      return 0;
    http->send_paused = true;
    return CURL_READFUNC_PAUSE;
  }
  size_t left = lum_http_buf_left(&write->bytes);
  size_t n = left < room ? left : room;
  memcpy(data, write->bytes.data + write->bytes.at, n);
  write->bytes.at += n;
  if (n == left)
    lum_http_wake_write(http);
  return n;
}

size_t lum_http_on_read(char *data, size_t size, size_t count, void *arg) {
  struct lum_http *http = http_of(arg);
  size_t room = size * count, n;
  touch(http);
  if (http->body_kind == LUM_HTTP_BYTES)
    n = read_bytes(http, data, room);
  else if (http->body_kind == LUM_HTTP_FILE)
    n = read_file(http, data, room);
  else
    n = read_pushed(http, data, room);
  if (n != CURL_READFUNC_ABORT && n != CURL_READFUNC_PAUSE)
    http->body_at += (int64_t)n;
  return n;
}

/* curl goes back to the start when a kept-alive connection turns out to be dead. */
int lum_http_on_seek(void *arg, curl_off_t offset, int origin) {
  struct lum_http *http = http_of(arg);
  if (origin != SEEK_SET || (http->body_kind == LUM_HTTP_PUSHED && offset != http->body_at))
    return CURL_SEEKFUNC_FAIL;
  http->body_at = offset;
  return CURL_SEEKFUNC_OK;
}

/* ---- going on after a pause; called outside of curl's callbacks ---- */

static void apply(struct lum_http *http) {
  int bits = (http->recv_paused ? CURLPAUSE_RECV : 0) | (http->send_paused ? CURLPAUSE_SEND : 0);
  CURLcode code = curl_easy_pause(lum_http_easy(http), bits);
  if (code != CURLE_OK)
    http->transfer.done(&http->transfer,
                        code); /* it delivered what it had kept, and that was refused */
}

void lum_http_resume_recv(struct lum_http *http) {
  if (!http->running || !http->recv_paused || lum_http_buf_left(&http->in) > LUM_HTTP_WINDOW / 2)
    return;
  http->recv_paused = false;
  touch(http);
  apply(http);
}

void lum_http_resume_send(struct lum_http *http) {
  if (!http->running || !http->send_paused)
    return;
  http->send_paused = false;
  touch(http);
  apply(http);
}
