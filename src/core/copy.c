#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs_walk.h"

struct copier {
  struct lum_work *work;
  const struct lum_copy_opts *opts;
  struct lum_copy_result *result;
  struct lum_err *err;
  const char *from, *to;
  struct lum_walk src, dst;
};

/* Where an entry is and where it goes. */
struct place {
  int src, dst;
  const char *name;     /* in src */
  const char *dst_name; /* in dst */
  const char *path;     /* from the root, for messages; "" for the root itself */
  size_t depth;         /* of the folder it is in, below the root */
};

static bool fail(struct copier *c, int errnum, const char *verb, const char *base,
                 const char *path) {
  if (errnum == ECANCELED && lum_work_cancelled(c->work)) {
    *c->err = c->work->result_err;
    return false;
  }
  char full[LUM_SHOWN * 2], shown[LUM_SHOWN];
  snprintf(full, sizeof full, "%.*s%s%s", LUM_SHOWN, base, path[0] ? "/" : "", path);
  return lum_err_sys(c->err, errnum, "%s %s", verb, lum_fs_show(shown, full));
}

static bool conflict(struct copier *c, const char *what, const char *path) {
  char full[LUM_SHOWN * 2], shown[LUM_SHOWN];
  snprintf(full, sizeof full, "%.*s%s%s", LUM_SHOWN, c->to, path[0] ? "/" : "", path);
  return lum_err_set(c->err, LUM_CONFLICT, "copy to %s: %s", lum_fs_show(shown, full), what);
}

static bool skip(struct copier *c, const char *path, const char *reason) {
  uint64_t n = c->result->skipped_count++;
  if (n >= LUM_COPY_SKIPPED)
    return true;
  c->result->skipped[n].reason = reason;
  c->result->skipped[n].path = strdup(path[0] ? path : c->from);
  return c->result->skipped[n].path || fail(c, ENOMEM, "copy", c->from, path);
}

void lum_copy_result_clear(struct lum_copy_result *result) {
  for (size_t i = 0; i < LUM_COPY_SKIPPED; i++)
    free(result->skipped[i].path);
  memset(result, 0, sizeof *result);
}

/* ---- files and links: made under their own name, or beside what is there and then moved over it
 * ---- */

/* Decides the name to make: 0 and temp set when something is there already. */
static bool pick_name(struct copier *c, const struct place *p, char temp[static LUM_TEMP_NAME],
                      const char **name) {
  struct stat st;
  *name = p->dst_name;
  if (fstatat(p->dst, p->dst_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT || fail(c, errno, "copy to", c->to, p->path);
  if (S_ISDIR(st.st_mode))
    return conflict(c, "there is a folder", p->path);
  *name = lum_fs_temp_name(temp, ".luarium-copy-");
  return true;
}

static bool settle(struct copier *c, const struct place *p, const char *name) {
  if (name == p->dst_name || renameat(p->dst, name, p->dst, p->dst_name) == 0)
    return true;
  int saved = errno;
  unlinkat(p->dst, name, 0);
  return fail(c, saved, "copy to", c->to, p->path);
}

static int fill_file(struct copier *c, int from, int to, const struct stat *st) {
  int rc = lum_copy_bytes(c->work, from, to, (uint64_t)st->st_size);
  if (rc == 0 && fchmod(to, st->st_mode & 0777) != 0)
    rc = errno;
  const struct timespec times[2] = {st->st_atim, st->st_mtim};
  if (rc == 0 && futimens(to, times) != 0)
    rc = errno;
  return rc;
}

static bool copy_open_file(struct copier *c, const struct place *p, int from,
                           const struct stat *st) {
  char temp[LUM_TEMP_NAME];
  const char *name;
  if (!pick_name(c, p, temp, &name))
    return false;
  int to = openat(p->dst, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (to < 0)
    return fail(c, errno, "copy to", c->to, p->path);
  int rc = fill_file(c, from, to, st);
  if (close(to) != 0 && rc == 0)
    rc = errno;
  if (rc != 0) {
    unlinkat(p->dst, name, 0);
    return fail(c, rc, "copy to", c->to, p->path);
  }
  c->result->files++;
  c->result->bytes += (uint64_t)st->st_size;
  return settle(c, p, name);
}

static bool copy_file(struct copier *c, const struct place *p) {
  struct stat st;
  int from = lum_fs_open_read(p->src, p->name, O_NOFOLLOW, &st, c->err);
  if (from < 0)
    return c->err->code == 0 ? false : fail(c, c->err->code, "copy", c->from, p->path);
  if (p->path[0] == '\0')
    atomic_store(&c->work->total, (uint64_t)st.st_size);
  bool ok = copy_open_file(c, p, from, &st);
  close(from);
  return ok;
}

static bool make_link(struct copier *c, const struct place *p, const char *target,
                      const struct stat *st) {
  char temp[LUM_TEMP_NAME];
  const char *name;
  if (c->opts->refuse_outside && !lum_fs_link_inside(target, p->depth))
    return skip(c, p->path, "link leads outside");
  if (!pick_name(c, p, temp, &name))
    return false;
  if (symlinkat(target, p->dst, name) != 0)
    return fail(c, errno, "make the link", c->to, p->path);
  const struct timespec times[2] = {st->st_atim, st->st_mtim};
  utimensat(p->dst, name, times,
            AT_SYMLINK_NOFOLLOW); /* not every file system can; a link's time matters little */
  c->result->links++;
  return settle(c, p, name);
}

static bool copy_link(struct copier *c, const struct place *p, const struct stat *st) {
  char *target = lum_fs_readlink(p->src, p->name);
  if (!target)
    return fail(c, errno, "read the link", c->from, p->path);
  bool ok = make_link(c, p, target, st);
  free(target);
  return ok;
}

/* ---- folders ---- */

static bool enter_dir(struct copier *c, const struct place *p) {
  bool made = mkdirat(p->dst, p->dst_name, 0700) == 0;
  if (!made && errno != EEXIST)
    return fail(c, errno, "make the folder", c->to, p->path);
  int rc = lum_walk_enter(&c->dst, p->dst_name);
  if (rc == ENOTDIR || rc == ELOOP)
    return conflict(c, "not a folder", p->path);
  if (rc != 0)
    return fail(c, rc, "open the folder", c->to, p->path);
  lum_walk_top(&c->dst)->mark = made;
  c->result->dirs++;
  rc =
      lum_walk_enter(&c->src, p->name); /* p->path is the walk's own: not to be used from here on */
  return rc == 0 || fail(c, rc, "read the folder", c->from, c->dst.path);
}

static bool copy_entry(struct copier *c, const struct place *p) {
  struct stat st;
  if (fstatat(p->src, p->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(c, errno, "copy", c->from, p->path);
  if (S_ISREG(st.st_mode))
    return copy_file(c, p);
  if (S_ISLNK(st.st_mode))
    return copy_link(c, p, &st);
  if (S_ISDIR(st.st_mode))
    return enter_dir(c, p);
  return skip(c, p->path, lum_fs_type(st.st_mode));
}

/* The folder is complete: gives a folder that we made its rights and time, and goes up on both
 * sides. */
static bool leave_dir(struct copier *c) {
  struct lum_walk_dir *dst = lum_walk_top(&c->dst);
  struct stat st;
  int rc = 0;
  if (dst->mark) {
    if (fstat(lum_walk_top(&c->src)->fd, &st) != 0 || fchmod(dst->fd, st.st_mode & 0777) != 0) {
      rc = errno;
    } else {
      const struct timespec times[2] = {st.st_atim, st.st_mtim};
      rc = futimens(dst->fd, times) == 0 ? 0 : errno;
    }
  }
  if (rc == 0)
    rc = lum_walk_leave(&c->dst);
  if (rc == 0)
    rc = lum_walk_leave(&c->src);
  return rc == 0 || fail(c, rc, "leave the folder", c->to, c->dst.path ? c->dst.path : "");
}

static bool copy_next(struct copier *c) {
  const char *name;
  int rc = lum_walk_next(&c->src, &name);
  if (rc != 0)
    return fail(c, rc, "read the folder", c->from, c->src.path);
  if (!name)
    return leave_dir(c);
  const char *path = lum_walk_path(&c->src, name);
  if (!path)
    return fail(c, ENOMEM, "copy", c->from, "");
  if (lum_fs_excluded(c->opts->exclude, c->opts->exclude_count, path))
    return true;
  struct place p = {lum_walk_top(&c->src)->fd, lum_walk_top(&c->dst)->fd, name, name, path,
                    c->src.depth - 1};
  return copy_entry(c, &p);
}

static bool copy_all(struct copier *c) {
  while (c->src.depth > 0) {
    if (lum_work_cancelled(c->work))
      return fail(c, ECANCELED, "copy", c->from, "");
    if (!copy_next(c))
      return false;
  }
  return true;
}

/* Whether the folder at fd is, or lies in, the source. */
static bool inside_source(struct copier *c, int fd) {
  const struct lum_walk_dir *src = lum_walk_top(&c->src);
  int at = dup(fd);
  bool inside = false;
  dev_t dev = 0;
  ino_t ino = 0;
  while (at >= 0) {
    struct stat st;
    bool ok = fstat(at, &st) == 0;
    inside = ok && st.st_dev == src->dev && st.st_ino == src->ino;
    if (!ok || inside || (st.st_dev == dev && st.st_ino == ino)) /* "/" is its own parent */
      break;
    dev = st.st_dev;
    ino = st.st_ino;
    int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
    close(at);
    at = up;
  }
  if (at >= 0)
    close(at);
  return inside;
}

static bool open_roots(struct copier *c, int dst_dir, const char *dst_name) {
  int rc = lum_walk_open(&c->src, AT_FDCWD, c->from, false);
  if (rc != 0)
    return fail(c, rc, "read the folder", c->from, "");
  if (inside_source(c, dst_dir))
    return conflict(c, "it lies inside what is to be copied", "");
  bool made = mkdirat(dst_dir, dst_name, 0700) == 0;
  if (!made && errno != EEXIST)
    return fail(c, errno, "make the folder", c->to, "");
  rc = lum_walk_open(&c->dst, dst_dir, dst_name, true);
  if (rc == ENOTDIR)
    return conflict(c, "not a folder", "");
  if (rc != 0)
    return fail(c, rc, "open the folder", c->to, "");
  if (inside_source(c, lum_walk_top(&c->dst)->fd))
    return conflict(c, "it is what is to be copied, or lies inside", "");
  lum_walk_top(&c->dst)->mark = made;
  c->result->dirs++;
  return true;
}

static bool copy_from(struct copier *c, int dst_dir, const char *dst_name) {
  struct stat st;
  if (fstatat(AT_FDCWD, c->from, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(c, errno, "copy", c->from, "");
  if (!S_ISDIR(st.st_mode)) {
    struct place p = {AT_FDCWD, dst_dir, c->from, dst_name, "", 0};
    return copy_entry(c, &p);
  }
  bool ok = open_roots(c, dst_dir, dst_name) && copy_all(c);
  lum_walk_close(&c->src);
  lum_walk_close(&c->dst);
  return ok;
}

bool lum_copy_tree(struct lum_work *work, const char *from, const char *to,
                   const struct lum_copy_opts *opts, struct lum_copy_result *result,
                   struct lum_err *err) {
  struct copier c = {
      .work = work, .opts = opts, .result = result, .err = err, .from = from, .to = to};
  char *dir;
  char *name = lum_fs_split(to, &dir);
  bool ok = false;
  int fd = name ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (!name)
    lum_fs_fail(err, ENOMEM, "copy to", to);
  else if (fd < 0)
    lum_fs_fail(err, errno, "copy to", to);
  else
    ok = copy_from(&c, fd, strcmp(name, "") == 0 ? "." : name);
  if (fd >= 0)
    close(fd);
  free(name);
  free(dir);
  return ok;
}

/* ---- the operation ---- */

static void run(struct lum_work *work) {
  struct lum_copy *copy = (struct lum_copy *)work;
  lum_copy_tree(work, copy->from, copy->to, &copy->opts, &copy->result, &work->result_err);
}

static void release(struct lum_work *work) {
  struct lum_copy *copy = (struct lum_copy *)work;
  free(copy->from);
  free(copy->to);
  lum_fs_free_list(copy->exclude, copy->opts.exclude_count);
  lum_copy_result_clear(&copy->result);
}

static const struct lum_work_type copy_type = {
    {"fs.copy", lum_work_op_cancel, lum_work_op_free}, run, release, NULL};

struct lum_op *lum_copy_start(struct lum_engine *eng, const char *from, const char *to,
                              const struct lum_copy_opts *opts) {
  struct lum_work *work = lum_work_new(eng, &copy_type, sizeof(struct lum_copy));
  if (!work)
    return NULL;
  struct lum_copy *copy = (struct lum_copy *)work;
  copy->opts = *opts;
  copy->from = strdup(from);
  copy->to = strdup(to);
  copy->exclude = lum_fs_copy_list((const char *const *)opts->exclude, opts->exclude_count);
  copy->opts.exclude = copy->exclude;
  if (!copy->from || !copy->to || !copy->exclude) {
    lum_op_unref(&work->op);
    return NULL;
  }
  lum_work_start(work);
  return &work->op;
}
