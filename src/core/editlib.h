/* libedit, opened when it is first asked for: only who edits lines needs it, and without it lines
 * are read as the terminal gives them. */
#ifndef LUM_EDITLIB_H
#define LUM_EDITLIB_H

#include <histedit.h>

#include "err.h"

struct lum_editlib {
  __typeof__(&el_init_fd) init_fd;
  __typeof__(&el_end) end;
  __typeof__(&el_source) source;
  __typeof__(&el_resize) resize;
  __typeof__(&el_beep) beep;
  __typeof__(&el_wset) set;
  __typeof__(&el_wget) get;
  __typeof__(&el_wgets) gets;
  __typeof__(&el_wline) line;
  __typeof__(&el_winsertstr) insert;
  __typeof__(&history_winit) history_init;
  __typeof__(&history_wend) history_end;
  __typeof__(&history_w) history;
};

/* NULL with err filled when it is not installed; err may be NULL. It stays open for the life of the
 * process. */
const struct lum_editlib *lum_editlib(struct lum_err *err);

#endif
