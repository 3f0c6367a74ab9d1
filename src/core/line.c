#include "line.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "line_edit.h"

struct read_op {
  struct lum_op op;
  struct lum_line *line;
  uv_async_t async;
  enum lum_line_event event;
  char *text;
  size_t len;
};

static void wake_editor(struct lum_line *line) {
  uint64_t one = 1;
  ssize_t unused = write(line->wake, &one, sizeof one);
  (void)unused;
  uv_cond_broadcast(&line->changed);
}

/* ---- opening and closing ---- */

static bool start_thread(struct lum_line *line) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* the editor's thread takes no signals */
  int rc = uv_thread_create(&line->thread, lum_line_thread, line);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc == 0;
}

static void release(struct lum_line *line) {
  struct lum_err ignored;
  if (line->saved)
    lum_tty_restore(line->saved, &ignored);
  uv_mutex_destroy(&line->lock);
  uv_cond_destroy(&line->changed);
  if (line->wake >= 0)
    close(line->wake);
  free(line->prompt);
  free(line->text);
  free(line->insert);
  free(line->listing);
  free(line);
}

static struct lum_line *make(struct lum_engine *eng, int in, int out) {
  struct lum_line *line = calloc(1, sizeof *line);
  if (!line)
    return NULL;
  if (uv_mutex_init(&line->lock) != 0) {
    free(line);
    return NULL;
  }
  if (uv_cond_init(&line->changed) != 0) {
    uv_mutex_destroy(&line->lock);
    free(line);
    return NULL;
  }
  line->eng = eng;
  line->in = in;
  line->out = out;
  line->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return line;
}

struct lum_line *lum_line_open(struct lum_engine *eng, int in, int out, struct lum_err *err) {
  if (!lum_line_load(err))
    return NULL;
  struct lum_line *line = make(eng, in, out);
  if (!line) {
    lum_err_set(err, LUM_QUOTA, "line editing: out of memory");
    return NULL;
  }
  line->saved = lum_tty_keep(in, "\033[0m\r\n", err);
  if (!line->saved) {
    release(line);
    return NULL;
  }
  if (line->wake < 0 || !start_thread(line)) {
    lum_err_set(err, LUM_QUOTA, "line editing: no thread or descriptor is left");
    release(line);
    return NULL;
  }
  return line;
}

void lum_line_close(struct lum_line *line) {
  if (line->reading)
    lum_op_cancel(line->reading);
  uv_mutex_lock(&line->lock);
  line->closing = true;
  wake_editor(line);
  uv_mutex_unlock(&line->lock);
  uv_thread_join(&line->thread);
  release(line);
}

/* ---- reading ---- */

static void on_close(uv_handle_t *handle) {
  struct read_op *self = handle->data;
  lum_op_unref(&self->op); /* the handle's reference */
}

/* Takes the event out, when there is one. */
static bool take_event(struct read_op *self) {
  struct lum_line *line = self->line;
  uv_mutex_lock(&line->lock);
  bool taken = line->has_event;
  if (taken) {
    self->event = line->event;
    self->text = line->text;
    self->len = line->len;
    line->text = NULL;
    line->has_event = false;
  }
  bool failed = line->failed;
  uv_mutex_unlock(&line->lock);
  if (failed && !taken)
    lum_err_set(&self->op.err, LUM_UNSUPPORTED,
                "line editing: the terminal's type is not known (TERM)");
  return taken || failed;
}

static void finish(struct read_op *self) {
  struct lum_line *line = self->line;
  uv_mutex_lock(&line->lock);
  line->listener = NULL;
  uv_mutex_unlock(&line->lock);
  line->reading = NULL;
  uv_close((uv_handle_t *)&self->async, on_close);
  lum_op_complete(&self->op);
}

static void on_async(uv_async_t *async) {
  struct read_op *self = async->data;
  if (!self->op.done && take_event(self))
    finish(self);
}

static void read_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  finish((struct read_op *)op);
}

static void read_free(struct lum_op *op) {
  struct read_op *self = (struct read_op *)op;
  free(self->text);
  free(self);
}

static const struct lum_op_type read_type = {"line.read", read_cancel, read_free};

/* Tells the editor to read, unless it is at it, and who listens. */
static bool begin_reading(struct read_op *self, const char *prompt) {
  struct lum_line *line = self->line;
  char *copy = strdup(prompt);
  if (!copy)
    return false;
  uv_mutex_lock(&line->lock);
  line->listener = &self->async;
  if (!line->wanted && !line->has_event) {
    free(line->prompt);
    line->prompt = copy;
    copy = NULL;
    line->wanted = true;
    wake_editor(line);
  }
  uv_mutex_unlock(&line->lock);
  free(copy);
  return true;
}

struct lum_op *lum_line_read_start(struct lum_line *line, const char *prompt, struct lum_err *err) {
  if (line->reading) {
    lum_err_set(err, LUM_CONFLICT, "line editing: another read is in flight");
    return NULL;
  }
  struct read_op *self = calloc(1, sizeof *self);
  int rc = self ? uv_async_init(&line->eng->loop, &self->async, on_async) : UV_ENOMEM;
  if (rc != 0) {
    free(self);
    lum_err_sys(err, -rc, "line editing");
    return NULL;
  }
  lum_op_init(&self->op, line->eng, &read_type);
  self->line = line;
  self->async.data = self;
  lum_op_ref(&self->op); /* the handle lives until its close callback */
  line->reading = &self->op;
  lum_op_start(&self->op);
  if (!begin_reading(self, prompt)) {
    lum_err_set(&self->op.err, LUM_QUOTA, "line editing: out of memory");
    finish(self);
  } else if (take_event(self)) {
    finish(self);
  }
  return &self->op;
}

enum lum_line_event lum_line_result(const struct lum_op *op, const char **text, size_t *len) {
  const struct read_op *self = (const struct read_op *)op;
  *text = self->text ? self->text : "";
  *len = self->text ? self->len : 0;
  return self->event;
}

/* ---- requests ---- */

void lum_line_answer(struct lum_line *line, const char *insert, const char *listing) {
  uv_mutex_lock(&line->lock);
  if (line->asking) {
    line->asking = false;
    free(line->insert);
    free(line->listing);
    line->insert = strdup(insert); /* NULL, out of memory, is no answer: the line stays as it is */
    line->listing = strdup(listing);
    wake_editor(line);
  }
  uv_mutex_unlock(&line->lock);
}

/* Hands a request over and waits until it is done: the editor serves it wherever it waits. */
static bool ask_editor(struct lum_line *line, enum lum_line_request request, const char *text,
                       size_t len) {
  uv_mutex_lock(&line->lock);
  bool served = !line->failed;
  if (served) {
    line->request = request;
    line->request_text = text;
    line->request_len = len;
    wake_editor(line);
    while (line->request != LUM_LINE_NOTHING && !line->failed)
      uv_cond_wait(&line->changed, &line->lock);
    served = line->request == LUM_LINE_NOTHING;
    line->request = LUM_LINE_NOTHING;
  }
  uv_mutex_unlock(&line->lock);
  return served;
}

bool lum_line_print(struct lum_line *line, const char *text, size_t len) {
  return ask_editor(line, LUM_LINE_PRINT, text, len);
}

bool lum_line_remember(struct lum_line *line, const char *text) {
  return ask_editor(line, LUM_LINE_REMEMBER, text, strlen(text));
}

void lum_line_resized(struct lum_line *line) {
  ask_editor(line, LUM_LINE_RESIZE, NULL, 0);
}
