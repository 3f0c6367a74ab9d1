/* What is known of a terminal, and writing to it in full. On the caller's thread. */
#ifndef LUM_TTY_H
#define LUM_TTY_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

bool lum_tty_is(int fd);
bool lum_tty_size(int fd, int *cols, int *rows);

/* Keeps how a terminal is set, until lum_tty_restore sets it so again and frees it. When the
 * process dies before, however that happens, a small process that waits for it restores the
 * terminal and writes `leave` to it. NULL with err filled. */
struct lum_tty_saved;
struct lum_tty_saved *lum_tty_guard(int fd, const char *leave, struct lum_err *err);

/* The same, and puts it into raw mode. */
struct lum_tty_saved *lum_tty_raw(int fd, const char *leave, struct lum_err *err);
bool lum_tty_restore(struct lum_tty_saved *saved, struct lum_err *err);

#endif
