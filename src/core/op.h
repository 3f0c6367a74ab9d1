/* An operation: one pending thing (a timer, a transfer, a child process, a file job).
 *
 * Life: init (one reference, the caller's) -> start (a second one, the engine's) -> complete,
 * exactly once -> taken from the engine's queue of completed operations -> freed with the last
 * reference. A completion only stores C data and queues the operation; nothing of Lua runs inside a
 * foreign callback. Everything here belongs to the engine's thread. */
#ifndef LUM_OP_H
#define LUM_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct lum_engine;
struct lum_op;

struct lum_op_type {
  const char *name;                  /* "sleep", "http.request": shown by dumps and errors */
  void (*cancel)(struct lum_op *op); /* ask it to end soon; it must still complete, once */
  void (*free)(struct lum_op *op);   /* last reference gone: release what it holds and op itself */
};

struct lum_op {
  const struct lum_op_type *type;
  struct lum_engine *eng;
  struct lum_op *prev, *next; /* list of those in flight, later queue of those completed */
  uint64_t id;                /* unique in the engine, below 2^53 */
  unsigned refs;
  bool started, done, cancelled;
  bool background; /* set before start: nobody is kept waiting for it, so it does not hold off IDLE
                    */
  struct lum_err err; /* kind LUM_OK when it went well */
};

/* Makes op valid with one reference, which is the caller's. Cannot fail. */
void lum_op_init(struct lum_op *op, struct lum_engine *eng, const struct lum_op_type *type);

/* Counts op as in flight. Call it right before the first thing that may complete it. */
void lum_op_start(struct lum_op *op);

/* Ends op: err was filled by the caller, or left at LUM_OK. Must be called once after start. */
void lum_op_complete(struct lum_op *op);

/* Asks an operation in flight to end; harmless when it has ended or was asked before. */
void lum_op_cancel(struct lum_op *op);

/* Fills err with kind `cancelled`; for the cancel functions of operation types. */
void lum_op_set_cancelled(struct lum_op *op);

void lum_op_ref(struct lum_op *op);
void lum_op_unref(struct lum_op *op);

#endif
