#include "http_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX 240
#define EXPECTED "expected https://host/path (spaces and the like percent-encoded)"

void lum_http_url_destroy(struct lum_http_url *url) {
  free(url->text);
  free(url->user);
  free(url->password);
  memset(url, 0, sizeof *url);
}

struct piece {
  const char *text;
  size_t len;
};

static char *put(char **at, struct piece piece) {
  char *start = *at;
  memcpy(start, piece.text, piece.len);
  start[piece.len] = '\0';
  *at += piece.len + 1;
  return start;
}

static bool is_loopback(const char *host) {
  size_t len = strlen(host);
  if (strcasecmp(host, "localhost") == 0)
    return true; /* curl itself answers this name, with loopback addresses */
  struct in_addr v4;
  if (inet_pton(AF_INET, host, &v4) == 1)
    return (ntohl(v4.s_addr) >> 24) == 127;
  char text[64];
  if (len < 3 || len >= sizeof text || host[0] != '[')
    return false;
  memcpy(text, host + 1, len - 2);
  text[len - 2] = '\0';
  struct in6_addr v6;
  return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool pack(struct lum_http_url *url, struct piece text, struct piece scheme,
                 struct piece host, struct piece port) {
  struct piece label = {text.text, strcspn(text.text, "?")};
  if (label.len > LABEL_MAX)
    label.len = LABEL_MAX;
  char *at = malloc(text.len + scheme.len + host.len + port.len + label.len + 5);
  if (!at)
    return false;
  url->text = put(&at, text);
  url->scheme = put(&at, scheme);
  url->host = put(&at, host);
  url->port = put(&at, port);
  url->label = put(&at, label);
  url->tls = strcmp(url->scheme, "https") == 0;
  url->loopback = is_loopback(url->host);
  return true;
}

/* ---- by curl's parser, which decides ---- */

struct parts {
  char *text, *scheme, *host, *port, *user, *password;
};

static struct piece whole(const char *text) {
  return (struct piece){text, strlen(text)};
}

static bool get(CURLU *handle, CURLUPart part, char **out, unsigned flags) {
  return curl_url_get(handle, part, out, flags) == CURLUE_OK;
}

static bool get_parts(CURLU *handle, struct parts *parts) {
  get(handle, CURLUPART_USER, &parts->user, CURLU_URLDECODE);
  get(handle, CURLUPART_PASSWORD, &parts->password, CURLU_URLDECODE);
  return curl_url_set(handle, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
         curl_url_set(handle, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
         curl_url_set(handle, CURLUPART_OPTIONS, NULL, 0) == CURLUE_OK &&
         curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
         get(handle, CURLUPART_SCHEME, &parts->scheme, 0) &&
         get(handle, CURLUPART_HOST, &parts->host, 0) &&
         get(handle, CURLUPART_PORT, &parts->port, CURLU_DEFAULT_PORT) &&
         get(handle, CURLUPART_URL, &parts->text, 0);
}

static bool copy_userinfo(struct lum_http_url *url, const struct parts *parts) {
  url->user = parts->user ? strdup(parts->user) : NULL;
  url->password = parts->password ? strdup(parts->password) : NULL;
  return (url->user || !parts->user) && (url->password || !parts->password);
}

static bool use_parts(struct lum_http_url *url, const struct parts *parts, struct lum_err *err) {
  if (strcmp(parts->scheme, "https") != 0 && strcmp(parts->scheme, "http") != 0)
    return lum_err_set(err, LUM_INVALID,
                       "url: scheme '%.20s' is not supported, expected https or http",
                       parts->scheme);
  if (!copy_userinfo(url, parts) ||
      !pack(url, whole(parts->text), whole(parts->scheme), whole(parts->host), whole(parts->port)))
    return lum_err_set(err, LUM_QUOTA, "url: out of memory");
  return true;
}

static bool take_parts(struct lum_http_url *url, CURLU *handle, struct lum_err *err) {
  struct parts parts = {.text = NULL};
  bool ok = get_parts(handle, &parts) ? use_parts(url, &parts, err)
                                      : lum_err_set(err, LUM_INVALID, "url: %s", EXPECTED);
  char *all[] = {parts.text, parts.scheme, parts.host, parts.port, parts.user, parts.password};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    curl_free(all[i]);
  return ok;
}

static bool parse(struct lum_http_url *url, CURLU *parts, const char *text, struct lum_err *err) {
  CURLUcode rc = curl_url_set(parts, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
  if (rc != CURLUE_OK)
    return lum_err_set(err, LUM_INVALID,
                       "url: %s, expected https://host/path (spaces and the like percent-encoded)",
                       curl_url_strerror(rc));
  return take_parts(url, parts, err);
}

/* ---- the short way ---- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_host_char(char c) {
  return (c >= 'a' && c <= 'z') || is_digit(c) || c == '.' || c == '-';
}

static bool is_path_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '&' && c <= ':' && c != '(' && c != ')') || c == '_' || c == '~' || c == '?' ||
         c == '=' || c == '%';
}

static size_t span(const char *text, bool (*matches)(char c)) {
  size_t len = 0;
  while (matches(text[len]))
    len++;
  return len;
}

static bool is_plain_port(const char *digits, size_t len) {
  return len > 0 && len <= 5 && digits[0] != '0' && strtoul(digits, NULL, 10) <= 65535;
}

/* A URL so plain that two parsers cannot differ on it: a host of letters, digits, dots and dashes
 * (not one that could be a number), perhaps a port, a path and a query without dot segments or odd
 * characters. Returns the length of the host, 0 when the URL has to go the long way. */
static size_t plain_host(const char *host) {
  size_t len = span(host, is_host_char);
  if (len == 0 || (host[0] < 'a' && strncmp(host, "127.0.0.1", len) != 0))
    return 0;
  const char *rest = host + len;
  if (*rest == ':') {
    size_t digits = span(rest + 1, is_digit);
    if (!is_plain_port(rest + 1, digits))
      return 0;
    rest += 1 + digits;
  }
  if (*rest != '/' || strstr(rest, "/."))
    return 0;
  rest += span(rest, is_path_char);
  return *rest == '\0' ? len : 0;
}

static bool take_plain(struct lum_http_url *url, const char *text, const char *host, size_t len) {
  const char *after = host + len;
  bool tls = text[4] == 's';
  struct piece port = whole(tls ? "443" : "80");
  if (*after == ':')
    port = (struct piece){after + 1, strspn(after + 1, "0123456789")};
  return pack(url, whole(text), whole(tls ? "https" : "http"), (struct piece){host, len}, port);
}

static size_t scheme_len(const char *text) {
  if (strncmp(text, "https://", 8) == 0)
    return 8;
  return strncmp(text, "http://", 7) == 0 ? 7 : 0;
}

bool lum_http_url_parse(struct lum_http_url *url, const char *text, struct lum_err *err) {
  memset(url, 0, sizeof *url);
  size_t skip = scheme_len(text);
  size_t len = skip ? plain_host(text + skip) : 0;
  bool ok = false;
  if (len > 0) {
    ok = take_plain(url, text, text + skip, len) ||
         lum_err_set(err, LUM_QUOTA, "url: out of memory");
  } else {
    CURLU *parts = curl_url();
    ok = parts ? parse(url, parts, text, err) : lum_err_set(err, LUM_QUOTA, "url: out of memory");
    curl_url_cleanup(parts);
  }
  if (!ok)
    lum_http_url_destroy(url);
  return ok;
}

/* ---- redirects ---- */

static bool resolve(struct lum_http_url *url, CURLU *parts, const struct lum_http_url *base,
                    const char *location, struct lum_err *err) {
  if (curl_url_set(parts, CURLUPART_URL, base->text, 0) != CURLUE_OK ||
      curl_url_set(parts, CURLUPART_URL, location, CURLU_URLENCODE | CURLU_NON_SUPPORT_SCHEME) !=
          CURLUE_OK)
    return lum_err_set(err, LUM_PROTOCOL, "%s: redirected to a malformed location", base->label);
  if (!take_parts(url, parts, err))
    return lum_err_set(err, LUM_PROTOCOL, "%s: redirected to something that is not http or https",
                       base->label);
  free(url->user);
  free(url->password);
  url->user = url->password = NULL;
  return true;
}

bool lum_http_url_resolve(struct lum_http_url *url, const struct lum_http_url *base,
                          const char *location, struct lum_err *err) {
  memset(url, 0, sizeof *url);
  CURLU *parts = curl_url();
  bool ok = parts ? resolve(url, parts, base, location, err)
                  : lum_err_set(err, LUM_QUOTA, "redirect: out of memory");
  curl_url_cleanup(parts);
  if (!ok)
    lum_http_url_destroy(url);
  return ok;
}

bool lum_http_url_same_origin(const struct lum_http_url *a, const struct lum_http_url *b) {
  return strcmp(a->scheme, b->scheme) == 0 && strcasecmp(a->host, b->host) == 0 &&
         strcmp(a->port, b->port) == 0;
}
