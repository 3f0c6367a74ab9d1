#include "editlib.h"

#include <dlfcn.h>
#include <pthread.h>

static struct lum_editlib functions;
static bool complete;

static const struct {
  const char *name;
  void *slot;
} wanted[] = {
    {"el_init_fd", &functions.init_fd},
    {"el_end", &functions.end},
    {"el_source", &functions.source},
    {"el_resize", &functions.resize},
    {"el_beep", &functions.beep},
    {"el_wset", &functions.set},
    {"el_wget", &functions.get},
    {"el_wgets", &functions.gets},
    {"el_wline", &functions.line},
    {"el_winsertstr", &functions.insert},
    {"history_winit", &functions.history_init},
    {"history_wend", &functions.history_end},
    {"history_w", &functions.history},
};

static void load(void) {
  void *library = dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL); /* Debian's name */
  if (!library)
    library = dlopen("libedit.so.0", RTLD_NOW | RTLD_LOCAL);
  complete = library != NULL;
  for (size_t i = 0; complete && i < sizeof wanted / sizeof *wanted; i++) {
    void *function = dlsym(library, wanted[i].name);
    *(void **)wanted[i].slot = function;
    complete = function != NULL;
  }
}

const struct lum_editlib *lum_editlib(struct lum_err *err) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  if (complete)
    return &functions;
  if (err)
    lum_err_set(err, LUM_UNSUPPORTED, "line editing needs libedit (package libedit2)");
  return NULL;
}
