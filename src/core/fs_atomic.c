/* Opening files for writing: in place, or beside the target and then renamed over it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs_util.h"

int lum_fs_open_write(const char *path, int mode, bool append, struct lum_err *err) {
  int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (append ? O_APPEND : 0);
  int fd = open(path, flags, mode >= 0 ? (mode_t)mode : 0644);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) {
    /* a fifo that nobody reads answers ENXIO instead of making us wait */
    lum_fs_fail(err, errno, "write", path);
  } else if (!S_ISREG(st.st_mode)) {
    char shown[LUM_SHOWN];
    lum_err_set(err, LUM_INVALID, "write %s: not a regular file but a %s", lum_fs_show(shown, path),
                lum_fs_type(st.st_mode));
  } else if ((!append && st.st_size > 0 && ftruncate(fd, 0) != 0) ||
             (mode >= 0 && fchmod(fd, (mode_t)mode) != 0)) {
    lum_fs_fail(err, errno, "write", path);
  } else {
    return fd;
  }
  if (fd >= 0)
    close(fd);
  return -1;
}

static int open_temp(struct lum_fs_atomic *file, int mode) {
  struct stat st;
  bool exists = fstatat(file->dir, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && S_ISDIR(st.st_mode))
    return EISDIR;
  if (mode < 0 && exists && S_ISREG(st.st_mode))
    mode = (int)(st.st_mode & 0777);
  file->fd = openat(file->dir, file->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    mode >= 0 ? (mode_t)mode : 0644);
  if (file->fd < 0)
    return errno;
  return mode < 0 || fchmod(file->fd, (mode_t)mode) == 0 ? 0 : errno;
}

bool lum_fs_atomic_open(struct lum_fs_atomic *file, const char *path, int mode,
                        struct lum_err *err) {
  *file = (struct lum_fs_atomic){-1, -1, NULL, NULL};
  char *dir;
  int rc = ENOMEM;
  file->name = lum_fs_split(path, &dir);
  file->temp = malloc(LUM_TEMP_NAME);
  if (file->name && file->temp) {
    lum_fs_temp_name(file->temp, ".luarium-tmp-");
    file->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = file->dir < 0 ? errno : open_temp(file, mode);
  }
  free(dir);
  if (rc == 0)
    return true;
  lum_fs_fail(err, rc, "write", path);
  lum_fs_atomic_close(file);
  return false;
}

bool lum_fs_atomic_commit(struct lum_fs_atomic *file, bool sync, struct lum_err *err) {
  int fd = file->fd;
  file->fd = -1;
  if (sync && fsync(fd) != 0) {
    lum_fs_fail(err, errno, "sync", file->name);
    close(fd);
    unlinkat(file->dir, file->temp, 0);
    return false;
  }
  if (close(fd) != 0 || renameat(file->dir, file->temp, file->dir, file->name) != 0) {
    lum_fs_fail(err, errno, "write", file->name);
    unlinkat(file->dir, file->temp, 0);
    return false;
  }
  if (sync && fsync(file->dir) != 0) /* the name is not safe before its folder is */
    return lum_fs_fail(err, errno, "sync the folder of", file->name);
  return true;
}

void lum_fs_atomic_close(struct lum_fs_atomic *file) {
  if (file->fd >= 0) {
    close(file->fd);
    unlinkat(file->dir, file->temp, 0); /* NOLINT: what is open has a name */
  }
  if (file->dir >= 0)
    close(file->dir);
  free(file->name);
  free(file->temp);
  *file = (struct lum_fs_atomic){-1, -1, NULL, NULL};
}
