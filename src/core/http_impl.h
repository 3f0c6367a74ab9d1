/* Inside of the HTTP client: the exchange, shared by its parts. Not for bindings. */
#ifndef LUM_HTTP_IMPL_H
#define LUM_HTTP_IMPL_H

#include <curl/curl.h>

#include "http.h"
#include "http_head.h"
#include "http_url.h"
#include "httpc.h"

struct lum_http_buf {
  char *data;
  size_t at, len, cap; /* the bytes are [at, len) */
};

struct lum_http_op {
  struct lum_op op;
  struct lum_http *http;
  struct lum_http_buf bytes; /* read: taken from the exchange; write: what is to be sent */
  size_t max;                /* read: at most so many */
  bool taken;
};

/* One request and its response. References: the caller's, one while it runs, one per operation. */
struct lum_http {
  struct lum_transfer transfer;
  struct lum_engine *eng;
  unsigned refs;
  bool buffered, running, ended, closed;
  const struct lum_err *err; /* why it failed; NULL: it did not */

  /* the request */
  char *method;
  struct lum_http_url url;
  struct curl_slist *lines, *secret;
  enum lum_http_body body_kind;
  struct lum_http_buf body; /* bytes */
  int body_fd;              /* file */
  int64_t body_offset, body_size, body_at;
  bool body_finished; /* pushed: no more writes will come */
  char *ca_file, *ca_path, *cert, *key, *key_password, *unix_socket, *proxy;
  enum lum_http_version version;
  uint64_t connect_ms, timeout_ms, idle_ms;
  uint64_t left_ms; /* of timeout_ms, when the current hop began */
  int64_t max_body, received;
  int follow;
  bool allow_plain, verify, decompress, raw_chunks, own_connection, background;

  /* the response */
  struct lum_http_head head;
  struct lum_http_buf in;
  struct lum_http_timing timing;
  bool reused, redirecting;

  /* flow */
  bool recv_paused, send_paused;
  uv_timer_t *idle; /* NULL: none */
  bool idle_suspect;
  uint64_t last_byte; /* loop time */

  /* whoever waits; all from the caller's side, one of each */
  struct lum_http_op *whole, *response, *read, *write;

  struct lum_raw *raw; /* set when this is the plan of a raw connection */
};

/* ---- http_err.c ---- */

/* Fills err from a code of curl, and from its error buffer where that says more and is safe to
 * show. */
void lum_http_err_code(const struct lum_http *http, struct lum_err *err, CURLcode code);

/* ---- http_setup.c ---- */

/* Copies and checks everything; NULL with err filled when refused. */
struct lum_http *lum_http_make(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err);
void lum_http_unmake(struct lum_http *http);
/* Whether the URL may be asked for at all under the options. */
bool lum_http_allowed(const struct lum_http *http, const struct lum_http_url *url,
                      struct lum_err *err);
/* Sets the options of the hop that is about to start. */
void lum_http_setup(struct lum_http *http);
/* Keeps a copy of err as the reason of the failure, unless there is one already. */
void lum_http_set_err(struct lum_http *http, const struct lum_err *err);
/* Fills err: "METHOD label: text". Returns false. */
bool lum_http_refuse(const struct lum_http *http, struct lum_err *err, enum lum_kind kind,
                     const char *text);

/* ---- http_flow.c: curl's callbacks and pausing ---- */

size_t lum_http_on_header(char *data, size_t size, size_t count, void *arg);
size_t lum_http_on_body(char *data, size_t size, size_t count, void *arg);
size_t lum_http_on_read(char *data, size_t size, size_t count, void *arg);
int lum_http_on_seek(void *arg, curl_off_t offset, int origin);
void lum_http_resume_recv(struct lum_http *http);
void lum_http_resume_send(struct lum_http *http);
bool lum_http_idle_start(struct lum_http *http);
void lum_http_idle_stop(struct lum_http *http);
bool lum_http_buf_append(struct lum_http_buf *buf, const char *data, size_t len);
size_t lum_http_buf_left(const struct lum_http_buf *buf);
void lum_http_buf_free(struct lum_http_buf *buf);

/* ---- http.c: life of an exchange ---- */

/* Starts the first hop; http then holds a reference to itself until it has ended. */
bool lum_http_start(struct lum_http *http, struct lum_err *err);
void lum_http_ref(struct lum_http *http);
static inline CURL *lum_http_easy(const struct lum_http *http) {
  return http->transfer.slot->easy;
}
/* Reads times and reuse off curl. */
void lum_http_measure(struct lum_http *http);
/* Ends it now with err, from any state. */
void lum_http_fail(struct lum_http *http, const struct lum_err *err);

/* ---- http_raw.c ---- */

/* For curl's option PREREQFUNCTION, with the struct lum_raw. */
int lum_raw_on_ready(void *arg, char *theirs, char *ours, int their_port, int our_port);

/* ---- http_ops.c ---- */

/* Completes what waits for something that has just arrived, or for the end. */
void lum_http_wake(struct lum_http *http);
void lum_http_wake_write(struct lum_http *http);

#endif
