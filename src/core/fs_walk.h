/* A way through a tree of folders that cannot be led astray: every step is an openat() from the
 * folder before, without following links, and a return through ".." is checked against the folder
 * that was left. At most 64 descriptors are open however deep the tree is. Functions return 0 or an
 * errno. */
#ifndef LUM_FS_WALK_H
#define LUM_FS_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct lum_walk_dir {
  int fd; /* -1: given up, to be opened again on the way back */
  dev_t dev;
  ino_t ino;
  mode_t mode; /* as it was when entered */
  char *names; /* one after the other, NUL after each; read at the first lum_walk_next */
  size_t *index;
  size_t count, next;
  size_t path_len; /* of the walk's path when this folder is on top */
  bool listed;
  bool mark; /* the caller's own */
};

struct lum_walk {
  struct lum_walk_dir *dirs;
  size_t depth, cap;
  char *path; /* from the root, without it; "" at the root */
  size_t path_len, path_cap;
  bool force; /* gives our own folders the rights that entering and emptying them takes */
};

/* Starts at a folder; a link there is followed only when asked. */
int lum_walk_open(struct lum_walk *walk, int at, const char *path, bool follow);

int lum_walk_enter(struct lum_walk *walk, const char *name);

/* Back to the parent of the folder on top; at the root this ends the walk (depth 0). */
int lum_walk_leave(struct lum_walk *walk);

void lum_walk_close(struct lum_walk *walk);

/* The folder on top. */
struct lum_walk_dir *lum_walk_top(struct lum_walk *walk);

/* The next name in the folder on top, in byte order; NULL at the end. Valid until the folder is
 * left. */
int lum_walk_next(struct lum_walk *walk, const char **name);

/* Reads the folder on top anew. */
void lum_walk_rescan(struct lum_walk *walk);

/* The path of `name` in the folder on top, from the root of the walk. Valid until the walk moves
 * on; NULL: out of memory. */
const char *lum_walk_path(struct lum_walk *walk, const char *name);

/* The names of a folder, sorted by bytes; the folder stays open. */
int lum_walk_list(int fd, size_t max, char **names, size_t **index, size_t *count);

#endif
