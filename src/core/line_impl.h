/* Between line.c (the engine's side) and line_edit.c (the thread's side). */
#ifndef LUM_LINE_IMPL_H
#define LUM_LINE_IMPL_H

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <wchar.h>

#include "editlib.h"
#include "line.h"
#include "tty.h"

struct line_op;

/* What the thread tells the engine. */
struct lum_line_news {
  enum lum_line_event event;
  char *text; /* may be NULL */
  size_t len, cursor;
};

struct lum_line {
  struct lum_engine *eng;
  unsigned refs; /* the caller's, and one for an operation */
  const struct lum_editlib *lib;
  struct lum_tty_saved *saved;
  locale_t locale; /* UTF-8, whatever the program's is */
  FILE *in, *out, *err;
  int wake; /* an eventfd: ends the thread's wait for keys */
  EditLine *el;
  HistoryW *history;
  wchar_t *prompt;
  pthread_t thread;
  bool running; /* the thread is there and not joined; for the engine's thread */

  pthread_mutex_t mutex; /* for what follows */
  pthread_cond_t changed;
  struct line_op *op;
  struct lum_line_news news;
  bool has_news;
  bool editing; /* the thread may draw */
  bool stop;    /* it is to end and leave nothing */
  bool drop;
  bool redraw;
  unsigned holds; /* callers of lum_line_hide */
  bool hidden;
  bool asking;            /* waits for an answer */
  wchar_t *insert, *list; /* the answer */

  /* The thread's own, kept from line to line. */
  char bytes[4096];
  size_t at, have;
  mbstate_t decoding;
  bool input_ended;
  int columns, rows; /* of the screen, as it was drawn for */
};

/* For the editor's functions. */
struct lum_line *lum_line_of(EditLine *el);

/* Sets up the editor; NULL-safe clean-up is the caller's. Called with the line's locale. */
bool lum_line_edit_init(struct lum_line *line, int history, struct lum_err *err);

/* The thread. */
void *lum_line_edit_run(void *arg);

/* Publishes news, with the mutex held; text passes over. */
void lum_line_tell(struct lum_line *line, const struct lum_line_news *news);

/* Text as wide characters, in the line's locale; what is no UTF-8 becomes U+FFFD. NULL: out of
 * memory. */
wchar_t *lum_line_widen(struct lum_line *line, const char *text);

/* line_screen.c: where the line is on the screen. */
void lum_line_erase(struct lum_line *line); /* leaves the cursor where the prompt began */
void lum_line_fresh(struct lum_line *line); /* to an empty row, whatever was written before */
void lum_line_below(struct lum_line *line, const char *mark); /* ends the line with a mark */

#endif
