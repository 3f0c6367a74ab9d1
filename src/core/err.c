#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const kind_names[LUM_KIND_COUNT] = {
    [LUM_OK] = "ok",
    [LUM_INVALID] = "invalid",
    [LUM_NOT_FOUND] = "not_found",
    [LUM_CONFLICT] = "conflict",
    [LUM_AUTH] = "auth",
    [LUM_QUOTA] = "quota",
    [LUM_RATE_LIMITED] = "rate_limited",
    [LUM_TIMEOUT] = "timeout",
    [LUM_CANCELLED] = "cancelled",
    [LUM_UNAVAILABLE] = "unavailable",
    [LUM_SANDBOX_GONE] = "sandbox_gone",
    [LUM_UNSUPPORTED] = "unsupported",
    [LUM_IO] = "io",
    [LUM_PROTOCOL] = "protocol",
    [LUM_INTERNAL] = "internal",
};

static const struct errno_row {
  int errnum;
  enum lum_kind kind;
  bool retryable;
} errno_rows[] = {
    {ENOENT, LUM_NOT_FOUND, false},
    {ENOTDIR, LUM_NOT_FOUND, false},
    {EEXIST, LUM_CONFLICT, false},
    {ENOTEMPTY, LUM_CONFLICT, false},
    {EISDIR, LUM_CONFLICT, false},
    {EINVAL, LUM_INVALID, false},
    {ENAMETOOLONG, LUM_INVALID, false},
    {E2BIG, LUM_INVALID, false},
    {ETIMEDOUT, LUM_TIMEOUT, true},
    {ECANCELED, LUM_CANCELLED, false},
    {ECONNREFUSED, LUM_UNAVAILABLE, true},
    {ECONNRESET, LUM_UNAVAILABLE, true},
    {EHOSTUNREACH, LUM_UNAVAILABLE, true},
    {ENETUNREACH, LUM_UNAVAILABLE, true},
    {EAGAIN, LUM_UNAVAILABLE, true},
    {EMFILE, LUM_QUOTA, true},
    {ENFILE, LUM_QUOTA, true},
    {ENOMEM, LUM_QUOTA, true},
    {ENOTSUP, LUM_UNSUPPORTED, false},
    {ENOSYS, LUM_UNSUPPORTED, false},
};

const char *lum_kind_name(enum lum_kind kind) {
  return kind >= 0 && kind < LUM_KIND_COUNT ? kind_names[kind] : "internal";
}

void lum_err_clear(struct lum_err *err) {
  err->kind = LUM_OK;
  err->code = 0;
  err->retryable = false;
  err->name[0] = '\0';
  err->msg[0] = '\0';
}

bool lum_err_set(struct lum_err *err, enum lum_kind kind, const char *fmt, ...) {
  lum_err_clear(err);
  err->kind = kind;
  va_list args;
  va_start(args, fmt);
  vsnprintf(err->msg, sizeof err->msg, fmt, args);
  va_end(args);
  return false;
}

bool lum_err_sys(struct lum_err *err, int errnum, const char *fmt, ...) {
  lum_err_clear(err);
  err->kind = LUM_IO;
  err->code = errnum;
  for (size_t i = 0; i < sizeof errno_rows / sizeof *errno_rows; i++) {
    if (errno_rows[i].errnum == errnum) {
      err->kind = errno_rows[i].kind;
      err->retryable = errno_rows[i].retryable;
    }
  }
  const char *name = strerrorname_np(errnum);
  snprintf(err->name, sizeof err->name, "%s", name ? name : "");
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
  va_end(args);
  if (n >= 0 && (size_t)n < sizeof err->msg) {
    const char *text = strerrordesc_np(errnum);
    snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", text ? text : "unknown error");
  }
  return false;
}
