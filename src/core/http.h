/* The HTTP client, as bindings see it: exchanges (one request and its response) and raw
 * connections.
 *
 * An exchange is either buffered (lum_http_request: one operation, the whole body in memory,
 * bounded) or a stream (lum_http_open: an object with operations for the response head, reads and
 * writes). A stream keeps at most LUM_HTTP_WINDOW bytes that nobody has read and never queues more
 * than one write: the peer is made to wait.
 *
 * Every text that comes out of here as an error names method, scheme, host and path only: no query,
 * no userinfo, no header value. */
#ifndef LUM_HTTP_H
#define LUM_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

#define LUM_HTTP_WINDOW (256 * 1024)
#define LUM_HTTP_MAX_BODY (16 * 1024 * 1024)
#define LUM_HTTP_MAX_HEADER (256 * 1024)
#define LUM_HTTP_CONNECT_MS 10000

struct lum_http_header {
  const char *name, *value;
  size_t name_len, value_len;
};

enum lum_http_body { LUM_HTTP_NO_BODY, LUM_HTTP_BYTES, LUM_HTTP_FILE, LUM_HTTP_PUSHED };

/* auto: HTTP/2 when a TLS server offers it. h2c: HTTP/2 without TLS or upgrade, for servers known
 * to speak it. */
enum lum_http_version { LUM_HTTP_AUTO, LUM_HTTP_1_1, LUM_HTTP_2, LUM_HTTP_H2C };

/* Views that need to live only as long as the call that takes them. */
struct lum_http_opts {
  const char *method, *url;
  const struct lum_http_header *headers;
  size_t header_count;
  const char *const *secret_headers; /* names, NULL-terminated; may be NULL */
  enum lum_http_body body_kind;
  const char *body, *body_file;
  size_t body_len;
  int64_t body_offset,
      body_size; /* of a file, or the announced size of a pushed body; -1: all of it, not known */
  const char *ca_file, *ca_path, *cert, *key, *key_password;
  const char *unix_socket, *proxy;
  enum lum_http_version version;
  uint64_t connect_ms, timeout_ms, idle_ms; /* 0: no limit */
  int64_t max_body;                         /* 0: no limit, for streams only */
  int64_t max_header, follow;
  bool allow_plain, verify, decompress, raw_chunks, own_connection;
  bool background; /* a stream whose operations keep nobody waiting */
};

void lum_http_opts_init(struct lum_http_opts *opts);

/* ---- response head ---- */

struct lum_http_field {
  uint32_t name, name_len, value, value_len; /* offsets into lum_http_head.text */
};

struct lum_http_head {
  int status, version; /* version: 10, 11 or 20 */
  char *text;
  struct lum_http_field *fields; /* [0, trailer_from) are headers, the rest are trailers */
  size_t text_len, text_cap, count, cap, trailer_from, limit, seen;
  bool complete, broken; /* broken: malformed; too large when seen > limit */
};

struct lum_http_timing {
  double dns, connect, tls, first_byte, total; /* seconds since the start of the last hop */
};

/* ---- buffered exchange ---- */

/* Result: lum_http_of(op), then head, body, url, timing. NULL with err filled when refused. */
struct lum_op *lum_http_request(struct lum_engine *eng, const struct lum_http_opts *opts,
                                struct lum_err *err);

/* ---- streamed exchange ---- */

struct lum_http;

/* The caller gets one reference. NULL with err filled when refused. */
struct lum_http *lum_http_open(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err);

/* Completes when the head of the final response is in. */
struct lum_op *lum_http_response(struct lum_http *http, struct lum_err *err);

/* Completes when bytes, the end or an error are there; lum_http_take gets them. One read at a time.
 */
struct lum_op *lum_http_read(struct lum_http *http, size_t max, struct lum_err *err);

/* Completes when all bytes are with curl; they are copied. One write at a time. Cancelling a write
 * that has begun ends the exchange: the peer would see a torn body. */
struct lum_op *lum_http_write(struct lum_http *http, const char *data, size_t len,
                              struct lum_err *err);

bool lum_http_finish_write(struct lum_http *http, struct lum_err *err);

/* Aborts what is not finished. Idempotent. */
void lum_http_close(struct lum_http *http);
bool lum_http_closed(const struct lum_http *http);
void lum_http_unref(struct lum_http *http);

/* The bytes of a completed read, moved to the operation: false at the end of the body. A second
 * call gets nothing (*len == 0). */
bool lum_http_take(struct lum_op *op, const char **data, size_t *len);
void lum_http_drop_taken(struct lum_op *op);

/* ---- results ---- */

struct lum_http *lum_http_of(struct lum_op *op);
const struct lum_http_head *lum_http_head(const struct lum_http *http);
const char *lum_http_url(const struct lum_http *http); /* effective, without userinfo */
const struct lum_http_timing *lum_http_timing(const struct lum_http *http);
bool lum_http_reused(const struct lum_http *http);
/* The buffered body; drop frees it once it was copied. */
const char *lum_http_body(const struct lum_http *http, size_t *len);
void lum_http_drop_body(struct lum_http *http);

/* ---- raw connections: TCP, TLS or unix socket, opened by curl's rules ---- */

struct lum_raw;

/* Result: lum_raw_of(op), with a reference for the caller. */
struct lum_op *lum_raw_connect(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err);
struct lum_raw *lum_raw_of(struct lum_op *op);
struct lum_op *lum_raw_read(struct lum_raw *raw, size_t max, struct lum_err *err);
struct lum_op *lum_raw_write(struct lum_raw *raw, const char *data, size_t len,
                             struct lum_err *err);
/* The bytes of a completed read, kept by the operation until they are dropped: false at the end. */
bool lum_raw_taken(struct lum_op *op, const char **data, size_t *len);
void lum_raw_drop_taken(struct lum_op *op);
/* Half-close; over TLS by close_notify. */
bool lum_raw_finish_write(struct lum_raw *raw, struct lum_err *err);
void lum_raw_close(struct lum_raw *raw);
bool lum_raw_closed(const struct lum_raw *raw);
void lum_raw_unref(struct lum_raw *raw);

/* ---- the client ---- */

/* Closes kept-alive connections; everything the client holds when no exchange is running. Streams
 * that keep nobody waiting do not count. */
void lum_httpc_close_idle(struct lum_engine *eng);

#endif
