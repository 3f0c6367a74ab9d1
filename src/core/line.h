/* Editing a line on a terminal with libedit. That blocks, so it happens on a thread of its own,
 * which lives while a line is being edited; everything here is for the engine's thread. */
#ifndef LUM_LINE_H
#define LUM_LINE_H

#include "engine.h"

/* Characters in a line; what is typed beyond is refused with a beep. */
#define LUM_LINE_MAX 1048576

struct lum_line;

enum lum_line_event {
  LUM_LINE_TEXT,     /* a line */
  LUM_LINE_END,      /* the end of the input */
  LUM_LINE_DROPPED,  /* Ctrl-C: what was typed is gone */
  LUM_LINE_COMPLETE, /* Tab: the line so far; it waits for lum_line_answer_start */
};

/* A terminal to edit lines on, guarded: it is as before after the close and after the death of the
 * process. NULL with err filled: `unsupported` without libedit or with a terminal that cannot move
 * its cursor. */
struct lum_line *lum_line_open(struct lum_engine *eng, int in, int out, int history,
                               struct lum_err *err);

/* Ends what is in flight, restores the terminal and gives up the caller's claim. */
void lum_line_close(struct lum_line *line);

/* An operation that ends with the next event. One at a time: NULL with err filled otherwise. */
struct lum_op *lum_line_read_start(struct lum_line *line, const char *prompt, struct lum_err *err);

/* The answer to LUM_LINE_COMPLETE: what is inserted at the cursor, and lines that are shown below;
 * both may be empty. Ends with the next event, as a read does. */
struct lum_op *lum_line_answer_start(struct lum_line *line, const char *insert, const char *list,
                                     struct lum_err *err);

/* What a completed operation brought; the text is UTF-8 and lives as long as op. */
enum lum_line_event lum_line_result(const struct lum_op *op, const char **text, size_t *len,
                                    size_t *cursor);

/* Adds to the history that Up goes through; not while a line is being edited. */
bool lum_line_remember(struct lum_line *line, const char *text, struct lum_err *err);

/* Takes the line that is being edited off the screen until lum_line_show, so that others can write
 * to the terminal. Calls nest. Without such a line nothing happens. */
void lum_line_hide(struct lum_line *line);
void lum_line_show(struct lum_line *line);

/* The terminal has another size, or was used by others while the process was stopped. */
void lum_line_redraw(struct lum_line *line);

/* As if Ctrl-C had been typed. */
void lum_line_drop(struct lum_line *line);

#endif
