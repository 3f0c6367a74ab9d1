/* What curl's codes mean to us. */
#include "http_impl.h"

#include <stdio.h>
#include <string.h>

/* detail: curl's own sentence about it is safe to show (it names hosts, ports and certificates
 * only), unless it repeats the address of a proxy with a password. */
static const struct code_row {
  CURLcode code;
  const char *name;
  enum lum_kind kind;
  bool retryable, detail;
  const char *hint;
} code_rows[] = {
#define ROW(code, kind, retryable, detail, hint)                                                   \
  { code, #code, kind, retryable, detail, hint }
    ROW(CURLE_COULDNT_RESOLVE_HOST, LUM_UNAVAILABLE, true, true, NULL),
    ROW(CURLE_COULDNT_RESOLVE_PROXY, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_COULDNT_CONNECT, LUM_UNAVAILABLE, true, true, NULL),
    ROW(CURLE_PROXY, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_OPERATION_TIMEDOUT, LUM_TIMEOUT, true, true, NULL),
    ROW(CURLE_PEER_FAILED_VERIFICATION, LUM_UNAVAILABLE, false, true,
        "pass ca_file when the server has its own certificate authority"),
    ROW(CURLE_SSL_CACERT_BADFILE, LUM_INVALID, false, true, "check ca_file"),
    ROW(CURLE_SSL_CERTPROBLEM, LUM_INVALID, false, true, "check cert and key"),
    ROW(CURLE_SSL_ISSUER_ERROR, LUM_UNAVAILABLE, false, true, NULL),
    ROW(CURLE_SSL_CIPHER, LUM_UNAVAILABLE, false, true, NULL),
    ROW(CURLE_SSL_CONNECT_ERROR, LUM_UNAVAILABLE, true, true, NULL),
    ROW(CURLE_SSL_SHUTDOWN_FAILED, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_GOT_NOTHING, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_PARTIAL_FILE, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_SEND_ERROR, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_RECV_ERROR, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_SEND_FAIL_REWIND, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_HTTP2, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_HTTP2_STREAM, LUM_UNAVAILABLE, true, false, NULL),
    ROW(CURLE_WEIRD_SERVER_REPLY, LUM_PROTOCOL, false, false, NULL),
    ROW(CURLE_UNSUPPORTED_PROTOCOL, LUM_PROTOCOL, false, false, "the answer is not HTTP"),
    ROW(CURLE_BAD_CONTENT_ENCODING, LUM_PROTOCOL, false, false, NULL),
    ROW(CURLE_WRITE_ERROR, LUM_PROTOCOL, false, false, NULL),
    ROW(CURLE_READ_ERROR, LUM_IO, false, false, NULL),
    ROW(CURLE_OUT_OF_MEMORY, LUM_QUOTA, true, false,
        "or the answer's head has a line that is too long"),
    ROW(CURLE_URL_MALFORMAT, LUM_INVALID, false, false, NULL),
    ROW(CURLE_ABORTED_BY_CALLBACK, LUM_CANCELLED, false, false, NULL),
    ROW(CURLE_AUTH_ERROR, LUM_AUTH, false, false, NULL),
#undef ROW
};

static const struct code_row *row_of(CURLcode code) {
  for (size_t i = 0; i < sizeof code_rows / sizeof *code_rows; i++) {
    if (code_rows[i].code == code)
      return &code_rows[i];
  }
  return NULL;
}

void lum_http_err_code(const struct lum_http *http, struct lum_err *err, CURLcode code) {
  const struct code_row *row = row_of(code);
  const char *detail = http->transfer.slot ? http->transfer.slot->detail : "";
  bool safe = row && row->detail && detail[0] != '\0' && !strchr(detail, '@');
  const char *text = safe ? detail : curl_easy_strerror(code);
  const char *hint = row ? row->hint : NULL;
  lum_err_set(err, row ? row->kind : LUM_INTERNAL, "%.32s %s: %s%s%s%s", http->method,
              http->url.label, text, hint ? " (" : "", hint ? hint : "", hint ? ")" : "");
  err->code = (int)code;
  err->retryable = row && row->retryable;
  if (code == CURLE_SSL_CONNECT_ERROR && strstr(detail, "routines"))
    err->retryable = false; /* they do not understand each other; a cut line reads differently */
  if (row)
    snprintf(err->name, sizeof err->name, "%s", row->name);
  else
    snprintf(err->name, sizeof err->name, "CURLE_%d", (int)code);
}
