/* Errors of the engine: a kind from the registry, the system's own code and name, and one line of
 * text. The engine never prints and never exits; whoever called it decides what to do with a filled
 * record. */
#ifndef LUM_ERR_H
#define LUM_ERR_H

#include <stdbool.h>
#include <stddef.h>

enum lum_kind {
  LUM_OK = 0,
  LUM_INVALID,
  LUM_NOT_FOUND,
  LUM_CONFLICT,
  LUM_AUTH,
  LUM_QUOTA,
  LUM_RATE_LIMITED,
  LUM_TIMEOUT,
  LUM_CANCELLED,
  LUM_UNAVAILABLE,
  LUM_SANDBOX_GONE,
  LUM_UNSUPPORTED,
  LUM_IO,
  LUM_PROTOCOL,
  LUM_INTERNAL,
  LUM_KIND_COUNT
};

struct lum_err {
  enum lum_kind kind;
  int code;       /* errno, CURLcode ...; 0 when there is none */
  bool retryable; /* trying the same again may help */
  char name[32];  /* symbolic code, such as "ENOENT"; may be empty */
  char msg[512];  /* one line, lower case, no final dot */
};

/* The stable public name of a kind, such as "not_found". */
const char *lum_kind_name(enum lum_kind kind);

void lum_err_clear(struct lum_err *err);

/* Fills the record from a format; always returns false, so that `return lum_err_set(...)` reads
 * well. */
bool lum_err_set(struct lum_err *err, enum lum_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a system error: maps errno to a kind and name and appends ": <strerror>". */
bool lum_err_sys(struct lum_err *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
