/* The bytes of an archive on their way in: from the engine's thread through a bounded queue to the
 * unpacking thread, and there through gzip or zstd. The checksums of both are verified, and the
 * limits on size and ratio hold before anybody sees a byte. */
#ifndef LUM_ARCHIVE_INPUT_H
#define LUM_ARCHIVE_INPUT_H

#include <uv.h>

#include "err.h"

struct lum_queue_chunk {
  struct lum_queue_chunk *next;
  size_t len;
  char data[];
};

/* One writer, one reader. */
struct lum_queue {
  uv_mutex_t mutex;
  uv_cond_t cond;
  struct lum_queue_chunk *head, **tail;
  size_t bytes; /* queued and not yet taken */
  bool ended, cancelled;
  void (*on_taken)(void *arg); /* called by the reader when a chunk was taken */
  void *arg;
};

bool lum_queue_create(struct lum_queue *queue);
void lum_queue_destroy(struct lum_queue *queue);
bool lum_queue_put(struct lum_queue *queue, const char *bytes,
                   size_t len); /* false: out of memory */
void lum_queue_end(struct lum_queue *queue);
void lum_queue_cancel(struct lum_queue *queue);
bool lum_queue_cancelled(struct lum_queue *queue);
size_t lum_queue_bytes(struct lum_queue *queue);

/* Waits for the next chunk, which is then the caller's to free; NULL at the end or when cancelled.
 */
struct lum_queue_chunk *lum_queue_take(struct lum_queue *queue);

struct lum_input;

/* A decoder that reads queue, which outlives it. NULL: out of memory. For one thread. */
struct lum_input *lum_input_new(struct lum_queue *queue, uint64_t max_ratio);
void lum_input_free(struct lum_input *input);

/* The next decoded bytes, valid until the next call: their number, 0 at the end, -1 with err
 * filled. */
long lum_input_read(struct lum_input *input, const void **data, struct lum_err *err);

/* Tells how many bytes came out of the archive in the end: a zip compresses inside of it. False:
 * over the ratio. */
bool lum_input_check_ratio(struct lum_input *input, uint64_t unpacked, struct lum_err *err);

#endif
