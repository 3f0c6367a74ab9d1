/* Reading a descriptor that was given to the process, such as its standard input, without changing
 * it for those who share it. */
#ifndef LUM_INPUT_H
#define LUM_INPUT_H

#include "engine.h"

struct lum_input;

/* A reader of fd, with a descriptor of its own. The position in a regular file stays shared. NULL
 * with err filled. */
struct lum_input *lum_input_open(struct lum_engine *eng, int fd, struct lum_err *err);

/* Gives up the caller's claim and cancels a read in flight. */
void lum_input_close(struct lum_input *input);

/* An operation that ends when up to max bytes were read; one at a time. NULL with err filled. */
struct lum_op *lum_input_read_start(struct lum_input *input, size_t max, struct lum_err *err);

/* What a completed read brought; no bytes: the end. */
const char *lum_input_bytes(const struct lum_op *op, size_t *len);

#endif
