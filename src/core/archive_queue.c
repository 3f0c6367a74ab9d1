#include <stdlib.h>
#include <string.h>

#include "archive_input.h"

bool lum_queue_create(struct lum_queue *queue) {
  memset(queue, 0, sizeof *queue);
  queue->tail = &queue->head;
  if (uv_mutex_init(&queue->mutex) != 0)
    return false;
  if (uv_cond_init(&queue->cond) == 0)
    return true;
  uv_mutex_destroy(&queue->mutex);
  return false;
}

void lum_queue_destroy(struct lum_queue *queue) {
  while (queue->head) {
    struct lum_queue_chunk *chunk = queue->head;
    queue->head = chunk->next;
    free(chunk);
  }
  uv_cond_destroy(&queue->cond);
  uv_mutex_destroy(&queue->mutex);
}

bool lum_queue_put(struct lum_queue *queue, const char *bytes, size_t len) {
  struct lum_queue_chunk *chunk = malloc(sizeof *chunk + len);
  if (!chunk)
    return false;
  chunk->next = NULL;
  chunk->len = len;
  memcpy(chunk->data, bytes, len);
  uv_mutex_lock(&queue->mutex);
  *queue->tail = chunk;
  queue->tail = &chunk->next;
  queue->bytes += len;
  uv_cond_signal(&queue->cond);
  uv_mutex_unlock(&queue->mutex);
  return true;
}

static void set_flag(struct lum_queue *queue, bool *flag) {
  uv_mutex_lock(&queue->mutex);
  *flag = true;
  uv_cond_signal(&queue->cond);
  uv_mutex_unlock(&queue->mutex);
}

void lum_queue_end(struct lum_queue *queue) {
  set_flag(queue, &queue->ended);
}

void lum_queue_cancel(struct lum_queue *queue) {
  set_flag(queue, &queue->cancelled);
}

bool lum_queue_cancelled(struct lum_queue *queue) {
  uv_mutex_lock(&queue->mutex);
  bool cancelled = queue->cancelled;
  uv_mutex_unlock(&queue->mutex);
  return cancelled;
}

size_t lum_queue_bytes(struct lum_queue *queue) {
  uv_mutex_lock(&queue->mutex);
  size_t bytes = queue->bytes;
  uv_mutex_unlock(&queue->mutex);
  return bytes;
}

struct lum_queue_chunk *lum_queue_take(struct lum_queue *queue) {
  uv_mutex_lock(&queue->mutex);
  while (!queue->head && !queue->ended && !queue->cancelled)
    uv_cond_wait(&queue->cond, &queue->mutex);
  struct lum_queue_chunk *chunk = queue->cancelled ? NULL : queue->head;
  if (chunk) {
    queue->head = chunk->next;
    if (!queue->head)
      queue->tail = &queue->head;
    queue->bytes -= chunk->len;
  }
  uv_mutex_unlock(&queue->mutex);
  if (chunk && queue->on_taken)
    queue->on_taken(queue->arg);
  return chunk;
}
