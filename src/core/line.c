#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "line_impl.h"

/* What a crash leaves on: bracketed paste. */
#define LEAVE "\33[?2004l"

struct line_op {
  struct lum_op op;
  struct lum_line *line;
  uv_async_t news; /* the thread has some */
  struct lum_line_news result;
};

/* ---- the line ---- */

static FILE *own_stream(int fd, const char *mode) {
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  FILE *file = own >= 0 ? fdopen(own, mode) : NULL;
  if (!file && own >= 0)
    close(own);
  return file;
}

static void release(struct lum_line *line) {
  if (line->el)
    line->lib->end(line->el);
  if (line->history)
    line->lib->history_end(line->history);
  line->el = NULL;
  line->history = NULL;
  if (line->saved)
    lum_tty_restore(line->saved, &(struct lum_err){0});
  line->saved = NULL;
  FILE **files[] = {&line->in, &line->out, &line->err};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (*files[i])
      fclose(*files[i]);
    *files[i] = NULL;
  }
  if (line->wake >= 0)
    close(line->wake);
  line->wake = -1;
  if (line->locale)
    freelocale(line->locale);
  line->locale = NULL;
}

static void line_unref(struct lum_line *line) {
  if (--line->refs > 0)
    return;
  pthread_mutex_destroy(&line->mutex);
  pthread_cond_destroy(&line->changed);
  free(line->prompt);
  free(line->insert);
  free(line->list);
  free(line);
}

static bool open_streams(struct lum_line *line, int in, int out, struct lum_err *err) {
  line->in = own_stream(in, "r");
  line->out = own_stream(out, "w");
  line->err = fopen("/dev/null", "we"); /* libedit's remarks on terminals it does not know */
  line->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (!line->in || !line->out || !line->err || line->wake < 0)
    return lum_err_sys(err, errno, "line editing");
  return true;
}

static bool set_up(struct lum_line *line, int in, int out, int history, struct lum_err *err) {
  line->lib = lum_editlib(err);
  if (!line->lib)
    return false;
  if (!lum_tty_is(in) || !lum_tty_is(out))
    return lum_err_set(err, LUM_INVALID, "line editing: descriptors %d and %d: expected a terminal",
                       in, out);
  line->locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
  if (!line->locale)
    return lum_err_set(err, LUM_UNSUPPORTED, "line editing needs the locale C.UTF-8");
  if (!open_streams(line, in, out, err))
    return false;
  line->saved = lum_tty_guard(in, LEAVE, err);
  if (!line->saved)
    return false;
  locale_t before = uselocale(line->locale);
  bool ok = lum_line_edit_init(line, history, err);
  uselocale(before);
  return ok;
}

struct lum_line *lum_line_open(struct lum_engine *eng, int in, int out, int history,
                               struct lum_err *err) {
  struct lum_line *line = calloc(1, sizeof *line);
  if (!line) {
    lum_err_set(err, LUM_QUOTA, "line editing: out of memory");
    return NULL;
  }
  line->eng = eng;
  line->refs = 1;
  line->wake = -1;
  pthread_mutex_init(&line->mutex, NULL);
  pthread_cond_init(&line->changed, NULL);
  if (set_up(line, in, out, history, err))
    return line;
  release(line);
  line_unref(line);
  return NULL;
}

/* ---- the thread ---- */

static void wake(struct lum_line *line) {
  uint64_t one = 1;
  ssize_t unused = write(line->wake, &one, sizeof one);
  (void)unused;
  pthread_cond_broadcast(&line->changed);
}

/* Signals are for the engine's thread, but for what a fault raises and for job control, which would
 * otherwise make reads of a background process fail. */
static int start_thread(struct lum_line *line) {
  static const int left[] = {SIGTTIN, SIGTTOU, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof left / sizeof *left; i++)
    sigdelset(&blocked, left[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int rc = pthread_create(&line->thread, NULL, lum_line_edit_run, line);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

static void drop_news(struct lum_line *line) {
  free(line->news.text);
  line->news.text = NULL;
  line->has_news = false;
}

static void join(struct lum_line *line) {
  pthread_join(line->thread, NULL);
  line->running = false;
}

static void stop_thread(struct lum_line *line) {
  if (!line->running)
    return;
  pthread_mutex_lock(&line->mutex);
  line->stop = true;
  wake(line);
  pthread_mutex_unlock(&line->mutex);
  join(line);
  drop_news(line);
}

void lum_line_tell(struct lum_line *line, const struct lum_line_news *news) {
  drop_news(line); /* a question that nobody has heard */
  line->news = *news;
  line->has_news = true;
  if (line->op)
    uv_async_send(&line->op->news);
}

/* ---- operations ---- */

static void on_close(uv_handle_t *handle) {
  struct line_op *self = handle->data;
  lum_op_unref(&self->op); /* the handle's reference */
}

static void finish(struct line_op *self) {
  uv_close((uv_handle_t *)&self->news, on_close);
  lum_op_complete(&self->op);
}

static void on_news(uv_async_t *async) {
  struct line_op *self = async->data;
  struct lum_line *line = self->line;
  pthread_mutex_lock(&line->mutex);
  bool has_news = line->has_news && line->op == self;
  if (has_news) {
    self->result = line->news;
    line->news.text = NULL;
    line->has_news = false;
    line->op = NULL;
  }
  pthread_mutex_unlock(&line->mutex);
  if (!has_news)
    return;
  if (self->result.event != LUM_LINE_COMPLETE)
    join(line);
  if (self->result.event == LUM_LINE_TEXT && !self->result.text)
    lum_err_set(&self->op.err, LUM_QUOTA, "line editing: out of memory");
  finish(self);
}

static void op_cancel(struct lum_op *op) {
  struct line_op *self = (struct line_op *)op;
  stop_thread(self->line);
  self->line->op = NULL; /* the thread is gone */
  lum_op_set_cancelled(op);
  finish(self);
}

static void op_free(struct lum_op *op) {
  struct line_op *self = (struct line_op *)op;
  line_unref(self->line);
  free(self->result.text);
  free(self);
}

static const struct lum_op_type op_type = {"line.read", op_cancel, op_free};

/* An operation that waits for news; NULL with err filled. */
static struct line_op *wait_for_news(struct lum_line *line, struct lum_err *err) {
  struct line_op *self = calloc(1, sizeof *self);
  int rc = self ? uv_async_init(&line->eng->loop, &self->news, on_news) : UV_ENOMEM;
  if (rc != 0) {
    free(self);
    lum_err_sys(err, -rc, "line editing");
    return NULL;
  }
  lum_op_init(&self->op, line->eng, &op_type);
  lum_op_ref(&self->op); /* the handle lives until its close callback */
  self->news.data = self;
  self->line = line;
  line->refs++;
  lum_op_start(&self->op);
  pthread_mutex_lock(&line->mutex);
  line->op = self;
  if (line->has_news)
    uv_async_send(&self->news);
  pthread_mutex_unlock(&line->mutex);
  return self;
}

struct lum_op *lum_line_read_start(struct lum_line *line, const char *prompt, struct lum_err *err) {
  if (line->running) {
    lum_err_set(err, LUM_CONFLICT, "line editing: another line is being edited");
    return NULL;
  }
  wchar_t *wide = lum_line_widen(line, prompt);
  struct line_op *self = NULL;
  if (wide)
    self = wait_for_news(line, err);
  else
    lum_err_set(err, LUM_QUOTA, "line editing: out of memory");
  if (!self) {
    free(wide);
    return NULL;
  }
  free(line->prompt);
  line->prompt = wide;
  line->stop = line->drop = line->redraw = line->asking = line->hidden = false;
  line->editing = true;
  int rc = start_thread(line);
  if (rc == 0) {
    line->running = true;
    return &self->op;
  }
  line->editing = false;
  line->op = NULL;
  lum_err_sys(&self->op.err, rc, "line editing: cannot start a thread");
  finish(self);
  return &self->op;
}

struct lum_op *lum_line_answer_start(struct lum_line *line, const char *insert, const char *list,
                                     struct lum_err *err) {
  if (!line->running || line->op) {
    lum_err_set(err, LUM_CONFLICT, "line editing: nothing was asked");
    return NULL;
  }
  wchar_t *wide_insert = lum_line_widen(line, insert), *wide_list = lum_line_widen(line, list);
  struct line_op *self = wait_for_news(line, err);
  pthread_mutex_lock(&line->mutex);
  bool waiting = self && line->asking;
  if (waiting) {
    line->insert = wide_insert;
    line->list = wide_list;
    line->asking = false;
    pthread_cond_broadcast(&line->changed);
  }
  pthread_mutex_unlock(&line->mutex);
  if (!waiting) { /* it gave up and went on without */
    free(wide_insert);
    free(wide_list);
  }
  return self ? &self->op : NULL;
}

enum lum_line_event lum_line_result(const struct lum_op *op, const char **text, size_t *len,
                                    size_t *cursor) {
  const struct line_op *self = (const struct line_op *)op;
  *text = self->result.text ? self->result.text : "";
  *len = self->result.len;
  *cursor = self->result.cursor;
  return self->result.event;
}

void lum_line_close(struct lum_line *line) {
  if (line->op)
    lum_op_cancel(&line->op->op);
  stop_thread(line);
  release(line);
  line_unref(line);
}

/* ---- the rest ---- */

bool lum_line_remember(struct lum_line *line, const char *text, struct lum_err *err) {
  if (line->running)
    return lum_err_set(err, LUM_CONFLICT, "line editing: a line is being edited");
  wchar_t *wide = lum_line_widen(line, text);
  if (!wide)
    return lum_err_set(err, LUM_QUOTA, "line editing: out of memory");
  HistEventW event;
  locale_t before = uselocale(line->locale);
  line->lib->history(line->history, &event, H_ENTER, wide);
  uselocale(before);
  free(wide);
  return true;
}

void lum_line_hide(struct lum_line *line) {
  pthread_mutex_lock(&line->mutex);
  line->holds++;
  if (line->editing)
    wake(line);
  while (line->editing && !line->hidden)
    pthread_cond_wait(&line->changed, &line->mutex);
  pthread_mutex_unlock(&line->mutex);
}

void lum_line_show(struct lum_line *line) {
  pthread_mutex_lock(&line->mutex);
  if (line->holds > 0 && --line->holds == 0)
    pthread_cond_broadcast(&line->changed);
  pthread_mutex_unlock(&line->mutex);
}

static void request(struct lum_line *line, bool *flag) {
  pthread_mutex_lock(&line->mutex);
  if (line->editing) {
    *flag = true;
    wake(line);
  }
  pthread_mutex_unlock(&line->mutex);
}

void lum_line_redraw(struct lum_line *line) {
  request(line, &line->redraw);
}

void lum_line_drop(struct lum_line *line) {
  request(line, &line->drop);
}
