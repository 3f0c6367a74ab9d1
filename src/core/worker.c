#include "worker.h"

#include <stdlib.h>

#include "pool.h"

static struct lum_work *work_of(struct lum_op *op) {
  return (struct lum_work *)op; /* first member */
}

void lum_work_op_cancel(struct lum_op *op) {
  struct lum_work *work = work_of(op);
  atomic_store(&work->cancel_flag, true);
  uv_cancel((uv_req_t *)&work->req); /* works only before it has begun; on_after is told */
}

void lum_work_op_free(struct lum_op *op) {
  struct lum_work *work = work_of(op);
  if (work->type->release)
    work->type->release(work);
  free(work);
}

struct lum_work *lum_work_of(struct lum_op *op) {
  return op->type->cancel == lum_work_op_cancel ? work_of(op) : NULL;
}

static void on_work(uv_work_t *req) {
  struct lum_work *work = req->data;
  if (!lum_work_cancelled(work))
    work->type->run(work);
}

static void on_after(uv_work_t *req, int status) {
  struct lum_work *work = req->data;
  if (status != 0)
    lum_op_set_cancelled(&work->op); /* taken out of the queue before it began */
  else
    work->op.err = work->result_err;
  if (work->type->finish)
    work->type->finish(work);
  lum_op_complete(&work->op);
}

struct lum_work *lum_work_new(struct lum_engine *eng, const struct lum_work_type *type,
                              size_t size) {
  struct lum_work *work = calloc(1, size);
  if (!work)
    return NULL;
  work->type = type;
  lum_op_init(&work->op, eng, &type->op);
  atomic_init(&work->cancel_flag, false);
  atomic_init(&work->progress, 0);
  atomic_init(&work->total, 0);
  work->req.data = work;
  return work;
}

void lum_work_start(struct lum_work *work) {
  lum_op_start(&work->op);
  if (lum_pool_ready(work->op.eng, &work->result_err))
    uv_queue_work(&work->op.eng->loop, &work->req, on_work, on_after);
  else
    on_after(&work->req, 0);
}

bool lum_work_cancelled(struct lum_work *work) {
  if (!atomic_load(&work->cancel_flag))
    return false;
  lum_err_set(&work->result_err, LUM_CANCELLED, "%s: cancelled", work->op.type->name);
  return true;
}
