#include "op.h"

#include <assert.h>

#include "engine.h"

void lum_op_init(struct lum_op *op, struct lum_engine *eng, const struct lum_op_type *type) {
  op->type = type;
  op->eng = eng;
  op->prev = op->next = NULL;
  op->id = ++eng->next_id;
  op->refs = 1;
  op->started = op->done = op->cancelled = op->background = false;
  lum_err_clear(&op->err);
  eng->live_ops++;
}

void lum_op_start(struct lum_op *op) {
  assert(!op->started);
  struct lum_engine *eng = op->eng;
  op->started = true;
  op->refs++;
  op->next = &eng->inflight;
  op->prev = eng->inflight.prev;
  op->prev->next = op;
  eng->inflight.prev = op;
  eng->inflight_count++;
  eng->background_count += op->background;
}

void lum_op_complete(struct lum_op *op) {
  assert(op->started && !op->done);
  struct lum_engine *eng = op->eng;
  op->done = true;
  op->prev->next = op->next;
  op->next->prev = op->prev;
  eng->inflight_count--;
  eng->background_count -= op->background;
  op->prev = op->next = NULL;
  if (eng->done_tail)
    eng->done_tail->next = op;
  else
    eng->done_head = op;
  eng->done_tail = op;
}

void lum_op_cancel(struct lum_op *op) {
  if (!op->started || op->done || op->cancelled || lum_engine_inherited(op->eng))
    return;
  op->cancelled = true;
  op->type->cancel(op);
}

void lum_op_set_cancelled(struct lum_op *op) {
  lum_err_set(&op->err, LUM_CANCELLED, "%s: cancelled", op->type->name);
}

void lum_op_ref(struct lum_op *op) {
  op->refs++;
}

void lum_op_unref(struct lum_op *op) {
  assert(op->refs > 0);
  if (--op->refs > 0)
    return;
  struct lum_engine *eng = op->eng;
  op->type->free(op);
  lum_engine_op_freed(eng);
}
