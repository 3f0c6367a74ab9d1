/* Writing to a descriptor that was given to the process, such as its standard output, without
 * changing it for those who share it, and without holding up the loop when its reader is slow. */
#ifndef LUM_OUTPUT_H
#define LUM_OUTPUT_H

#include "engine.h"

struct lum_output;

/* A writer to fd, with a descriptor of its own. NULL with err filled. */
struct lum_output *lum_output_open(struct lum_engine *eng, int fd, struct lum_err *err);

/* Gives up the caller's claim and cancels a write in flight. */
void lum_output_close(struct lum_output *output);

/* Writes what there is room for now, which may be nothing. The number of bytes, or -1 with err
 * filled; also while a write is in flight. */
ssize_t lum_output_offer(struct lum_output *output, const char *data, size_t len,
                         struct lum_err *err);

/* An operation that ends when everything is written; one at a time. What does not fit at once is
 * copied, and written by a worker thread as the reader makes room. Cancelled, a part may have been
 * written. NULL with err filled. */
struct lum_op *lum_output_write_start(struct lum_output *output, const char *data, size_t len,
                                      struct lum_err *err);

#endif
