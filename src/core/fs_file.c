/* Whole files: read, write, hash. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto.h"
#include "fs_jobs.h"

#define SLICE ((size_t)8 << 20) /* between two looks at the cancel flag */

static struct lum_fs_job *job_of(struct lum_work *work) {
  return (struct lum_fs_job *)work; /* first member */
}

/* ---- read ---- */

static void too_big(struct lum_fs_job *job, uint64_t size) {
  char shown[LUM_SHOWN];
  lum_err_set(&job->work.result_err, LUM_QUOTA,
              "read %s: the file is %" PRIu64 " bytes, the limit is %" PRIu64,
              lum_fs_show(shown, job->args.path), size, job->args.max);
}

static bool read_slice(struct lum_fs_job *job, int fd, size_t cap) {
  size_t want = cap - job->text_len < SLICE ? cap - job->text_len : SLICE;
  ssize_t n = lum_fs_pread_all(fd, job->text + job->text_len, want,
                               (off_t)(job->args.offset + job->text_len));
  if (n < 0)
    return lum_fs_fail(&job->work.result_err, errno, "read", job->args.path);
  job->text_len += (size_t)n;
  atomic_store(&job->work.progress, job->text_len);
  return (size_t)n == want;
}

/* Reads to the end or to `length`; files of /proc say that they are empty, so the end is where
 * reads say it is. */
static void read_into(struct lum_fs_job *job, int fd, uint64_t expected) {
  const struct lum_fs_args *args = &job->args;
  uint64_t ceiling = args->length < args->max ? args->length : args->max + 1;
  size_t cap = (size_t)(expected < ceiling ? expected + 1 : ceiling);
  while (!lum_work_cancelled(&job->work)) {
    char *text = realloc(job->text, cap + 1);
    if (!text) {
      lum_fs_fail(&job->work.result_err, ENOMEM, "read", args->path);
      return;
    }
    job->text = text;
    while (job->text_len < cap) {
      if (lum_work_cancelled(&job->work))
        return;
      if (!read_slice(job, fd, cap))
        break;
    }
    if (job->text_len < cap || cap >= ceiling || job->work.result_err.kind != LUM_OK)
      break;
    cap = (size_t)(cap < ceiling / 2 ? (cap < 4096 ? 8192 : cap * 2) : ceiling);
    if (cap > ceiling)
      cap = (size_t)ceiling;
  }
  if (job->work.result_err.kind == LUM_OK && job->text_len > args->max)
    too_big(job, job->args.offset + job->text_len);
}

void lum_fs_run_read(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  struct stat st;
  int fd = lum_fs_open_read(AT_FDCWD, job->args.path, 0, &st, &work->result_err);
  if (fd < 0)
    return;
  uint64_t size = (uint64_t)st.st_size;
  uint64_t expected = size > job->args.offset ? size - job->args.offset : 0;
  if (expected > job->args.length)
    expected = job->args.length;
  atomic_store(&work->total, expected);
  if (expected > job->args.max)
    too_big(job, size);
  else
    read_into(job, fd, expected);
  close(fd);
}

/* ---- write ---- */

static bool write_fail(struct lum_fs_job *job, int errnum) {
  return lum_fs_fail(&job->work.result_err, errnum, "write", job->args.path);
}

static bool write_bytes(struct lum_fs_job *job, int fd) {
  const struct lum_fs_args *args = &job->args;
  atomic_store(&job->work.total, args->len);
  for (size_t at = 0; at < args->len; at += SLICE) {
    if (lum_work_cancelled(&job->work))
      return false;
    size_t len = args->len - at < SLICE ? args->len - at : SLICE;
    int rc = lum_fs_write_all(fd, args->bytes + at, len);
    if (rc != 0)
      return write_fail(job, rc);
    atomic_store(&job->work.progress, at + len);
  }
  if (args->fsync && fsync(fd) != 0)
    return write_fail(job, errno);
  return true;
}

static void write_in_place(struct lum_fs_job *job) {
  struct lum_err *err = &job->work.result_err;
  int fd = lum_fs_open_write(job->args.path, job->args.mode, job->args.append, err);
  if (fd < 0)
    return;
  write_bytes(job, fd);
  if (close(fd) != 0 && err->kind == LUM_OK)
    write_fail(job, errno);
}

static void write_atomic(struct lum_fs_job *job) {
  struct lum_fs_atomic atomic;
  struct lum_err *err = &job->work.result_err;
  if (!lum_fs_atomic_open(&atomic, job->args.path, job->args.mode, err))
    return;
  if (write_bytes(job, atomic.fd))
    lum_fs_atomic_commit(&atomic, job->args.fsync, err);
  lum_fs_atomic_close(&atomic);
}

static bool make_parents(struct lum_fs_job *job) {
  char *dir;
  char *name = lum_fs_split(job->args.path, &dir);
  int rc = name ? lum_fs_make_dirs(dir, 0777) : ENOMEM;
  free(name);
  free(dir);
  return rc == 0 || lum_fs_fail(&job->work.result_err, rc, "make the folder of", job->args.path);
}

void lum_fs_run_write(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  if (job->args.recursive && !make_parents(job))
    return;
  if (job->args.atomic)
    write_atomic(job);
  else
    write_in_place(job);
}

/* ---- hash ---- */

void lum_fs_run_hash(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  struct stat st;
  int fd = lum_fs_open_read(AT_FDCWD, job->args.path, 0, &st, &work->result_err);
  if (fd < 0)
    return;
  const size_t chunk = (size_t)1 << 20;
  char *buf = malloc(chunk);
  job->text = malloc(LUM_HASH_HEX);
  struct lum_hasher *hasher = lum_hasher_new(job->args.other);
  ssize_t n = buf && job->text && hasher ? 1 : 0;
  if (n == 0)
    lum_fs_fail(&work->result_err, ENOMEM, "hash", job->args.path);
  atomic_store(&work->total, (uint64_t)st.st_size);
  for (off_t at = 0; n > 0 && !lum_work_cancelled(work); at += n) {
    n = lum_fs_pread_all(fd, buf, chunk, at);
    if (n < 0)
      lum_fs_fail(&work->result_err, errno, "read", job->args.path);
    else
      lum_hasher_update(hasher, buf, (size_t)n);
    atomic_store(&work->progress, (uint64_t)at + (uint64_t)(n > 0 ? n : 0));
  }
  if (work->result_err.kind == LUM_OK)
    job->text_len = lum_hasher_hex(hasher, job->text);
  lum_hasher_free(hasher);
  free(buf);
  close(fd);
}
