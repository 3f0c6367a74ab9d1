/* Small things that the file jobs, copies and archives share. Safe on any thread. */
#ifndef LUM_FS_UTIL_H
#define LUM_FS_UTIL_H

#include <sys/stat.h>

#include "worker.h"

#define LUM_SHOWN 320

/* A path as it may stand in a message: control characters and bytes that are no UTF-8 become \xNN,
 * a long one keeps its end. Returns buf. */
const char *lum_fs_show(char buf[static LUM_SHOWN], const char *path);

/* Fills err with "<verb> <path>: <strerror>"; returns false. */
bool lum_fs_fail(struct lum_err *err, int errnum, const char *verb, const char *path);

/* Writes everything at the file's position; 0 or an errno. */
int lum_fs_write_all(int fd, const char *data, size_t len);

/* Writes everything at offset; 0 or an errno. */
int lum_fs_pwrite_all(int fd, const char *data, size_t len, off_t offset);

/* Reads up to len bytes at offset, fewer only at the end of the file; -1 with errno set. */
ssize_t lum_fs_pread_all(int fd, char *buf, size_t len, off_t offset);

/* Opens a regular file for reading without ever waiting for a fifo's other end. -1 with err filled.
 */
int lum_fs_open_read(int at, const char *path, int extra_flags, struct stat *st,
                     struct lum_err *err);

/* Opens a regular file for writing, made when missing. A mode of -1 means 0644 as the umask allows,
 * any other is set exactly. -1 with err filled. */
int lum_fs_open_write(const char *path, int mode, bool append, struct lum_err *err);

/* A file that appears under its name complete or not at all. Without a mode it keeps that of the
 * file it replaces. */
struct lum_fs_atomic {
  int fd, dir; /* -1 when closed */
  char *name, *temp;
};
bool lum_fs_atomic_open(struct lum_fs_atomic *file, const char *path, int mode,
                        struct lum_err *err);
bool lum_fs_atomic_commit(struct lum_fs_atomic *file, bool sync, struct lum_err *err);
void lum_fs_atomic_close(
    struct lum_fs_atomic *file); /* without a commit: as if it had never been */

/* A name nobody else uses: prefix and 16 random hex digits. */
#define LUM_TEMP_NAME 48
const char *lum_fs_temp_name(char buf[static LUM_TEMP_NAME], const char *prefix);

/* Splits path (trailing slashes ignored) at its last component: dir gets "." or the folder
 * (malloc), the return value points to a malloc'ed last component. NULL: out of memory. */
char *lum_fs_split(const char *path, char **dir);

/* "file", "dir", "link", "fifo", "socket", "char" or "block". */
const char *lum_fs_type(mode_t mode);

/* The target of a link, malloc'ed; NULL with errno set. */
char *lum_fs_readlink(int at, const char *name);

/* Whether a link in a folder `depth` real levels below the root of a tree stays in the tree.
 * Lexical and strict:
 * ".." only at the front of the target, because behind a name it may step out of another link's
 * target. */
bool lum_fs_link_inside(const char *target, size_t depth);

/* Whether a glob leaves out this path of a tree: one with a slash is held against the whole path,
 * one without against the last name. */
bool lum_fs_excluded(char *const *globs, size_t count, const char *path);

/* A list of texts on the heap. NULL: out of memory. */
char **lum_fs_copy_list(const char *const *list, size_t count);
void lum_fs_free_list(char **list, size_t count);

#endif
