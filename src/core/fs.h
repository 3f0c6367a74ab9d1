/* Files and folders. Every job runs on a worker thread and touches only its own copies. */
#ifndef LUM_FS_H
#define LUM_FS_H

#include "fs_util.h"

enum lum_fs_verb {
  LUM_FS_READ,
  LUM_FS_WRITE,
  LUM_FS_STAT,
  LUM_FS_LS,
  LUM_FS_MKDIR,
  LUM_FS_REMOVE,
  LUM_FS_MOVE,
  LUM_FS_CHMOD,
  LUM_FS_SYMLINK,
  LUM_FS_READLINK,
  LUM_FS_REALPATH,
  LUM_FS_MKDTEMP,
  LUM_FS_TOUCH,
  LUM_FS_HASH,
  LUM_FS_VERB_COUNT
};

#define LUM_FS_READ_MAX                                                                            \
  ((uint64_t)1 << 30) /* what a read may return when nobody says otherwise                         \
                       */
#define LUM_FS_LS_MAX 1000000
#define LUM_FS_LS_READ_MAX ((uint64_t)64 << 20) /* bytes of all files that a list reads */

struct lum_fs_args {
  const char *path;
  const char *other; /* move: to; symlink: target; hash: algorithm */
  const char *bytes; /* write */
  size_t len;
  uint64_t offset, length, max; /* read; max also for ls */
  uint64_t each;                /* ls: reads the files that have at most so many bytes */
  int mode;                     /* -1: not given */
  double mtime;                 /* touch; negative: now */
  bool follow;                  /* stat */
  bool recursive;               /* remove; mkdir, write: make the parents too */
  bool append, atomic, fsync;   /* write */
};

struct lum_fs_stat {
  mode_t mode;
  uint64_t size, dev, ino;
  uint32_t uid, gid;
  double mtime;
  char *target; /* of a link */
};

struct lum_fs_entry {
  char *name;
  struct lum_fs_stat stat;
  char *bytes; /* its content, when that was asked for and could be read; NULL otherwise */
  size_t len;
};

struct lum_fs_job {
  struct lum_work work;
  struct lum_fs_args args; /* its strings are the job's own */
  /* results */
  char *text;
  size_t text_len;
  uint64_t count;
  struct lum_fs_stat stat;
  struct lum_fs_entry *entries;
  size_t entry_count;
};

/* Starts a job on copies of args. NULL: out of memory. */
struct lum_op *lum_fs_start(struct lum_engine *eng, enum lum_fs_verb verb,
                            const struct lum_fs_args *args);

/* Frees the text of a job that has ended. */
void lum_fs_forget_text(struct lum_fs_job *job);

/* ---- at once, on the caller's thread ---- */

bool lum_fs_exists(const char *path);

/* As lum_fs_type; links are followed. NULL: it is not there, or nobody may know. */
const char *lum_fs_type_of(const char *path);

/* Bytes in all and bytes that this user may still write, on the file system of path. */
bool lum_fs_disk(const char *path, uint64_t *total, uint64_t *avail, struct lum_err *err);

/* An advisory lock on a file that is made when missing: its descriptor, -1 when somebody else holds
 * it, -2 with err filled. Freed by lum_fs_unlock or with the process. */
int lum_fs_trylock(const char *path, struct lum_err *err);
void lum_fs_unlock(int fd);

/* Removes a file, link or tree; nothing behind a link is touched. A job lends its cancel flag and
 * counts in its progress; work may be NULL. Takes its time: not for the engine thread. */
bool lum_fs_remove_tree(struct lum_work *work, int at, const char *path, struct lum_err *err);

#endif
