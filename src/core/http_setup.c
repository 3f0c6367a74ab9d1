/* From options to an exchange, and from an exchange to curl's options. */
#include "http_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bodies up to this size are handed to curl whole; it sends them together with the head. */
#define SMALL_BODY (64 * 1024)
#define STREAM_BUFFER (64 * 1024L)

void lum_http_opts_init(struct lum_http_opts *opts) {
  memset(opts, 0, sizeof *opts);
  opts->body_size = -1;
  opts->connect_ms = LUM_HTTP_CONNECT_MS;
  opts->max_body = LUM_HTTP_MAX_BODY;
  opts->max_header = LUM_HTTP_MAX_HEADER;
  opts->verify = true;
}

bool lum_http_refuse(const struct lum_http *http, struct lum_err *err, enum lum_kind kind,
                     const char *text) {
  return lum_err_set(err, kind, "%.32s %s: %s", http->method, http->url.label, text);
}

static const struct lum_err no_memory = {
    .kind = LUM_QUOTA, .retryable = true, .name = "ENOMEM", .msg = "http: out of memory"};

static const struct lum_err *copy_err(const struct lum_err *err) {
  struct lum_err *copy = malloc(sizeof *copy);
  if (!copy)
    return &no_memory;
  *copy = *err;
  return copy;
}

void lum_http_set_err(struct lum_http *http, const struct lum_err *err) {
  if (!http->err)
    http->err = copy_err(err);
}

static void drop_err(struct lum_http *http) {
  if (http->err != &no_memory)
    free((struct lum_err *)http->err);
}

bool lum_http_allowed(const struct lum_http *http, const struct lum_http_url *url,
                      struct lum_err *err) {
  if (url->tls || url->loopback || http->unix_socket || http->allow_plain)
    return true;
  return lum_err_set(err, LUM_INVALID,
                     "%.32s %s: plain http is readable to everyone on the way; use https, or pass "
                     "allow_plain = true",
                     http->method, url->label);
}

static bool copy_text(char **to, const char *from) {
  if (!from)
    return true;
  *to = strdup(from);
  return *to != NULL;
}

static bool copy_texts(struct lum_http *http, const struct lum_http_opts *opts) {
  return copy_text(&http->method, opts->method) && copy_text(&http->ca_file, opts->ca_file) &&
         copy_text(&http->ca_path, opts->ca_path) && copy_text(&http->cert, opts->cert) &&
         copy_text(&http->key, opts->key) && copy_text(&http->key_password, opts->key_password) &&
         copy_text(&http->unix_socket, opts->unix_socket) && copy_text(&http->proxy, opts->proxy);
}

static bool copy_secret(struct lum_http *http, const struct lum_http_opts *opts) {
  for (const char *const *name = opts->secret_headers; name && *name; name++) {
    struct curl_slist *grown = curl_slist_append(http->secret, *name);
    if (!grown)
      return false;
    http->secret = grown;
  }
  return true;
}

static bool open_file(struct lum_http *http, const struct lum_http_opts *opts,
                      struct lum_err *err) {
  http->body_fd = open(opts->body_file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  struct stat st;
  if (http->body_fd < 0 || fstat(http->body_fd, &st) != 0)
    return lum_err_sys(err, errno, "body file '%.200s'", opts->body_file);
  if (!S_ISREG(st.st_mode))
    return lum_err_set(err, LUM_INVALID, "body file '%.200s': not a regular file", opts->body_file);
  int64_t rest = (int64_t)st.st_size - opts->body_offset;
  if (opts->body_offset < 0 || rest < 0 || opts->body_size > rest)
    return lum_err_set(err, LUM_INVALID, "body file '%.200s': the range is outside of the file",
                       opts->body_file);
  http->body_offset = opts->body_offset;
  http->body_size = opts->body_size >= 0 ? opts->body_size : rest;
  posix_fadvise(http->body_fd, opts->body_offset, http->body_size, POSIX_FADV_SEQUENTIAL);
  return true;
}

static bool copy_body(struct lum_http *http, const struct lum_http_opts *opts,
                      struct lum_err *err) {
  http->body_kind = opts->body_kind;
  http->body_size = opts->body_size;
  if (opts->body_kind == LUM_HTTP_FILE)
    return open_file(http, opts, err);
  if (opts->body_kind != LUM_HTTP_BYTES)
    return true;
  http->body_size = (int64_t)opts->body_len;
  if (lum_http_buf_append(&http->body, opts->body, opts->body_len))
    return true;
  return lum_err_set(err, LUM_QUOTA, "http: out of memory");
}

static bool fill(struct lum_http *http, const struct lum_http_opts *opts, struct lum_err *err) {
  http->version = opts->version;
  http->connect_ms = opts->connect_ms;
  http->timeout_ms = opts->timeout_ms;
  http->idle_ms = opts->idle_ms;
  http->max_body = opts->max_body;
  http->head.limit = (size_t)opts->max_header;
  http->follow = opts->follow < 50 ? (int)opts->follow : 50;
  http->allow_plain = opts->allow_plain;
  http->verify = opts->verify;
  http->decompress = opts->decompress;
  http->raw_chunks = opts->raw_chunks;
  http->own_connection = opts->own_connection;
  http->background = opts->background;
  if (!copy_texts(http, opts) || !copy_secret(http, opts))
    return lum_err_set(err, LUM_QUOTA, "http: out of memory");
  if (!lum_http_is_token(http->method, strlen(http->method)))
    return lum_err_set(err, LUM_INVALID, "method: expected a word such as GET");
  return lum_http_url_parse(&http->url, opts->url, err) &&
         lum_http_allowed(http, &http->url, err) && lum_http_lines_make(&http->lines, opts, err) &&
         copy_body(http, opts, err);
}

struct lum_http *lum_http_make(struct lum_engine *eng, const struct lum_http_opts *opts,
                               struct lum_err *err) {
  struct lum_http *http = calloc(1, sizeof *http);
  if (!http) {
    lum_err_set(err, LUM_QUOTA, "http: out of memory");
    return NULL;
  }
  http->eng = eng;
  http->refs = 1;
  http->body_fd = -1;
  if (fill(http, opts, err))
    return http;
  lum_http_unmake(http);
  return NULL;
}

void lum_http_unmake(struct lum_http *http) {
  if (http->body_fd >= 0)
    close(http->body_fd);
  lum_http_url_destroy(&http->url);
  curl_slist_free_all(http->lines);
  curl_slist_free_all(http->secret);
  lum_http_buf_free(&http->body);
  lum_http_buf_free(&http->in);
  lum_http_head_destroy(&http->head);
  drop_err(http);
  free(http->method);
  free(http->ca_file);
  free(http->ca_path);
  free(http->cert);
  free(http->key);
  free(http->key_password);
  free(http->unix_socket);
  free(http->proxy);
  free(http);
}

/* ---- curl's options ---- */

static const char *known_bundle;

static void find_bundle(void) {
  known_bundle = curl_version_info(CURLVERSION_NOW)->cainfo;
}

/* Once: curl_version_info writes its answer into memory that all threads share. */
static const char *default_bundle(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, find_bundle);
  return known_bundle;
}

/* The same for every exchange; a pooled handle may still have them. */
static void setup_constant(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "luarium/" LUARIUM_VERSION);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, lum_http_on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, http->transfer.slot);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, lum_http_on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, http->transfer.slot);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  /* With a bundle alone curl parses it once and keeps it; with a folder too it would do so per
   * connection. */
  const char *bundle = default_bundle();
  if (bundle && access(bundle, R_OK) == 0)
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
}

static bool is_direct(const struct lum_http *http) {
  return http->unix_socket || http->url.loopback;
}

static bool may_share(const struct lum_http *http) {
  return http->buffered && http->url.tls && http->version != LUM_HTTP_1_1;
}

/* What a prepared handle has to be told only when it differs from the exchange before. */
static uint64_t memo_of(const struct lum_http *http) {
  uint64_t connect_ms = http->connect_ms < UINT32_MAX ? http->connect_ms : UINT32_MAX;
  return connect_ms << 8 | (uint64_t)http->version << 4 | (http->lines ? 4U : 0U) |
         (is_direct(http) ? 2U : 0U) | (may_share(http) ? 1U : 0U);
}

static void setup_kept(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  static const long versions[] = {
      [LUM_HTTP_AUTO] = CURL_HTTP_VERSION_2TLS,
      [LUM_HTTP_1_1] = CURL_HTTP_VERSION_1_1,
      [LUM_HTTP_2] = CURL_HTTP_VERSION_2TLS,
      [LUM_HTTP_H2C] = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
  };
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, versions[http->version]);
  /* To curl, 0 means five minutes. */
  long connect_ms =
      http->connect_ms > 0 && http->connect_ms < INT_MAX ? (long)http->connect_ms : INT_MAX;
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
  curl_easy_setopt(easy, CURLOPT_NOPROXY, is_direct(http) ? "*" : NULL);
  /* Rather share an HTTP/2 connection than open a hundred at once. */
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, may_share(http) ? 1L : 0L);
}

/* Set for each exchange, so that nothing of the one before shows. */
static void setup_always(struct lum_http *http) {
  struct lum_slot *slot = http->transfer.slot;
  uint64_t memo = memo_of(http);
  if (!slot->prepared || slot->memo != memo)
    setup_kept(http);
  if (!slot->prepared || slot->memo != memo || http->lines)
    curl_easy_setopt(slot->easy, CURLOPT_HTTPHEADER, http->lines);
  slot->memo = memo;
  curl_easy_setopt(slot->easy, CURLOPT_URL, http->url.text);
  curl_easy_setopt(slot->easy, CURLOPT_TIMEOUT_MS, (long)http->left_ms);
}

static bool is_plain_get(const struct lum_http *http) {
  return http->buffered && http->body_kind == LUM_HTTP_NO_BODY &&
         strcmp(http->method, "GET") == 0 && http->verify && http->version != LUM_HTTP_H2C &&
         !http->own_connection && !http->raw && !http->decompress && !http->raw_chunks &&
         !http->ca_file && !http->ca_path && !http->cert && !http->key && !http->key_password &&
         !http->unix_socket && !http->proxy && !http->url.user && !http->url.password;
}

static void setup_body(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  if (http->body_kind == LUM_HTTP_NO_BODY ||
      (http->body_kind == LUM_HTTP_BYTES && http->body.len <= SMALL_BODY)) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, http->body.data ? http->body.data : "");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)http->body.len);
    return;
  }
  curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)http->body_size);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, lum_http_on_read);
  curl_easy_setopt(easy, CURLOPT_READDATA, http->transfer.slot);
  curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, lum_http_on_seek);
  curl_easy_setopt(easy, CURLOPT_SEEKDATA, http->transfer.slot);
}

static void setup_method(struct lum_http *http) {
  const char *method = http->method;
  bool wants_body =
      strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
  bool has_body = http->body_kind != LUM_HTTP_NO_BODY || wants_body;
  if (has_body)
    setup_body(http);
  if (!has_body && strcmp(method, "HEAD") == 0)
    curl_easy_setopt(lum_http_easy(http), CURLOPT_NOBODY, 1L);
  else if (has_body || strcmp(method, "GET") != 0)
    curl_easy_setopt(lum_http_easy(http), CURLOPT_CUSTOMREQUEST, method);
}

static void setup_tls(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, http->verify ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, http->verify ? 2L : 0L);
  if (http->ca_file || http->ca_path) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
    curl_easy_setopt(easy, CURLOPT_CAPATH, http->ca_path);
  }
  if (http->cert)
    curl_easy_setopt(easy, CURLOPT_SSLCERT, http->cert);
  if (http->key)
    curl_easy_setopt(easy, CURLOPT_SSLKEY, http->key);
  if (http->key_password)
    curl_easy_setopt(easy, CURLOPT_KEYPASSWD, http->key_password);
}

static void setup_route(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  if (http->unix_socket)
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, http->unix_socket);
  if (http->proxy && !http->unix_socket && !http->url.loopback) {
    curl_easy_setopt(easy, CURLOPT_PROXY, http->proxy);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, ""); /* asked for by name: no_proxy has no say */
  }
  /* curl 7.88 fails the second request on an HTTP/2 connection without TLS. */
  if (http->own_connection || http->version == LUM_HTTP_H2C) {
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 0L);
  }
}

static void setup_special(struct lum_http *http) {
  CURL *easy = lum_http_easy(http);
  if (http->url.user)
    curl_easy_setopt(easy, CURLOPT_USERNAME, http->url.user);
  if (http->url.password)
    curl_easy_setopt(easy, CURLOPT_PASSWORD, http->url.password);
  if (http->decompress)
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
  if (http->raw_chunks)
    curl_easy_setopt(easy, CURLOPT_HTTP_TRANSFER_DECODING, 0L);
  if (!http->buffered) {
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, STREAM_BUFFER);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  }
  setup_method(http);
  setup_tls(http);
  setup_route(http);
}

void lum_http_setup(struct lum_http *http) {
  struct lum_transfer *transfer = &http->transfer;
  bool plain = is_plain_get(http);
  if (transfer->slot->prepared && !plain)
    lum_transfer_clean(transfer);
  if (!transfer->slot->prepared)
    setup_constant(http);
  setup_always(http);
  if (!plain)
    setup_special(http);
  if (http->raw) {
    curl_easy_setopt(transfer->slot->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(transfer->slot->easy, CURLOPT_HTTPPROXYTUNNEL, 1L);
    curl_easy_setopt(transfer->slot->easy, CURLOPT_PREREQFUNCTION, lum_raw_on_ready);
    curl_easy_setopt(transfer->slot->easy, CURLOPT_PREREQDATA, http->raw);
  }
  transfer->prepares = plain;
}
