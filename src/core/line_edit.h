/* What the two threads of a line editor share: the engine's (line.c) and the editor's
 * (line_edit.c). */
#ifndef LUM_LINE_EDIT_H
#define LUM_LINE_EDIT_H

#include <stdio.h>

#include "line.h"
#include "tty.h"

/* What the engine's thread asks of the editor's, and waits for. */
enum lum_line_request {
  LUM_LINE_NOTHING,
  LUM_LINE_PRINT,
  LUM_LINE_REMEMBER,
  LUM_LINE_RESIZE,
};

struct lum_line {
  struct lum_engine *eng;
  struct lum_op *reading; /* engine's thread */
  uv_thread_t thread;
  struct lum_tty_saved *saved;
  int in, out;
  int wake; /* an eventfd that ends the editor's wait for a key */

  uv_mutex_t lock; /* over all that follows */
  uv_cond_t changed;
  bool closing, failed; /* failed: libedit could not be set up */
  bool wanted;          /* a line is to be read */
  char *prompt;
  enum lum_line_request request;
  const char *request_text;
  size_t request_len;
  bool has_event;
  enum lum_line_event event;
  char *text; /* of the event */
  size_t len;
  uv_async_t *listener; /* told of the event */
  bool asking;          /* COMPLETE was told, the answer is awaited */
  char *insert, *listing;
};

/* Finds libedit. */
bool lum_line_load(struct lum_err *err);

/* The editor's thread. */
void lum_line_thread(void *arg);

#endif
