/* Running a command to its end: bounded capture of its output, a deadline that ends everything it
 * has started. */
#ifndef LUM_EXEC_H
#define LUM_EXEC_H

#include "capture.h"
#include "engine.h"
#include "spawn.h"

struct lum_exec_opts {
  struct lum_spawn_opts spawn; /* in is set from input */
  const char *input;           /* NULL: none */
  size_t input_len;
  bool has_timeout;
  uint64_t timeout_ms, grace_ms; /* grace: for pipes that others hold after the command has ended */
  size_t max_output;             /* kept of each stream */
};

struct lum_exec_result {
  int exit_code; /* -1: none */
  int signal;    /* 0: none */
  bool timed_out, held_open;
  bool taken; /* the captures were released */
  double duration;
  struct lum_capture out, err;
};

/* NULL with err filled when nothing could be started. A program that cannot be run is a result: 127
 * or 126. */
struct lum_op *lum_exec_start(struct lum_engine *eng, const struct lum_exec_opts *opts,
                              struct lum_err *err);

struct lum_exec_result *lum_exec_result(struct lum_op *op);
/* Gives the captures back before the operation is freed. */
void lum_exec_release(struct lum_op *op);

/* What a shell would print for a program that was refused. The length. */
size_t lum_refusal(const char *program, const struct lum_spawned *spawned, char *buf, size_t size);

#endif
