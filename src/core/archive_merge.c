#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "archive_extract.h"
#include "fs_util.h"
#include "fs_walk.h"

struct merger {
  struct lum_walk src, dst;
  struct lum_err *err;
  bool commit; /* the first round only looks */
};

static bool fail(struct merger *m, int errnum, const char *path) {
  return lum_fs_fail(m->err, errnum, "unpack", path);
}

static bool conflict(struct merger *m, const char *path, const char *what) {
  char shown[LUM_SHOWN];
  return lum_err_set(m->err, LUM_CONFLICT, "unpack %s: %s", lum_fs_show(shown, path), what);
}

static bool enter(struct merger *m, const char *name) {
  int rc = lum_walk_enter(&m->dst, name);
  if (rc == 0)
    rc = lum_walk_enter(&m->src, name);
  return rc == 0 || fail(m, rc, name);
}

static bool merge_entry(struct merger *m, const char *name, const char *path) {
  int src = lum_walk_top(&m->src)->fd, dst = lum_walk_top(&m->dst)->fd;
  struct stat ours, theirs;
  if (fstatat(src, name, &ours, AT_SYMLINK_NOFOLLOW) != 0)
    return fail(m, errno, path);
  if (fstatat(dst, name, &theirs, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno != ENOENT)
      return fail(m, errno, path);
  } else if (S_ISDIR(ours.st_mode)) {
    return S_ISDIR(theirs.st_mode) ? enter(m, name)
                                   : conflict(m, path, "there is something that is no folder");
  } else if (S_ISDIR(theirs.st_mode)) {
    return conflict(m, path, "there is a folder");
  }
  return !m->commit || renameat(src, name, dst, name) == 0 || fail(m, errno, path);
}

static bool merge_next(struct merger *m) {
  const char *name;
  int rc = lum_walk_next(&m->src, &name);
  if (rc == 0 && !name) {
    rc = lum_walk_leave(&m->dst);
    if (rc == 0)
      rc = lum_walk_leave(&m->src);
  }
  if (rc != 0)
    return fail(m, rc, m->src.path ? m->src.path : "");
  if (!name)
    return true;
  const char *path = lum_walk_path(&m->src, name);
  return path ? merge_entry(m, name, path) : fail(m, ENOMEM, name);
}

static bool merge_round(int base, const char *temp, bool commit, struct lum_err *err) {
  struct merger m = {.err = err, .commit = commit};
  int rc = lum_walk_open(&m.src, base, temp, false);
  if (rc == 0)
    rc = lum_walk_open(&m.dst, base, ".", false);
  bool ok = rc == 0 || fail(&m, rc, temp);
  while (ok && m.src.depth > 0)
    ok = merge_next(&m);
  lum_walk_close(&m.src);
  lum_walk_close(&m.dst);
  return ok;
}

bool lum_extract_merge(int base, const char *temp, struct lum_err *err) {
  return merge_round(base, temp, false, err) && merge_round(base, temp, true, err);
}
