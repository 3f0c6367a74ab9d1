/* What happens on the thread: libedit asks for characters, and between two of them others get their
 * turn on the screen. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "line_impl.h"

#define QUIET_MS 20      /* after a write, before the line is shown again: there may be more */
#define ANSWER_SECONDS 2 /* the engine may be computing */
#define CTRL_C 3

#define PASTE_ON "\33[?2004h"
#define PASTE_OFF "\33[?2004l"

struct lum_line *lum_line_of(EditLine *el) {
  void *line = NULL;
  lum_editlib(NULL)->get(el, EL_CLIENTDATA, &line);
  return line;
}

/* There Esc leaves the insert mode at once, so nothing may begin with it. */
static bool is_vi(struct lum_line *line) {
  const wchar_t *name = NULL;
  line->lib->get(line->el, EL_EDITOR, &name);
  return name && wcscmp(name, L"vi") == 0;
}

static void begin(struct lum_line *line) {
  if (!is_vi(line))
    fputs(PASTE_ON, line->out);
  lum_line_fresh(line);
}

/* ---- others on the screen ---- */

static void refresh(struct lum_line *line) {
  line->lib->set(line->el, EL_REFRESH);
  fflush(line->out);
}

/* With the mutex held: leaves the screen to whoever asked for it, until they are done. */
static void yield_screen(struct lum_line *line) {
  if (line->holds > 0 && !line->hidden && !line->stop) {
    lum_line_erase(line);
    line->hidden = true;
    pthread_cond_broadcast(&line->changed);
  }
  while (line->holds > 0 && !line->stop)
    pthread_cond_wait(&line->changed, &line->mutex);
}

/* False when somebody wants the screen again. */
static bool show(struct lum_line *line) {
  pthread_mutex_lock(&line->mutex);
  bool free_now = line->holds == 0;
  if (free_now && line->hidden) {
    lum_line_fresh(line);
    refresh(line);
    line->hidden = false;
  }
  pthread_mutex_unlock(&line->mutex);
  return free_now;
}

static void redraw(struct lum_line *line) {
  if (!line->hidden)
    lum_line_erase(line);
  lum_tty_size(fileno(line->out), &line->columns, &line->rows);
  line->lib->resize(line->el);
  line->lib->set(line->el, EL_PREP_TERM, 0); /* or it would believe that nothing has changed */
  line->lib->set(line->el, EL_PREP_TERM, 1);
  if (!line->hidden)
    refresh(line);
}

/* False: the line is over. */
static bool serve(struct lum_line *line) {
  pthread_mutex_lock(&line->mutex);
  yield_screen(line);
  bool over = line->stop || line->drop;
  bool wants_redraw = line->redraw && !over;
  line->redraw = false;
  pthread_mutex_unlock(&line->mutex);
  if (wants_redraw)
    redraw(line);
  return !over;
}

/* ---- characters ---- */

/* The news of another size may come later than keys that were typed since. */
static void look_at_size(struct lum_line *line) {
  int columns = line->columns, rows = line->rows;
  lum_tty_size(fileno(line->out), &line->columns, &line->rows);
  if (line->columns == columns && line->rows == rows)
    return;
  pthread_mutex_lock(&line->mutex);
  line->redraw = true;
  pthread_mutex_unlock(&line->mutex);
}

static void fill(struct lum_line *line) {
  struct pollfd fds[] = {{fileno(line->in), POLLIN, 0}, {line->wake, POLLIN, 0}};
  int ready = poll(fds, 2, line->hidden ? QUIET_MS : -1);
  if (ready == 0) {
    show(line);
    return;
  }
  if (ready > 0 && fds[1].revents) {
    uint64_t count;
    ssize_t unused = read(line->wake, &count, sizeof count);
    (void)unused;
  }
  if (ready > 0 && fds[0].revents) {
    ssize_t n = read(fds[0].fd, line->bytes, sizeof line->bytes);
    line->at = 0;
    line->have = n > 0 ? (size_t)n : 0;
    line->input_ended = n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
    look_at_size(line);
  }
}

static bool decode(struct lum_line *line, wchar_t *out) {
  size_t left = line->have - line->at;
  size_t n = mbrtowc(out, line->bytes + line->at, left, &line->decoding);
  if (n == (size_t)-2) {
    line->at = line->have; /* the rest of the character is still to come */
    return false;
  }
  if (n == (size_t)-1) {
    memset(&line->decoding, 0, sizeof line->decoding);
    *out = 0xfffd;
  }
  line->at += n == (size_t)-1 || n == 0 ? 1 : n;
  return *out < 0x80 || *out > 0x9f; /* libedit takes those for Meta keys */
}

/* 0: the end, or the line is over. */
static int next_char(struct lum_line *line, wchar_t *out) {
  while (serve(line)) {
    if (line->at < line->have) {
      if (show(line) && decode(line, out))
        return 1;
    } else if (line->input_ended) {
      return 0;
    } else {
      fill(line);
    }
  }
  return 0;
}

static bool is_full(struct lum_line *line) {
  const LineInfoW *info = line->lib->line(line->el);
  return info->lastchar - info->buffer >= LUM_LINE_MAX;
}

static int get_char(EditLine *el, wchar_t *out) {
  struct lum_line *line = lum_line_of(el);
  while (next_char(line, out) == 1) {
    if (*out < 32 || *out == 127 || !is_full(line))
      return 1;
    line->lib->beep(el);
  }
  return 0;
}

/* ---- keys ---- */

static unsigned char key_drop(EditLine *el, wint_t c) {
  (void)c;
  struct lum_line *line = lum_line_of(el);
  pthread_mutex_lock(&line->mutex);
  line->drop = true;
  pthread_mutex_unlock(&line->mutex);
  return CC_EOF;
}

/* Stops the whole job, as the terminal does it; this process exactly once, and when this returns it
 * has been continued. A signal to the process could arrive late, on another thread, and one more to
 * this thread then stop it again. */
static void stop_job(void) {
  struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
  sigaction(SIGTSTP, &ignore, &before);
  kill(0, SIGTSTP);
  sigaction(SIGTSTP, &before, NULL);
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTSTP);
  pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
  raise(SIGTSTP);
  pthread_sigmask(SIG_BLOCK, &stop, NULL);
}

/* The terminal's own signals are off while a line is being edited: what they do to a line has to be
 * undone before the process stops. */
static unsigned char key_suspend(EditLine *el, wint_t c) {
  (void)c;
  struct lum_line *line = lum_line_of(el);
  lum_line_below(line, "^Z" PASTE_OFF);
  line->lib->set(el, EL_PREP_TERM, 0);
  stop_job();
  line->lib->set(el, EL_PREP_TERM, 1);
  begin(line);
  refresh(line);
  return CC_NORM;
}

static unsigned char key_quit(EditLine *el, wint_t c) {
  (void)el;
  (void)c;
  kill(0, SIGQUIT);
  return CC_NORM;
}

struct paste {
  wchar_t *text;
  size_t len, room;
  bool too_long;
};

static void paste_add(struct paste *paste, wchar_t c) {
  if (paste->len + 1 >= paste->room && paste->room <= LUM_LINE_MAX) {
    size_t room = paste->room ? 2 * paste->room : 256;
    wchar_t *text = realloc(paste->text, room * sizeof *text);
    if (text) {
      paste->text = text;
      paste->room = room;
    }
  }
  if (paste->len + 1 < paste->room)
    paste->text[paste->len++] = c;
  else
    paste->too_long = true;
}

/* Up to ESC [ 2 0 1 ~; control characters have no business in a text. False: the line is over. */
static bool paste_read(struct lum_line *line, struct paste *paste) {
  static const wchar_t end[] = L"\33[201~";
  size_t matched = 0;
  wchar_t c;
  while (end[matched]) {
    if (next_char(line, &c) != 1 || c == CTRL_C)
      return false;
    if (c == end[matched]) {
      matched++;
      continue;
    }
    for (size_t i = 1; i < matched; i++) /* it was none; without its ESC it is text */
      paste_add(paste, end[i]);
    matched = c == end[0];
    if (c == L'\r' || c == L'\n')
      paste_add(paste, L'\n');
    else if (c == L'\t' || (c >= 32 && c != 127))
      paste_add(paste, c);
  }
  return true;
}

/* Pasted text comes between two marks; its line ends do not end the line. */
static unsigned char key_paste(EditLine *el, wint_t c) {
  (void)c;
  struct lum_line *line = lum_line_of(el);
  struct paste paste = {0};
  bool whole = paste_read(line, &paste);
  while (paste.len > 0 && paste.text[paste.len - 1] == L'\n')
    paste.len--; /* Enter is for the user to press */
  if (whole && paste.len > 0) {
    paste.text[paste.len] = L'\0';
    const LineInfoW *info = line->lib->line(el);
    size_t typed = (size_t)(info->lastchar - info->buffer);
    if (paste.too_long || typed + paste.len > LUM_LINE_MAX)
      line->lib->beep(el);
    else
      line->lib->insert(el, paste.text);
  }
  free(paste.text);
  return whole ? CC_REFRESH : key_drop(el, 0);
}

/* ---- texts ---- */

static char *narrow(const wchar_t *text, size_t count, size_t *len) {
  char *bytes = malloc(count * MB_LEN_MAX + 1);
  mbstate_t state = {0};
  size_t n = 0;
  for (size_t i = 0; bytes && i < count; i++) {
    size_t wrote = wcrtomb(bytes + n, text[i], &state);
    if (wrote != (size_t)-1)
      n += wrote;
  }
  if (bytes)
    bytes[n] = '\0';
  *len = n;
  return bytes;
}

wchar_t *lum_line_widen(struct lum_line *line, const char *text) {
  locale_t before = uselocale(line->locale);
  size_t left = strlen(text), n = 0;
  wchar_t *wide = malloc((left + 1) * sizeof *wide);
  mbstate_t state = {0};
  while (wide && left > 0) {
    size_t used = mbrtowc(&wide[n], text, left, &state);
    if (used == (size_t)-1 || used == (size_t)-2) {
      memset(&state, 0, sizeof state);
      wide[n] = 0xfffd;
      used = 1;
    }
    n++;
    text += used;
    left -= used;
  }
  if (wide)
    wide[n] = L'\0';
  uselocale(before);
  return wide;
}

/* ---- completion ---- */

/* With the mutex held: waits for the answer, and lets others have the screen meanwhile. */
static void wait_for_answer(struct lum_line *line) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += ANSWER_SECONDS;
  int rc = 0;
  while (line->asking && !line->stop && !line->drop && rc == 0) {
    if (line->holds > 0)
      yield_screen(line);
    else
      rc = pthread_cond_clockwait(&line->changed, &line->mutex, CLOCK_MONOTONIC, &until);
  }
  line->asking = false;
}

static void show_list(struct lum_line *line, const wchar_t *list) {
  lum_line_below(line, "");
  fprintf(line->out, "%ls\n", list);
  refresh(line);
}

static unsigned char key_complete(EditLine *el, wint_t c) {
  (void)c;
  struct lum_line *line = lum_line_of(el);
  const LineInfoW *info = line->lib->line(el);
  struct lum_line_news news = {.event = LUM_LINE_COMPLETE};
  free(narrow(info->buffer, (size_t)(info->cursor - info->buffer), &news.cursor));
  news.text = narrow(info->buffer, (size_t)(info->lastchar - info->buffer), &news.len);
  if (!news.text)
    return CC_ERROR;
  pthread_mutex_lock(&line->mutex);
  line->asking = true;
  lum_line_tell(line, &news);
  wait_for_answer(line);
  wchar_t *insert = line->insert, *list = line->list;
  line->insert = line->list = NULL;
  pthread_mutex_unlock(&line->mutex);
  unsigned char result = CC_ERROR; /* beeps */
  while (serve(line) && !show(line))
    ;
  if (list && *list) {
    show_list(line, list);
    result = CC_NORM;
  }
  if (insert && *insert && line->lib->insert(el, insert) == 0)
    result = CC_REFRESH;
  free(insert);
  free(list);
  return result;
}

/* ---- the editor ---- */

static wchar_t *prompt(EditLine *el) {
  return lum_line_of(el)->prompt;
}

static void bind_key(struct lum_line *line, const wchar_t *key, const wchar_t *command) {
  line->lib->set(line->el, EL_BIND, key, command, NULL);
}

/* Again before each line: a change of the terminal's own keys makes libedit bind them anew. */
static void bind_own_keys(struct lum_line *line) {
  static const wchar_t *const keys[][2] = {
      {L"^I", L"luarium-complete"},
      {L"^C", L"luarium-drop"},
      {L"^Z", L"luarium-suspend"},
      {L"^\\", L"luarium-quit"},
  };
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    bind_key(line, keys[i][0], keys[i][1]);
    line->lib->set(line->el, EL_BIND, L"-a", keys[i][0], keys[i][1], NULL);
  }
  if (!is_vi(line))
    bind_key(line, L"\\e[200~", L"luarium-paste");
}

/* What users of other editors expect and libedit leaves out; ~/.editrc may say otherwise. */
static void bind_usual_keys(struct lum_line *line) {
  static const wchar_t *const keys[][2] = {
      {L"^R", L"em-inc-search-prev"},      {L"^S", L"em-inc-search-next"},
      {L"\\e[3~", L"ed-delete-next-char"}, {L"\\e[1~", L"ed-move-to-beg"},
      {L"\\e[7~", L"ed-move-to-beg"},      {L"\\e[4~", L"ed-move-to-end"},
      {L"\\e[8~", L"ed-move-to-end"},      {L"\\e[1;5C", L"em-next-word"},
      {L"\\e[1;5D", L"ed-prev-word"},
  };
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    bind_key(line, keys[i][0], keys[i][1]);
}

static bool can_move_up(struct lum_line *line) {
  char *up = NULL;
  return line->lib->get(line->el, EL_GETTC, "up", &up, NULL) == 0 && up && *up;
}

bool lum_line_edit_init(struct lum_line *line, int history, struct lum_err *err) {
  const struct lum_editlib *lib = line->lib;
  HistEventW event;
  line->history = lib->history_init();
  line->el = lib->init_fd("luarium", line->in, line->out, line->err, fileno(line->in),
                          fileno(line->out), fileno(line->err));
  if (!line->el || !line->history)
    return lum_err_set(err, LUM_QUOTA, "line editing: out of memory");
  if (!can_move_up(line))
    return lum_err_set(err, LUM_UNSUPPORTED, "line editing: this terminal cannot move its cursor");
  lib->history(line->history, &event, H_SETSIZE, history);
  lib->history(line->history, &event, H_SETUNIQUE, 1);
  EditLine *el = line->el;
  lib->set(el, EL_CLIENTDATA, line);
  lib->set(el, EL_HIST, lib->history, line->history);
  lib->set(el, EL_PROMPT, prompt);
  lib->set(el, EL_GETCFN, get_char);
  lib->set(el, EL_SIGNAL, 0);
  lib->set(el, EL_EDITOR, L"emacs");
  lib->set(el, EL_ADDFN, L"luarium-complete", L"Complete the name", key_complete);
  lib->set(el, EL_ADDFN, L"luarium-drop", L"Drop the line", key_drop);
  lib->set(el, EL_ADDFN, L"luarium-suspend", L"Stop the process", key_suspend);
  lib->set(el, EL_ADDFN, L"luarium-quit", L"Kill the process", key_quit);
  lib->set(el, EL_ADDFN, L"luarium-paste", L"Insert pasted text", key_paste);
  bind_usual_keys(line);
  lib->source(el, NULL);
  lib->set(el, EL_SETTY, L"-d", L"-isig", L"-ixon", NULL);
  return true;
}

static struct lum_line_news outcome(struct lum_line *line, const wchar_t *text, int count) {
  struct lum_line_news news = {.event = LUM_LINE_END};
  if (text && count > 0) {
    size_t length = (size_t)count - (text[count - 1] == L'\n');
    news.event = LUM_LINE_TEXT;
    news.text = narrow(text, length, &news.len);
  } else if (!line->hidden && (line->stop || line->drop)) {
    lum_line_below(line, line->drop ? "^C" : "");
  }
  if (line->drop)
    news.event = LUM_LINE_DROPPED;
  return news;
}

void *lum_line_edit_run(void *arg) {
  struct lum_line *line = arg;
  uselocale(line->locale);
  bind_own_keys(line);
  lum_tty_size(fileno(line->out), &line->columns, &line->rows);
  line->lib->set(line->el, EL_PREP_TERM, 1); /* or what is typed right after the prompt is echoed */
  begin(line);
  int count = 0;
  const wchar_t *text = line->lib->gets(line->el, &count);
  pthread_mutex_lock(&line->mutex);
  struct lum_line_news news = outcome(line, text, count);
  fputs(PASTE_OFF, line->out);
  fflush(line->out);
  line->editing = line->hidden = false;
  lum_line_tell(line, &news);
  pthread_cond_broadcast(&line->changed);
  pthread_mutex_unlock(&line->mutex);
  return NULL;
}
