/* Lines typed on a terminal, edited by libedit in a thread of its own, so that the loop goes on
 * meanwhile. libedit is opened at the first use; programs that never edit a line do not need it. */
#ifndef LUM_LINE_H
#define LUM_LINE_H

#include "engine.h"

struct lum_line;

/* The editor of the terminal `in`, drawn on `out`; both stay the caller's. While the editor is
 * open, a small process restores the terminal should this one die. NULL with err filled:
 * `unsupported` without libedit. */
struct lum_line *lum_line_open(struct lum_engine *eng, int in, int out, struct lum_err *err);

/* Ends the editing, waits for the thread and puts the terminal back as it was. */
void lum_line_close(struct lum_line *line);

enum lum_line_event {
  LUM_LINE_TYPED,     /* a whole line, without its end */
  LUM_LINE_END,       /* of the input, or Ctrl-D on an empty line */
  LUM_LINE_INTERRUPT, /* Ctrl-C: what was typed is dropped */
  LUM_LINE_COMPLETE,  /* Tab: what is before the cursor; waits for lum_line_answer */
  LUM_LINE_TOO_LONG,  /* more was typed than a line may have; it is dropped */
};

/* Characters that a line may have. */
#define LUM_LINE_MAX 16384

/* An operation that ends with the next event. Editing begins with the first read after a line, and
 * goes on after COMPLETE. One at a time. NULL with err filled. */
struct lum_op *lum_line_read_start(struct lum_line *line, const char *prompt, struct lum_err *err);
enum lum_line_event lum_line_result(const struct lum_op *op, const char **text, size_t *len);

/* The answer to COMPLETE: what to insert at the cursor, and lines to show below; either may be "".
 */
void lum_line_answer(struct lum_line *line, const char *insert, const char *listing);

/* Writes to the terminal, above the line that is being edited. */
bool lum_line_print(struct lum_line *line, const char *text, size_t len);

/* Adds to the history. */
bool lum_line_remember(struct lum_line *line, const char *text);

/* The terminal has another size. */
void lum_line_resized(struct lum_line *line);

#endif
