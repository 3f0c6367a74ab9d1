/* Jobs on folders: list one, remove a tree, move. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy.h"
#include "fs_jobs.h"
#include "fs_walk.h"

static struct lum_fs_job *job_of(struct lum_work *work) {
  return (struct lum_fs_job *)work; /* first member */
}

/* ---- ls ---- */

/* The content of a small file. One that cannot be read has none: whoever wants it learns why when
 * reading it alone. */
static void read_entry(struct lum_fs_job *job, struct lum_fs_entry *entry, int dir) {
  struct stat st;
  struct lum_err ignored;
  if (job->args.each == 0)
    return;
  int fd = lum_fs_open_read(dir, entry->name, O_NOFOLLOW, &st, &ignored);
  if (fd < 0)
    return;
  uint64_t size = (uint64_t)st.st_size;
  if (size <= job->args.each && job->count + size <= LUM_FS_LS_READ_MAX)
    entry->bytes = malloc((size_t)size + 1);
  if (entry->bytes && lum_fs_pread_all(fd, entry->bytes, (size_t)size, 0) == (ssize_t)size) {
    entry->len = (size_t)size;
    job->count += size; /* bytes of all of them */
  } else {
    free(entry->bytes);
    entry->bytes = NULL;
  }
  close(fd);
}

static bool add_entry(struct lum_fs_job *job, int fd, const char *name) {
  struct stat st;
  if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ||
           lum_fs_fail(&job->work.result_err, errno, "stat", name); /* gone meanwhile */
  struct lum_fs_entry *entry = &job->entries[job->entry_count];
  memset(entry, 0, sizeof *entry);
  entry->name = strdup(name);
  if (!entry->name)
    return lum_fs_fail(&job->work.result_err, ENOMEM, "list", job->args.path);
  job->entry_count++;
  if (S_ISREG(st.st_mode))
    read_entry(job, entry, fd);
  return lum_fs_fill_stat(&entry->stat, &st, fd, name, &job->work.result_err);
}

static void fill_entries(struct lum_fs_job *job, int fd, const char *names, const size_t *index,
                         size_t count) {
  job->entries = malloc((count + 1) * sizeof *job->entries);
  if (!job->entries) {
    lum_fs_fail(&job->work.result_err, ENOMEM, "list", job->args.path);
    return;
  }
  for (size_t i = 0; i < count && !lum_work_cancelled(&job->work); i++) {
    if (!add_entry(job, fd, names + index[i]))
      return;
  }
}

void lum_fs_run_ls(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  int fd = open(job->args.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    lum_fs_fail(&work->result_err, errno, "list", job->args.path);
    return;
  }
  char *names = NULL;
  size_t *index = NULL, count = 0;
  int rc = lum_walk_list(fd, (size_t)job->args.max, &names, &index, &count);
  char shown[LUM_SHOWN];
  if (rc == EOVERFLOW)
    lum_err_set(&work->result_err, LUM_QUOTA,
                "list %s: more than %" PRIu64 " entries (max_entries)",
                lum_fs_show(shown, job->args.path), job->args.max);
  else if (rc != 0)
    lum_fs_fail(&work->result_err, rc, "list", job->args.path);
  else
    fill_entries(job, fd, names, index, count);
  free(names);
  free(index);
  close(fd);
}

/* ---- remove ---- */

struct remover {
  struct lum_work *work;
  struct lum_err *err;
  struct lum_walk walk;
  const char *root;
  dev_t dev;
};

static bool remove_fail(struct remover *r, int errnum, const char *name) {
  char shown[LUM_SHOWN];
  const char *rel = name && r->walk.depth > 0 ? lum_walk_path(&r->walk, name) : r->walk.path;
  if (rel && rel[0] != '\0') {
    char full[LUM_SHOWN * 2];
    snprintf(full, sizeof full, "%.*s/%s", LUM_SHOWN, r->root, rel);
    return lum_err_sys(r->err, errnum, "remove %s", lum_fs_show(shown, full));
  }
  return lum_fs_fail(r->err, errnum, "remove", r->root);
}

static void count_removed(struct remover *r) {
  if (r->work)
    atomic_fetch_add(&r->work->progress, 1);
}

/* Removes what is no folder, or steps into a folder. */
static bool remove_name(struct remover *r, const char *name) {
  int at = lum_walk_top(&r->walk)->fd;
  if (unlinkat(at, name, 0) == 0) {
    count_removed(r);
    return true;
  }
  int unlink_errno = errno;
  if (unlink_errno == ENOENT)
    return true;
  struct stat st;
  if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT || remove_fail(r, errno, name);
  if (!S_ISDIR(st.st_mode))
    return remove_fail(r, unlink_errno, name);
  if (st.st_dev != r->dev)
    return remove_fail(r, EBUSY, name); /* something is mounted here: not ours to empty */
  int rc = lum_walk_enter(&r->walk, name);
  return rc == 0 || remove_fail(r, rc, name);
}

/* The folder on top has no more names: goes up and removes it there. */
static bool remove_left_dir(struct remover *r, int at_root, const char *root_name) {
  char *name = NULL;
  if (r->walk.depth > 1) {
    const char *slash = strrchr(r->walk.path, '/');
    name = strdup(slash ? slash + 1 : r->walk.path);
    if (!name)
      return remove_fail(r, ENOMEM, NULL);
  }
  int rc = lum_walk_leave(&r->walk);
  if (rc != 0) {
    free(name);
    return remove_fail(r, rc, NULL);
  }
  int at = name ? lum_walk_top(&r->walk)->fd : at_root;
  bool ok = unlinkat(at, name ? name : root_name, AT_REMOVEDIR) == 0;
  if (ok)
    count_removed(r);
  else if (errno == ENOTEMPTY &&
           name) /* filled again behind our back: once more from the top of the parent */
    ok = lum_walk_enter(&r->walk, name) == 0 || remove_fail(r, ENOTEMPTY, name);
  else
    remove_fail(r, errno, name);
  free(name);
  return ok;
}

static bool remove_dir(struct remover *r, int at, const char *name) {
  int rc = lum_walk_open(&r->walk, at, name, false);
  if (rc != 0)
    return remove_fail(r, rc, NULL);
  r->dev = lum_walk_top(&r->walk)->dev;
  for (;;) {
    if (r->work && lum_work_cancelled(r->work))
      return false;
    const char *next;
    rc = lum_walk_next(&r->walk, &next);
    if (rc != 0)
      return remove_fail(r, rc, NULL);
    if (next ? !remove_name(r, next) : !remove_left_dir(r, at, name))
      return false;
    if (r->walk.depth == 0)
      return true;
  }
}

bool lum_fs_remove_tree(struct lum_work *work, int at, const char *path, struct lum_err *err) {
  struct remover r = {.work = work, .err = err, .root = path, .walk = {.force = true}};
  if (unlinkat(at, path, 0) == 0) {
    count_removed(&r);
    return true;
  }
  struct stat st;
  int saved = errno;
  if (fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
    return lum_fs_fail(err, saved, "remove", path);
  bool ok = remove_dir(&r, at, path);
  lum_walk_close(&r.walk);
  return ok;
}

/* The path without trailing slashes: "link/" would mean what the link points to. NULL with err
 * filled. */
static char *removable(const char *path, struct lum_err *err) {
  char *dir;
  char *name = lum_fs_split(path, &dir);
  free(dir);
  bool silly = name && (name[0] == '\0' || strcmp(name, "/") == 0 || strcmp(name, ".") == 0 ||
                        strcmp(name, "..") == 0);
  free(name);
  if (silly) {
    char shown[LUM_SHOWN];
    lum_err_set(err, LUM_INVALID, "remove %s: the path does not end in a name",
                lum_fs_show(shown, path));
    return NULL;
  }
  char *copy = strdup(path);
  if (!copy) {
    lum_fs_fail(err, ENOMEM, "remove", path);
    return NULL;
  }
  for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
    copy[len - 1] = '\0';
  return copy;
}

void lum_fs_run_remove(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  struct lum_err *err = &work->result_err;
  char *path = removable(job->args.path, err);
  if (!path)
    return;
  if (job->args.recursive)
    lum_fs_remove_tree(work, AT_FDCWD, path, err);
  else if (unlink(path) != 0 && ((errno != EISDIR && errno != EPERM) || rmdir(path) != 0))
    lum_fs_fail(err, errno, "remove", path);
  else
    atomic_store(&work->progress, 1);
  job->count = atomic_load(&work->progress);
  free(path);
}

/* ---- move ---- */

/* To another file system: a complete copy beside the target, then a rename, and only then the
 * source goes. */
static bool move_across(struct lum_fs_job *job, const char *from) {
  struct lum_work *work = &job->work;
  struct lum_err *err = &work->result_err;
  const char *to = job->args.other;
  char *dir, temp[LUM_TEMP_NAME];
  char *name = lum_fs_split(to, &dir);
  char *beside = name ? malloc(strlen(dir) + LUM_TEMP_NAME + 1) : NULL;
  if (!beside) {
    free(name);
    free(dir);
    return lum_fs_fail(err, ENOMEM, "move", from);
  }
  sprintf(beside, "%s/%s", dir, lum_fs_temp_name(temp, ".luarium-move-"));
  struct lum_copy_result result = {0};
  bool ok = lum_copy_tree(work, from, beside, &(struct lum_copy_opts){0}, &result, err);
  if (ok && result.skipped_count > 0)
    ok = lum_err_set(err, LUM_UNSUPPORTED,
                     "move %s: it holds a %s, which cannot go to another file system",
                     result.skipped[0].path, result.skipped[0].reason);
  if (ok && rename(beside, to) != 0)
    ok = lum_fs_fail(err, errno, "move to", to);
  struct lum_err ignored;
  if (!ok)
    lum_fs_remove_tree(work, AT_FDCWD, beside, &ignored);
  else
    ok = lum_fs_remove_tree(work, AT_FDCWD, from, err);
  lum_copy_result_clear(&result);
  free(beside);
  free(name);
  free(dir);
  return ok;
}

void lum_fs_run_move(struct lum_work *work) {
  struct lum_fs_job *job = job_of(work);
  const char *to = job->args.other;
  char shown_to[LUM_SHOWN];
  struct stat st;
  if (lstat(to, &st) == 0 && S_ISDIR(st.st_mode)) { /* rename(2) would replace an empty one */
    lum_err_set(&work->result_err, LUM_CONFLICT, "move to %s: a folder is there",
                lum_fs_show(shown_to, to));
    return;
  }
  if (rename(job->args.path, to) == 0)
    return;
  if (errno == ENOTDIR && lstat(to, &st) == 0) {
    lum_err_set(&work->result_err, LUM_CONFLICT,
                "move to %s: a file is there, what is moved is a folder",
                lum_fs_show(shown_to, to));
    return;
  }
  if (errno != EXDEV) {
    char shown[LUM_SHOWN];
    lum_err_sys(&work->result_err, errno, "move %.200s to %.200s",
                lum_fs_show(shown, job->args.path), lum_fs_show(shown_to, to));
    return;
  }
  char *from = removable(job->args.path, &work->result_err);
  if (from)
    move_across(job, from);
  free(from);
}
