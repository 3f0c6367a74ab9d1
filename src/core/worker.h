/* Operations that do their work on a worker thread: file jobs, archives, hashing of large data.
 * The work function runs on a pool thread and touches only its own memory; it polls
 * lum_work_cancelled. */
#ifndef LUM_WORKER_H
#define LUM_WORKER_H

#include <stdatomic.h>

#include "engine.h"

struct lum_work;

struct lum_work_type {
  struct lum_op_type op;              /* {"name", lum_work_op_cancel, lum_work_op_free} */
  void (*run)(struct lum_work *work); /* pool thread: fills work->result_err and its own fields */
  void (*release)(
      struct lum_work *work); /* frees what the derived struct holds, not the struct; may be NULL */
  void (*finish)(struct lum_work *
                     work); /* engine thread, right before completion, op.err is set; may be NULL */
};

struct lum_work {
  struct lum_op op;
  uv_work_t req;
  const struct lum_work_type *type;
  struct lum_err result_err; /* written by run, copied to op.err at completion */
  atomic_bool cancel_flag;
  atomic_uint_fast64_t progress; /* bytes or items so far; readable at any time */
  atomic_uint_fast64_t total;    /* 0 while unknown */
};

/* size is that of the derived struct, whose first member is struct lum_work. NULL: out of memory.
 * The caller fills the derived fields, then calls lum_work_start. */
struct lum_work *lum_work_new(struct lum_engine *eng, const struct lum_work_type *type,
                              size_t size);

/* Queues it. Where no thread can be made it has completed, with that error, when this returns. */
void lum_work_start(struct lum_work *work);

/* For run: true when the operation was asked to stop; result_err is then filled, so run can just
 * return. */
bool lum_work_cancelled(struct lum_work *work);

/* The job that op is, or NULL when it is another kind of operation. */
struct lum_work *lum_work_of(struct lum_op *op);

void lum_work_op_cancel(struct lum_op *op);
void lum_work_op_free(struct lum_op *op);

#endif
