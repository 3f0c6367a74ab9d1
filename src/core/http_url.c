#include "http_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX 240

void lum_http_url_destroy(struct lum_http_url *url) {
  free(url->text);
  free(url->scheme);
  free(url->host);
  free(url->port);
  free(url->user);
  free(url->password);
  free(url->label);
  memset(url, 0, sizeof *url);
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

/* ---- by curl's parser, which decides ---- */

static bool get(CURLU *parts, CURLUPart part, char **out, unsigned flags) {
  char *text = NULL;
  if (curl_url_get(parts, part, &text, flags) != CURLUE_OK)
    return false;
  *out = strdup(text);
  curl_free(text);
  return *out != NULL;
}

static bool take_userinfo(struct lum_http_url *url, CURLU *parts) {
  get(parts, CURLUPART_USER, &url->user, CURLU_URLDECODE);
  get(parts, CURLUPART_PASSWORD, &url->password, CURLU_URLDECODE);
  return curl_url_set(parts, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
         curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
         curl_url_set(parts, CURLUPART_OPTIONS, NULL, 0) == CURLUE_OK &&
         curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK;
}

/* url->text without its query. */
static bool make_label(struct lum_http_url *url) {
  size_t len = strcspn(url->text, "?");
  url->label = strndup(url->text, len < LABEL_MAX ? len : LABEL_MAX);
  return url->label != NULL;
}

static bool take_parts(struct lum_http_url *url, CURLU *parts, struct lum_err *err) {
  if (!take_userinfo(url, parts) || !get(parts, CURLUPART_SCHEME, &url->scheme, 0) ||
      !get(parts, CURLUPART_HOST, &url->host, 0) ||
      !get(parts, CURLUPART_PORT, &url->port, CURLU_DEFAULT_PORT) ||
      !get(parts, CURLUPART_URL, &url->text, 0) || !make_label(url))
    return lum_err_set(err, LUM_INVALID, "url: cannot be understood, expected https://host/path");
  url->tls = strcmp(url->scheme, "https") == 0;
  url->loopback = is_loopback(url->host);
  if (!url->tls && strcmp(url->scheme, "http") != 0)
    return lum_err_set(err, LUM_INVALID,
                       "url: scheme '%.20s' is not supported, expected https or http", url->scheme);
  return true;
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

/* A URL so plain that two parsers cannot differ on it: a host of letters, digits, dots and dashes
 * (not one that could be a number), perhaps a port, a path and a query without dots segments or odd
 * characters. Returns the length of the host, 0 when the URL has to go the long way. */
static size_t plain_host(const char *host) {
  size_t len = strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-");
  if (len == 0 || (host[0] < 'a' && strncmp(host, "127.0.0.1", len) != 0))
    return 0;
  const char *rest = host + len;
  if (*rest == ':') {
    size_t digits = strspn(rest + 1, "0123456789");
    if (digits == 0 || digits > 5 || rest[1] == '0' || strtoul(rest + 1, NULL, 10) > 65535)
      return 0;
    rest += 1 + digits;
  }
  if (*rest != '/' || strstr(rest, "/."))
    return 0;
  rest +=
      strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._~-?=&%+,:");
  return *rest == '\0' ? len : 0;
}

static bool take_plain(struct lum_http_url *url, const char *text, const char *host, size_t len) {
  const char *after = host + len;
  size_t digits = *after == ':' ? strspn(after + 1, "0123456789") : 0;
  url->tls = text[4] == 's';
  url->text = strdup(text);
  url->scheme = strdup(url->tls ? "https" : "http");
  url->host = strndup(host, len);
  url->port = digits > 0 ? strndup(after + 1, digits) : strdup(url->tls ? "443" : "80");
  if (!url->text || !url->scheme || !url->host || !url->port || !make_label(url))
    return false;
  url->loopback = is_loopback(url->host);
  return true;
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
