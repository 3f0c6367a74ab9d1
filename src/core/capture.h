/* Bounded memory for a stream of any length: the front and the back are kept, what lies between is
 * dropped. */
#ifndef LUM_CAPTURE_H
#define LUM_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lum_capture {
  char *data;
  size_t size, used; /* allocated; filled, at most max */
  size_t max, front; /* bytes kept; those of them that are the stream's beginning */
  size_t ring;       /* where the next byte goes behind the front, once max bytes are used */
  uint64_t total;    /* bytes seen */
  bool starved;      /* memory ran out: less than max is kept */
};

void lum_capture_create(struct lum_capture *cap, size_t max);
void lum_capture_destroy(struct lum_capture *cap);
void lum_capture_add(struct lum_capture *cap, const void *bytes, size_t len);

/* Whether bytes were dropped; they are missing at offset cap->front of what lum_capture_bytes
 * gives. */
bool lum_capture_cut(const struct lum_capture *cap);

/* What was kept, in the right order. Call it once, when nothing will be added any more. */
const char *lum_capture_bytes(struct lum_capture *cap, size_t *len);

#endif
