/* What is asked at once, without a worker: does it exist, how full is the disk, is the lock free.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs.h"
#include "fs_util.h"

bool lum_fs_exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

const char *lum_fs_type_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? lum_fs_type(st.st_mode) : NULL;
}

bool lum_fs_disk(const char *path, uint64_t *total, uint64_t *avail, struct lum_err *err) {
  struct statvfs vfs;
  if (statvfs(path, &vfs) != 0)
    return lum_fs_fail(err, errno, "disk", path);
  *total = (uint64_t)vfs.f_blocks * vfs.f_frsize;
  *avail = (uint64_t)vfs.f_bavail * vfs.f_frsize;
  return true;
}

/* Whether path still names the file that was locked: its holder may have removed it in between. */
static bool same_file(int fd, const char *path) {
  struct stat ours, named;
  return fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_dev == named.st_dev &&
         ours.st_ino == named.st_ino;
}

int lum_fs_trylock(const char *path, struct lum_err *err) {
  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0) {
      lum_fs_fail(err, errno, "lock", path);
      return -2;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      int rc = errno;
      close(fd);
      if (rc == EWOULDBLOCK)
        return -1;
      lum_fs_fail(err, rc, "lock", path);
      return -2;
    }
    if (same_file(fd, path))
      return fd;
    close(fd);
  }
}

void lum_fs_unlock(int fd) {
  flock(fd, LOCK_UN); /* a child between fork and exec may hold a copy of the descriptor */
  close(fd);
}
