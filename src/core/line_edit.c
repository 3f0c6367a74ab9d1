#include "line_edit.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_SIZE 1000

/* ---- libedit ---- */

static struct {
  EditLine *(*init_fd)(const char *, FILE *, FILE *, FILE *, int, int, int);
  void (*end)(EditLine *);
  const char *(*gets)(EditLine *, int *);
  int (*set)(EditLine *, int, ...);
  int (*wset)(EditLine *, int, ...);
  int (*get)(EditLine *, int, ...);
  int (*source)(EditLine *, const char *);
  void (*resize)(EditLine *);
  const LineInfo *(*line)(EditLine *);
  const LineInfoW *(*wline)(EditLine *);
  int (*insertstr)(EditLine *, const char *);
  History *(*history_init)(void);
  void (*history_end)(History *);
  int (*history)(History *, HistEvent *, int, ...);
} lib;

static bool find_all(void *handle) {
  const struct {
    const char *name;
    void *slot;
  } wanted[] = {
      {"el_init_fd", &lib.init_fd},
      {"el_end", &lib.end},
      {"el_gets", &lib.gets},
      {"el_set", &lib.set},
      {"el_wset", &lib.wset},
      {"el_get", &lib.get},
      {"el_source", &lib.source},
      {"el_resize", &lib.resize},
      {"el_line", &lib.line},
      {"el_wline", &lib.wline},
      {"el_insertstr", &lib.insertstr},
      {"history_init", &lib.history_init},
      {"history_end", &lib.history_end},
      {"history", &lib.history},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    void *found = dlsym(handle, wanted[i].name);
    if (!found)
      return false;
    memcpy(wanted[i].slot, &found, sizeof found);
  }
  return true;
}

static uv_once_t load_once = UV_ONCE_INIT;
static bool loaded;

static void load(void) {
  void *handle = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
  loaded = handle && find_all(handle); /* stays open: the process may edit again */
}

bool lum_line_load(struct lum_err *err) {
  uv_once(&load_once, load);
  if (!loaded)
    lum_err_set(err, LUM_UNSUPPORTED,
                "line editing needs libedit (libedit.so.2, Debian package libedit2)");
  return loaded;
}

/* ---- the editor ---- */

struct editor {
  struct lum_line *line;
  EditLine *el;
  History *history;
  FILE *in, *out;
  mbstate_t decoding;
  bool editing, interrupted, too_long;
};

static struct editor *editor_of(EditLine *el) {
  void *data = NULL;
  lib.get(el, EL_CLIENTDATA, &data);
  return data;
}

static char *prompt_of(EditLine *el) {
  static char none[] = "";
  struct editor *self = editor_of(el);
  return self && self->line->prompt ? self->line->prompt : none;
}

/* Columns of a text, as libedit shows it. */
static size_t columns_of(const char *text, size_t len) {
  mbstate_t state = {0};
  size_t columns = 0;
  while (len > 0) {
    wchar_t c;
    size_t n = mbrtowc(&c, text, len, &state);
    if (n == 0 || n > len) { /* no character: shown as something of one column or more */
      memset(&state, 0, sizeof state);
      n = 1;
      c = L'?';
    }
    int width = wcwidth(c);
    columns += width >= 0 ? (size_t)width : 2; /* ^A */
    text += n;
    len -= n;
  }
  return columns;
}

/* Clears the rows of the edited line, and leaves the cursor at the beginning of the first. */
static void clear_line(struct editor *self) {
  int cols = 80, rows = 24;
  lum_tty_size(self->line->out, &cols, &rows);
  const char *prompt = prompt_of(self->el);
  const LineInfo *info = lib.line(self->el);
  size_t before = columns_of(prompt, strlen(prompt)) +
                  columns_of(info->buffer, (size_t)(info->cursor - info->buffer));
  size_t up = before / (size_t)cols;
  fputc('\r', self->out);
  if (up > 0)
    fprintf(self->out, "\033[%zuA", up);
  fputs("\033[J", self->out);
}

/* Lines end with \r\n: the terminal may be in raw mode. */
static void write_lines(struct editor *self, const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (text[i] == '\n' && self->editing)
      fputc('\r', self->out);
    fputc(text[i], self->out);
  }
}

static void print(struct editor *self, const char *text, size_t len) {
  if (self->editing)
    clear_line(self);
  write_lines(self, text, len);
  if (self->editing && len > 0 && text[len - 1] != '\n')
    write_lines(self, "\n", 1);
  fflush(self->out);
  if (self->editing)
    lib.set(self->el, EL_REFRESH);
}

static void remember(struct editor *self, const char *text) {
  HistEvent event;
  lib.history(self->history, &event, H_ENTER, text);
}

/* With the lock: does what the engine's thread waits for. */
static void serve(struct editor *self) {
  struct lum_line *line = self->line;
  switch (line->request) {
  case LUM_LINE_NOTHING:
    return;
  case LUM_LINE_PRINT:
    print(self, line->request_text, line->request_len);
    break;
  case LUM_LINE_REMEMBER:
    remember(self, line->request_text);
    break;
  case LUM_LINE_RESIZE:
    lib.resize(self->el);
    if (self->editing)
      lib.set(self->el, EL_REFRESH);
    break;
  }
  line->request = LUM_LINE_NOTHING;
  uv_cond_broadcast(&line->changed);
}

/* With the lock: tells the engine's thread. */
static void tell(struct lum_line *line, enum lum_line_event event, const char *text, size_t len) {
  free(line->text);
  line->text = malloc(len + 1);
  line->len = line->text ? len : 0;
  if (line->text) {
    memcpy(line->text, text, len);
    line->text[len] = '\0';
  }
  line->event = event;
  line->has_event = true;
  if (line->listener)
    uv_async_send(line->listener);
}

/* ---- keys ---- */

static bool is_full(struct editor *self) {
  const LineInfoW *info = lib.wline(self->el);
  return info->lastchar - info->buffer >= LUM_LINE_MAX;
}

/* One more byte of the input: 1 when it ends a character, 0 when more is needed, -1 at the end. */
static int read_byte(struct editor *self, wchar_t *c) {
  unsigned char byte;
  ssize_t n = read(self->line->in, &byte, 1);
  if (n < 0 && (errno == EINTR || errno == EAGAIN))
    return 0;
  if (n <= 0)
    return -1;
  size_t used = mbrtowc(c, (const char *)&byte, 1, &self->decoding);
  if (used == (size_t)-2)
    return 0;
  if (used == (size_t)-1) { /* not UTF-8 */
    memset(&self->decoding, 0, sizeof self->decoding);
    *c = L'\xFFFD';
  }
  if (*c >= L' ' && *c != 0x7F && is_full(self)) {
    self->too_long = true;
    return 0;
  }
  return 1;
}

/* Waits for a key; meanwhile what the engine's thread asks for is done. */
static int get_key(EditLine *el, wchar_t *c) {
  struct editor *self = editor_of(el);
  struct lum_line *line = self->line;
  struct pollfd fds[2] = {{line->in, POLLIN, 0}, {line->wake, POLLIN, 0}};
  for (;;) {
    if (poll(fds, 2, -1) < 0)
      continue; /* EINTR */
    if (fds[1].revents) {
      uint64_t count;
      ssize_t unused = read(line->wake, &count, sizeof count);
      (void)unused;
      uv_mutex_lock(&line->lock);
      serve(self);
      bool closing = line->closing;
      uv_mutex_unlock(&line->lock);
      if (closing)
        return 0;
    }
    int got = fds[0].revents ? read_byte(self, c) : 0;
    if (got != 0)
      return got > 0 ? 1 : 0;
  }
}

static unsigned char on_interrupt(EditLine *el, int key) {
  (void)key;
  struct editor *self = editor_of(el);
  self->interrupted = true;
  fputs("^C\r\n", self->out);
  fflush(self->out);
  return CC_EOF;
}

/* More than a key is there already. */
static bool is_pasted(struct editor *self) {
  int waiting = 0;
  return ioctl(self->line->in, FIONREAD, &waiting) == 0 && waiting > 1;
}

/* Shows the answer to Tab. */
static unsigned char apply_answer(struct editor *self, const char *insert, const char *listing) {
  if (insert && *insert)
    lib.insertstr(self->el, insert);
  if (!listing || !*listing)
    return insert && *insert ? CC_REFRESH : CC_ERROR;
  fputs("\r\n", self->out);
  write_lines(self, listing, strlen(listing));
  fflush(self->out);
  return CC_REDISPLAY;
}

/* Asks for completions of what is before the cursor. A tab in what was pasted is a blank. */
static unsigned char on_tab(EditLine *el, int key) {
  (void)key;
  struct editor *self = editor_of(el);
  struct lum_line *line = self->line;
  if (is_pasted(self))
    return lib.insertstr(el, " ") == 0 ? CC_REFRESH : CC_ERROR;
  const LineInfo *info = lib.line(el);
  uv_mutex_lock(&line->lock);
  line->asking = true;
  tell(line, LUM_LINE_COMPLETE, info->buffer, (size_t)(info->cursor - info->buffer));
  while (line->asking && !line->closing) {
    serve(self);
    if (line->asking && !line->closing)
      uv_cond_wait(&line->changed, &line->lock);
  }
  char *insert = line->insert, *listing = line->listing;
  line->insert = line->listing = NULL;
  uv_mutex_unlock(&line->lock);
  unsigned char result = apply_answer(self, insert, listing);
  free(insert);
  free(listing);
  return result;
}

/* ---- the thread ---- */

static bool bind_keys(EditLine *el) {
  static const char *const keys[][2] = {
      {"^I", "luarium-complete"},    {"^C", "luarium-interrupt"},
      {"^R", "em-inc-search-prev"},  {"\\e[1~", "ed-move-to-beg"},
      {"\\e[4~", "ed-move-to-end"},  {"\\e[3~", "ed-delete-next-char"},
      {"\\e[H", "ed-move-to-beg"},   {"\\e[F", "ed-move-to-end"},
      {"\\e[1;5C", "em-next-word"},  {"\\e[1;5D", "ed-prev-word"},
      {"\\e[200~", "ed-unassigned"}, {"\\e[201~", "ed-unassigned"},
  };
  /* wide: of others libedit makes copies that it never frees */
  lib.wset(el, EL_ADDFN, L"luarium-complete", L"Complete the name before the cursor", on_tab);
  lib.wset(el, EL_ADDFN, L"luarium-interrupt", L"Drop the line", on_interrupt);
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    lib.set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
  return lib.set(el, EL_SETTY, "-d", "-isig", "-ixon", NULL) == 0;
}

static bool set_up(struct editor *self) {
  struct lum_line *line = self->line;
  int in = fcntl(line->in, F_DUPFD_CLOEXEC, 3), out = fcntl(line->out, F_DUPFD_CLOEXEC, 3);
  self->in = in >= 0 ? fdopen(in, "r") : NULL;
  self->out = out >= 0 ? fdopen(out, "w") : NULL;
  if (!self->in && in >= 0)
    close(in);
  if (!self->out && out >= 0)
    close(out);
  if (!self->in || !self->out)
    return false;
  self->el = lib.init_fd("luarium", self->in, self->out, self->out, line->in, line->out, line->out);
  self->history = lib.history_init();
  if (!self->el || !self->history)
    return false;
  HistEvent event;
  lib.history(self->history, &event, H_SETSIZE, HISTORY_SIZE);
  lib.history(self->history, &event, H_SETUNIQUE, 1);
  EditLine *el = self->el;
  lib.set(el, EL_CLIENTDATA, self);
  lib.set(el, EL_PROMPT, prompt_of);
  lib.set(el, EL_HIST, lib.history, self->history);
  lib.set(el, EL_GETCFN, get_key);
  lib.set(el, EL_EDITOR, "emacs");
  lib.source(el, NULL); /* ~/.editrc */
  return bind_keys(el);
}

static void tear_down(struct editor *self) {
  if (self->el)
    lib.end(self->el);
  if (self->history)
    lib.history_end(self->history);
  if (self->in)
    fclose(self->in);
  if (self->out)
    fclose(self->out);
}

static enum lum_line_event outcome(struct editor *self, const char *text, int len) {
  if (self->interrupted)
    return LUM_LINE_INTERRUPT;
  if (!text || len <= 0)
    return LUM_LINE_END;
  return self->too_long ? LUM_LINE_TOO_LONG : LUM_LINE_TYPED;
}

/* With the lock, which is given up meanwhile: one line. */
static void read_line(struct editor *self) {
  struct lum_line *line = self->line;
  uv_mutex_unlock(&line->lock);
  self->interrupted = self->too_long = false;
  self->editing = true;
  int len = 0;
  const char *text = lib.gets(self->el, &len);
  self->editing = false;
  uv_mutex_lock(&line->lock);
  if (line->closing)
    return;
  size_t kept = text && len > 0 ? (size_t)len : 0;
  if (kept > 0 && text[kept - 1] == '\n')
    kept--;
  line->wanted = false;
  tell(line, outcome(self, text, len), kept > 0 ? text : "", kept);
}

static void work(struct editor *self) {
  struct lum_line *line = self->line;
  bool ready = set_up(self);
  uv_mutex_lock(&line->lock);
  if (!ready) {
    line->failed = true;
    uv_cond_broadcast(&line->changed);
    if (line->listener)
      uv_async_send(line->listener);
  }
  while (ready && !line->closing) {
    serve(self);
    if (line->wanted)
      read_line(self);
    else if (line->request == LUM_LINE_NOTHING)
      uv_cond_wait(&line->changed, &line->lock);
  }
  uv_mutex_unlock(&line->lock);
}

void lum_line_thread(void *arg) {
  struct editor self = {.line = arg};
  locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  if (utf8)
    uselocale(utf8); /* of this thread alone */
  work(&self);
  tear_down(&self);
  if (utf8) {
    uselocale(LC_GLOBAL_LOCALE);
    freelocale(utf8);
  }
}
