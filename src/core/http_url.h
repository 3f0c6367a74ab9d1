/* URLs of the HTTP client: what may be asked for, what may be said about it, and where one origin
 * ends. */
#ifndef LUM_HTTP_URL_H
#define LUM_HTTP_URL_H

#include <stdbool.h>

#include "err.h"

struct lum_http_url {
  char *
      text; /* without userinfo and fragment; one block of memory holds the parts that follow too */
  const char *scheme, *host, *port; /* port is always there */
  const char *label;                /* scheme://host/path for messages, cut when long */
  char *user, *password;            /* decoded, apart; NULL when absent */
  bool tls, loopback;
};

/* Parses an absolute http or https URL. On failure err is filled and *url is empty. */
bool lum_http_url_parse(struct lum_http_url *url, const char *text, struct lum_err *err);

/* The target of a Location header, relative to base; never carries userinfo. */
bool lum_http_url_resolve(struct lum_http_url *url, const struct lum_http_url *base,
                          const char *location, struct lum_err *err);

bool lum_http_url_same_origin(const struct lum_http_url *a, const struct lum_http_url *b);

void lum_http_url_destroy(struct lum_http_url *url);

#endif
