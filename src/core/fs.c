/* The table of file jobs and those that are a system call or two. */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs_jobs.h"

static struct lum_fs_job *job_of(struct lum_work *work) {
  return (struct lum_fs_job *)work; /* first member */
}

static void fail(struct lum_work *work, const char *verb, const char *path) {
  lum_fs_fail(&work->result_err, errno, verb, path);
}

/* ---- one entry ---- */

bool lum_fs_fill_stat(struct lum_fs_stat *out, const struct stat *st, int at, const char *name,
                      struct lum_err *err) {
  out->mode = st->st_mode;
  out->size = (uint64_t)st->st_size;
  out->dev = (uint64_t)st->st_dev;
  out->ino = (uint64_t)st->st_ino;
  out->uid = st->st_uid;
  out->gid = st->st_gid;
  out->mtime = (double)st->st_mtim.tv_sec + (double)st->st_mtim.tv_nsec / 1e9;
  if (!S_ISLNK(st->st_mode))
    return true;
  out->target = lum_fs_readlink(at, name);
  return out->target || lum_fs_fail(err, errno, "read the link", name);
}

static void run_stat(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  const char *path = job->args.path;
  struct stat st;
  if (fstatat(AT_FDCWD, path, &st, job->args.follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0)
    fail(work, "stat", path);
  else
    lum_fs_fill_stat(&job->stat, &st, AT_FDCWD, path, &work->result_err);
}

static void run_readlink(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  job->text = lum_fs_readlink(AT_FDCWD, job->args.path);
  if (job->text)
    job->text_len = strlen(job->text);
  else
    fail(work, "read the link", job->args.path);
}

static void run_realpath(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  job->text = realpath(job->args.path, NULL);
  if (job->text)
    job->text_len = strlen(job->text);
  else
    fail(work, "resolve", job->args.path);
}

static void run_chmod(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  if (chmod(job->args.path, (mode_t)job->args.mode) != 0)
    fail(work, "chmod", job->args.path);
}

static void run_symlink(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  if (symlink(job->args.other, job->args.path) != 0)
    fail(work, "make the link", job->args.path);
}

static void run_touch(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  const struct lum_fs_args *args = &job->args;
  struct timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  if (args->mtime >= 0) {
    double whole = floor(args->mtime);
    times[0] = times[1] = (struct timespec){(time_t)whole, (long)((args->mtime - whole) * 1e9)};
  }
  if (utimensat(AT_FDCWD, args->path, times, 0) == 0)
    return;
  if (errno != ENOENT) {
    fail(work, "touch", args->path);
    return;
  }
  int fd = open(args->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                args->mode >= 0 ? (mode_t)args->mode : 0644);
  if (fd < 0 || futimens(fd, times) != 0)
    fail(work, "touch", args->path);
  if (fd >= 0)
    close(fd);
}

/* ---- folders ---- */

static int make_dir(const char *path, mode_t mode) {
  if (mkdir(path, mode) == 0)
    return 0;
  int saved = errno;
  struct stat st;
  if (saved == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
    return 0;
  return saved;
}

int lum_fs_make_dirs(const char *path, mode_t mode) {
  int rc = make_dir(path, mode);
  if (rc != ENOENT)
    return rc;
  char *copy = strdup(path);
  if (!copy)
    return ENOMEM;
  rc = 0;
  for (char *s = copy + 1; rc == 0 && *s; s++) {
    if (*s != '/')
      continue;
    *s = '\0';
    rc = make_dir(copy, 0777);
    *s = '/';
  }
  free(copy);
  return rc != 0 ? rc : make_dir(path, mode);
}

static void run_mkdir(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  const struct lum_fs_args *args = &job->args;
  mode_t mode = args->mode >= 0 ? (mode_t)args->mode : 0755;
  struct stat st;
  bool existed = args->recursive && stat(args->path, &st) == 0;
  int rc;
  if (args->recursive)
    rc = lum_fs_make_dirs(args->path, mode);
  else
    rc = mkdir(args->path, mode) == 0 ? 0 : errno;
  /* A mode that was asked for is exact, whatever the umask. */
  if (rc == 0 && args->mode >= 0 && !existed && chmod(args->path, mode) != 0)
    rc = errno;
  if (rc != 0)
    lum_fs_fail(&work->result_err, rc, "mkdir", args->path);
}

static void run_mkdtemp(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  size_t len = strlen(job->args.path);
  char *path = malloc(len + 7);
  if (!path) {
    lum_fs_fail(&work->result_err, ENOMEM, "mkdtemp", job->args.path);
    return;
  }
  memcpy(path, job->args.path, len);
  memcpy(path + len, "XXXXXX", 7);
  if (mkdtemp(path)) {
    job->text = path;
    job->text_len = len + 6;
    return;
  }
  fail(work, "mkdtemp", job->args.path);
  free(path);
}

/* ---- the table ---- */

static void release(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  free((char *)job->args.path);
  free((char *)job->args.other);
  free((char *)job->args.bytes);
  free(job->text);
  free(job->stat.target);
  for (size_t i = 0; i < job->entry_count; i++) {
    free(job->entries[i].name);
    free(job->entries[i].stat.target);
    free(job->entries[i].bytes);
  }
  free(job->entries);
}

void lum_fs_forget_text(struct lum_fs_job *job) {
  free(job->text);
  job->text = NULL;
}

#define JOB(verb, label, fn)                                                                       \
  [verb] = {{label, lum_work_op_cancel, lum_work_op_free}, fn, release, NULL}

static const struct lum_work_type types[LUM_FS_VERB_COUNT] = {
    JOB(LUM_FS_READ, "fs.read_file", lum_fs_run_read),
    JOB(LUM_FS_WRITE, "fs.write_file", lum_fs_run_write),
    JOB(LUM_FS_STAT, "fs.stat", run_stat),
    JOB(LUM_FS_LS, "fs.ls", lum_fs_run_ls),
    JOB(LUM_FS_MKDIR, "fs.mkdir", run_mkdir),
    JOB(LUM_FS_REMOVE, "fs.remove", lum_fs_run_remove),
    JOB(LUM_FS_MOVE, "fs.move", lum_fs_run_move),
    JOB(LUM_FS_CHMOD, "fs.chmod", run_chmod),
    JOB(LUM_FS_SYMLINK, "fs.symlink", run_symlink),
    JOB(LUM_FS_READLINK, "fs.readlink", run_readlink),
    JOB(LUM_FS_REALPATH, "fs.realpath", run_realpath),
    JOB(LUM_FS_MKDTEMP, "fs.mkdtemp", run_mkdtemp),
    JOB(LUM_FS_TOUCH, "fs.touch", run_touch),
    JOB(LUM_FS_HASH, "crypto.hash_file", lum_fs_run_hash),
};

static bool copy_args(struct lum_fs_job *job, const struct lum_fs_args *args) {
  job->args = *args;
  job->args.path = strdup(args->path);
  job->args.other = args->other ? strdup(args->other) : NULL;
  char *bytes = args->bytes ? malloc(args->len + 1) : NULL;
  job->args.bytes = bytes;
  if (!job->args.path || (args->other && !job->args.other) || (args->bytes && !bytes))
    return false;
  if (bytes)
    memcpy(bytes, args->bytes, args->len);
  return true;
}

struct lum_op *lum_fs_start(struct lum_engine *eng, enum lum_fs_verb verb,
                            const struct lum_fs_args *args) {
  struct lum_work *work = lum_work_new(eng, &types[verb], sizeof(struct lum_fs_job));
  if (!work)
    return NULL;
  if (!copy_args(job_of(work), args)) {
    lum_op_unref(&work->op);
    return NULL;
  }
  lum_work_start(work);
  return &work->op;
}
