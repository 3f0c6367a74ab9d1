/* libedit does not tell where on the screen it is, so its way of laying out a line is followed. */
#include <wchar.h>
#include <wctype.h>

#include "line_impl.h"

struct place {
  int row, column, columns, rows;
};

static void next_row(struct place *at) {
  at->column = 0;
  if (at->row + 1 < at->rows) /* beyond, it scrolls within itself */
    at->row++;
}

static void put(struct place *at, int width) {
  while (at->column + width > at->columns && at->column > 0)
    put(at, 1); /* a wide character that does not fit leaves a blank */
  at->column += width;
  if (at->column >= at->columns)
    next_row(at);
}

static void put_char(struct place *at, wchar_t c) {
  if (c == L'\n') {
    next_row(at);
  } else if (c == L'\t') {
    do
      put(at, 1);
    while (at->column % 8 != 0);
  } else if (iswprint((wint_t)c)) {
    int width = wcwidth(c);
    put(at, width > 0 ? width : 0);
  } else {
    int shown = c < 0x100 ? 2 : c > 0xffff ? 8 : 7; /* ^X, \U+FFFF */
    for (int i = 0; i < shown; i++)
      put(at, 1);
  }
}

static struct place origin(struct lum_line *line) {
  struct place at = {0, 0, 80, 24};
  lum_tty_size(fileno(line->out), &at.columns, &at.rows);
  return at;
}

/* Where the cursor is, and where the line ends. */
static void measure(struct lum_line *line, struct place *cursor, struct place *end) {
  const LineInfoW *info = line->lib->line(line->el);
  *end = origin(line);
  *cursor = *end;
  for (const wchar_t *p = line->prompt; *p; p++)
    put_char(end, *p);
  for (const wchar_t *p = info->buffer; p < info->lastchar; p++) {
    if (p == info->cursor)
      *cursor = *end;
    put_char(end, *p);
  }
  if (info->cursor >= info->lastchar)
    *cursor = *end;
}

void lum_line_erase(struct lum_line *line) {
  struct place cursor, end;
  measure(line, &cursor, &end);
  fputc('\r', line->out);
  if (cursor.row > 0)
    fprintf(line->out, "\33[%dA", cursor.row);
  fputs("\33[J", line->out);
  fflush(line->out);
}

void lum_line_fresh(struct lum_line *line) {
  struct place at = origin(line);
  /* As many blanks as the screen is wide: from the first column they stay in the row, from any
   * other they end in the next one. */
  fprintf(line->out, "%*s\r\33[K", at.columns, "");
  fflush(line->out);
}

void lum_line_below(struct lum_line *line, const char *mark) {
  struct place cursor, end;
  measure(line, &cursor, &end);
  if (end.row > cursor.row)
    fprintf(line->out, "\33[%dB", end.row - cursor.row);
  if (end.row > cursor.row || end.column > cursor.column)
    fprintf(line->out, "\r\33[%dC", end.column);
  fprintf(line->out, "%s\n", mark);
  fflush(line->out);
}
