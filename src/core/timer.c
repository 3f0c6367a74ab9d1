#include "timer.h"

#include <stdlib.h>

struct sleep_op {
  struct lum_op op;
  uv_timer_t timer;
};

static void on_close(uv_handle_t *handle) {
  struct sleep_op *sleep = handle->data;
  lum_op_unref(&sleep->op); /* the handle's reference */
}

static void finish(struct sleep_op *sleep) {
  uv_close((uv_handle_t *)&sleep->timer, on_close);
  lum_op_complete(&sleep->op);
}

static void on_timer(uv_timer_t *timer) {
  finish(timer->data);
}

static void sleep_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  finish((struct sleep_op *)op);
}

static void sleep_free(struct lum_op *op) {
  free(op);
}

static const struct lum_op_type sleep_type = {"sleep", sleep_cancel, sleep_free};

struct lum_op *lum_sleep_start(struct lum_engine *eng, uint64_t ms, bool background) {
  struct sleep_op *sleep = calloc(1, sizeof *sleep);
  if (!sleep)
    return NULL;
  lum_op_init(&sleep->op, eng, &sleep_type);
  sleep->op.background = background;
  lum_op_start(&sleep->op);
  lum_op_ref(&sleep->op); /* the uv handle lives until its close callback */
  uv_timer_init(&eng->loop, &sleep->timer);
  sleep->timer.data = sleep;
  uv_update_time(&eng->loop);
  uv_timer_start(&sleep->timer, on_timer, ms, 0);
  return &sleep->op;
}
