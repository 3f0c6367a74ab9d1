#include "capture.h"

#include <stdlib.h>
#include <string.h>

void lum_capture_create(struct lum_capture *cap, size_t max) {
  *cap = (struct lum_capture){.max = max, .front = max - max / 2};
}

void lum_capture_destroy(struct lum_capture *cap) {
  free(cap->data);
  *cap = (struct lum_capture){0};
}

static void grow(struct lum_capture *cap, size_t wanted) {
  size_t size = cap->size ? cap->size : 4096;
  while (size < wanted)
    size *= 2;
  if (size > cap->max)
    size = cap->max;
  char *data = realloc(cap->data, size);
  if (data) {
    cap->data = data;
    cap->size = size;
    return;
  }
  cap->starved = true; /* go on with what there is */
  cap->max = cap->size;
  cap->front = cap->max - cap->max / 2;
}

static void add_to_ring(struct lum_capture *cap, const char *bytes, size_t len) {
  size_t room = cap->max - cap->front;
  if (len > room) {
    bytes += len - room; /* all of the ring is replaced, wherever it starts */
    len = room;
  }
  while (len > 0) {
    size_t n = room - cap->ring < len ? room - cap->ring : len;
    memcpy(cap->data + cap->front + cap->ring, bytes, n);
    cap->ring = cap->ring + n == room ? 0 : cap->ring + n;
    bytes += n;
    len -= n;
  }
}

void lum_capture_add(struct lum_capture *cap, const void *bytes, size_t len) {
  const char *from = bytes;
  cap->total += len;
  size_t room = cap->max - cap->used, fits = room < len ? room : len;
  if (cap->used + fits > cap->size)
    grow(cap, cap->used + fits);
  room = cap->max - cap->used; /* less when memory ran out */
  fits = room < len ? room : len;
  if (fits > 0)
    memcpy(cap->data + cap->used, from, fits);
  cap->used += fits;
  if (len > fits && cap->max > cap->front)
    add_to_ring(cap, from + fits, len - fits);
}

bool lum_capture_cut(const struct lum_capture *cap) {
  return cap->total > cap->used;
}

static void reverse(char *from, char *to) {
  while (from < to) {
    char c = *from;
    *from++ = *--to;
    *to = c;
  }
}

const char *lum_capture_bytes(struct lum_capture *cap, size_t *len) {
  if (cap->ring > 0) { /* rotate the ring so that its oldest byte comes first */
    char *start = cap->data + cap->front, *middle = start + cap->ring, *end = cap->data + cap->max;
    reverse(start, middle);
    reverse(middle, end);
    reverse(start, end);
    cap->ring = 0;
  }
  *len = cap->used;
  return cap->data ? cap->data : "";
}
