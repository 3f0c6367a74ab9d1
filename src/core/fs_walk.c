#include "fs_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_DIRS 64
#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)

struct lum_walk_dir *lum_walk_top(struct lum_walk *walk) {
  return &walk->dirs[walk->depth - 1];
}

/* ---- names of one folder ---- */

struct names {
  char *text;
  size_t len, cap;
  size_t *index;
  size_t count, index_cap;
};

static bool grow(void **mem, size_t *cap, size_t need, size_t size) {
  if (need <= *cap)
    return true;
  size_t want = *cap ? *cap * 2 : 64;
  while (want < need)
    want *= 2;
  void *p = realloc(*mem, want * size);
  if (!p)
    return false;
  *mem = p;
  *cap = want;
  return true;
}

static int names_add(struct names *names, const char *name) {
  size_t len = strlen(name) + 1;
  if (!grow((void **)&names->text, &names->cap, names->len + len, 1) ||
      !grow((void **)&names->index, &names->index_cap, names->count + 1, sizeof *names->index))
    return ENOMEM;
  memcpy(names->text + names->len, name, len);
  names->index[names->count++] = names->len;
  names->len += len;
  return 0;
}

static int compare_names(const void *a, const void *b, void *text) {
  return strcmp((char *)text + *(const size_t *)a, (char *)text + *(const size_t *)b);
}

static int read_names(DIR *dir, size_t max, struct names *names) {
  for (;;) {
    errno = 0;
    struct dirent *entry = readdir(dir);
    if (!entry)
      return errno;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
      continue;
    if (names->count >= max)
      return EOVERFLOW;
    int rc = names_add(names, entry->d_name);
    if (rc != 0)
      return rc;
  }
}

int lum_walk_list(int fd, size_t max, char **text, size_t **index, size_t *count) {
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* opening "." anew would take the right to search */
  DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
  if (!dir) {
    int rc = errno;
    if (copy >= 0)
      close(copy);
    return rc;
  }
  struct names names = {0};
  rewinddir(dir); /* both descriptors share a position */
  int rc = read_names(dir, max, &names);
  closedir(dir);
  if (rc != 0) {
    free(names.text);
    free(names.index);
    return rc;
  }
  if (names.count > 1)
    qsort_r(names.index, names.count, sizeof *names.index, compare_names, names.text);
  *text = names.text;
  *index = names.index;
  *count = names.count;
  return 0;
}

/* ---- the walk ---- */

static void forget_names(struct lum_walk_dir *dir) {
  free(dir->names);
  free(dir->index);
  dir->names = NULL;
  dir->index = NULL;
  dir->count = dir->next = 0;
  dir->listed = false;
}

static void drop_top(struct lum_walk *walk) {
  struct lum_walk_dir *dir = lum_walk_top(walk);
  forget_names(dir);
  if (dir->fd >= 0)
    close(dir->fd);
  walk->depth--;
}

void lum_walk_close(struct lum_walk *walk) {
  while (walk->depth > 0)
    drop_top(walk);
  free(walk->dirs);
  free(walk->path);
  memset(walk, 0, sizeof *walk);
}

/* Opens a folder of ours that has no rights, by giving it some first. chmod goes through the
 * descriptor, so that a link put there meanwhile is not followed. */
static int open_forced(int at, const char *name) {
  int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return -1;
  char proc[40];
  snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
  int rc = chmod(proc, 0700);
  int saved = errno;
  close(fd);
  if (rc != 0) {
    errno = saved;
    return -1;
  }
  return openat(at, name, DIR_FLAGS | O_NOFOLLOW);
}

static int push(struct lum_walk *walk, int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0)
    return errno;
  if (walk->force && (st.st_mode & 0700) != 0700)
    fchmod(fd, 0700); /* a refusal shows itself at the first name that cannot be removed */
  if (!grow((void **)&walk->dirs, &walk->cap, walk->depth + 1, sizeof *walk->dirs))
    return ENOMEM;
  struct lum_walk_dir *dir = &walk->dirs[walk->depth++];
  memset(dir, 0, sizeof *dir);
  dir->fd = fd;
  dir->dev = st.st_dev;
  dir->ino = st.st_ino;
  dir->mode = st.st_mode;
  dir->path_len = walk->path_len;
  if (walk->depth > OPEN_DIRS) {
    struct lum_walk_dir *far = &walk->dirs[walk->depth - OPEN_DIRS - 1];
    if (far->fd >= 0)
      close(far->fd);
    far->fd = -1;
  }
  return 0;
}

int lum_walk_open(struct lum_walk *walk, int at, const char *path, bool follow) {
  bool force = walk->force;
  memset(walk, 0, sizeof *walk);
  walk->force = force;
  if (!grow((void **)&walk->path, &walk->path_cap, 1, 1))
    return ENOMEM;
  walk->path[0] = '\0';
  int fd = openat(at, path, DIR_FLAGS | (follow ? 0 : O_NOFOLLOW));
  if (fd < 0 && errno == EACCES && force)
    fd = open_forced(at, path);
  if (fd < 0)
    return errno;
  int rc = push(walk, fd);
  if (rc != 0)
    close(fd);
  return rc;
}

const char *lum_walk_path(struct lum_walk *walk, const char *name) {
  size_t base = lum_walk_top(walk)->path_len, len = strlen(name);
  if (!grow((void **)&walk->path, &walk->path_cap, base + len + 2, 1))
    return NULL;
  char *end = walk->path + base;
  if (base > 0)
    *end++ = '/';
  memcpy(end, name, len + 1);
  return walk->path;
}

int lum_walk_enter(struct lum_walk *walk, const char *name) {
  int at = lum_walk_top(walk)->fd;
  int fd = openat(at, name, DIR_FLAGS | O_NOFOLLOW);
  if (fd < 0 && errno == EACCES && walk->force)
    fd = open_forced(at, name);
  if (fd < 0)
    return errno;
  size_t saved = walk->path_len;
  int rc = ENOMEM;
  if (lum_walk_path(walk, name)) {
    walk->path_len = strlen(walk->path);
    rc = push(walk, fd);
  }
  if (rc != 0) {
    close(fd);
    walk->path_len = saved;
    walk->path[saved] = '\0';
  }
  return rc;
}

static int reopen_parent(struct lum_walk_dir *child, struct lum_walk_dir *parent) {
  int fd = openat(child->fd, "..", DIR_FLAGS | O_NOFOLLOW);
  if (fd < 0)
    return errno;
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_dev != parent->dev || st.st_ino != parent->ino) {
    close(fd);
    return ESTALE; /* somebody moved the folder away under our feet */
  }
  parent->fd = fd;
  return 0;
}

int lum_walk_leave(struct lum_walk *walk) {
  if (walk->depth > 1) {
    struct lum_walk_dir *parent = &walk->dirs[walk->depth - 2];
    int rc = parent->fd < 0 ? reopen_parent(lum_walk_top(walk), parent) : 0;
    if (rc != 0)
      return rc;
    walk->path_len = parent->path_len;
    walk->path[walk->path_len] = '\0';
  }
  drop_top(walk);
  return 0;
}

int lum_walk_next(struct lum_walk *walk, const char **name) {
  struct lum_walk_dir *dir = lum_walk_top(walk);
  *name = NULL;
  if (!dir->listed) {
    int rc = lum_walk_list(dir->fd, SIZE_MAX, &dir->names, &dir->index, &dir->count);
    if (rc != 0)
      return rc;
    dir->listed = true;
  }
  if (dir->next < dir->count)
    *name = dir->names + dir->index[dir->next++];
  return 0;
}

void lum_walk_rescan(struct lum_walk *walk) {
  forget_names(lum_walk_top(walk));
}
