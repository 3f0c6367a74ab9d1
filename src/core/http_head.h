/* Heads: the request's header lines, checked, and the response's, parsed and bounded. */
#ifndef LUM_HTTP_HEAD_H
#define LUM_HTTP_HEAD_H

#include <curl/curl.h>
#include <stdbool.h>

#include "http.h"

/* Method and header names are tokens, values have no CR, LF or NUL. */
bool lum_http_is_token(const char *text, size_t len);

/* The lines of a request for curl, with its unwanted defaults switched off. On failure err is
 * filled. */
bool lum_http_lines_make(struct curl_slist **lines, const struct lum_http_opts *opts,
                         struct lum_err *err);

/* Removes what must not reach another origin: Authorization, Cookie, Host and the names in secret.
 */
void lum_http_lines_strip(struct curl_slist **lines, const struct curl_slist *secret);

/* One raw line of a response, as curl hands it over. False: too large or malformed, see the fields.
 */
bool lum_http_head_line(struct lum_http_head *head, const char *line, size_t len);

/* The value of the first header called name (lower case), NUL-terminated; NULL when absent. */
const char *lum_http_head_get(const struct lum_http_head *head, const char *name);

void lum_http_head_reset(struct lum_http_head *head);
void lum_http_head_destroy(struct lum_http_head *head);

#endif
