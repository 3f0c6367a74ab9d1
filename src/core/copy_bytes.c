/* The bytes of one file into another, as fast as the kernel can: a shared extent, a copy inside the
 * kernel, or reads and writes where neither works. */
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "copy.h"

#define SLICE ((uint64_t)8 << 20) /* between two looks at the cancel flag */
#define BUFFER ((size_t)256 << 10)

struct transfer {
  struct lum_work *work;
  int from, to;
  bool plain; /* the kernel's copy does not work between these two */
  char *buf;
};

static bool unsupported(int errnum) {
  return errnum == EXDEV || errnum == ENOSYS || errnum == EINVAL || errnum == EOPNOTSUPP ||
         errnum == EPERM;
}

/* One step of at most len bytes; *done is 0 at the end of the source. */
static int copy_plain(struct transfer *t, off_t offset, size_t len, size_t *done) {
  if (!t->buf)
    t->buf = malloc(BUFFER);
  if (!t->buf)
    return ENOMEM;
  ssize_t n = lum_fs_pread_all(t->from, t->buf, len < BUFFER ? len : BUFFER, offset);
  if (n < 0)
    return errno;
  *done = (size_t)n;
  return lum_fs_pwrite_all(t->to, t->buf, (size_t)n, offset);
}

static int copy_step(struct transfer *t, off_t offset, size_t len, size_t *done) {
  if (t->plain)
    return copy_plain(t, offset, len, done);
  off_t in = offset, out = offset;
  ssize_t n = copy_file_range(t->from, &in, t->to, &out, len, 0);
  if (n > 0) {
    *done = (size_t)n;
    return 0;
  }
  if (n < 0 && errno == EINTR) {
    *done = 0;
    return EINTR;
  }
  if (n < 0 && !unsupported(errno))
    return errno;
  t->plain =
      true; /* some kernels answer 0 where they cannot, so an empty answer is checked by reading */
  return copy_plain(t, offset, len, done);
}

static int copy_range(struct transfer *t, uint64_t offset, uint64_t end) {
  while (offset < end) {
    if (t->work && lum_work_cancelled(t->work))
      return ECANCELED;
    size_t done = 0, len = (size_t)(end - offset < SLICE ? end - offset : SLICE);
    int rc = copy_step(t, (off_t)offset, len, &done);
    if (rc == EINTR)
      continue;
    if (rc != 0)
      return rc;
    if (done == 0)
      return 0; /* the source became shorter */
    offset += done;
    if (t->work)
      atomic_fetch_add(&t->work->progress, done);
  }
  return 0;
}

/* Only the parts that hold data; the rest stays a hole. */
static int copy_sparse(struct transfer *t, uint64_t size) {
  uint64_t offset = 0;
  while (offset < size) {
    off_t data = lseek(t->from, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
      break;
    if (data < 0)
      return copy_range(t, offset, size);
    off_t hole = lseek(t->from, data, SEEK_HOLE);
    uint64_t end = hole < 0 || (uint64_t)hole > size ? size : (uint64_t)hole;
    int rc = copy_range(t, (uint64_t)data, end);
    if (rc != 0)
      return rc;
    offset = end;
  }
  return ftruncate(t->to, (off_t)size) == 0 ? 0 : errno;
}

int lum_copy_bytes(struct lum_work *work, int from, int to, uint64_t size) {
  struct stat st;
  if (size == 0)
    return 0;
  if (ioctl(to, FICLONE, from) == 0) {
    if (work)
      atomic_fetch_add(&work->progress, size);
    return 0;
  }
  struct transfer t = {work, from, to, false, NULL};
  bool sparse = fstat(from, &st) == 0 && (uint64_t)st.st_blocks * 512 < size;
  int rc = sparse ? copy_sparse(&t, size) : copy_range(&t, 0, size);
  free(t.buf);
  return rc;
}
