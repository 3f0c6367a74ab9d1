/* Writes a tree as tar, piece by piece: each step runs on a worker until a piece is full. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive.h"
#include "archive_locale.h"
#include "archive_sink.h"
#include "fs_util.h"
#include "fs_walk.h"

#define PIECE ((size_t)256 << 10)
#define CHUNK ((size_t)64 << 10)

struct lum_pack {
  struct lum_engine *eng;
  unsigned refs;
  bool busy, closed, ended, started;
  char *root, *mark;
  char **paths, **exclude;
  size_t path_count, exclude_count, next_path;
  bool all, owner;
  struct lum_pack_stats stats;
  struct lum_sink sink;
  struct archive_entry *entry;
  struct lum_err *err; /* of the step that runs */
  int root_fd;
  struct lum_walk walk;
  char *prefix; /* of names in the walk: the path it started at; "" for the root */
  char *name;   /* of the entry at hand */
  int fd;       /* the file whose bytes are being written, or -1 */
  uint64_t left;
  char chunk[CHUNK];
};

static bool fail_archive(struct lum_pack *pack, const char *what) {
  char shown[LUM_SHOWN];
  return lum_err_set(pack->err, LUM_IO, "pack: %s: %s", what,
                     lum_fs_show(shown, lum_sink_error(&pack->sink)));
}

static bool fail_at(struct lum_pack *pack, int errnum, const char *name) {
  return lum_fs_fail(pack->err, errnum, "pack", name);
}

/* ---- entries ---- */

static bool put_header(struct lum_pack *pack, const struct stat *st, const char *target) {
  struct archive_entry *entry = archive_entry_clear(pack->entry);
  archive_entry_copy_pathname(entry, pack->name);
  archive_entry_set_filetype(entry, st->st_mode & S_IFMT);
  archive_entry_set_perm(entry, st->st_mode & 0777);
  archive_entry_set_mtime(entry, st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
  archive_entry_set_size(entry, S_ISREG(st->st_mode) ? st->st_size : 0);
  if (target)
    archive_entry_copy_symlink(entry, target);
  if (pack->owner) {
    archive_entry_set_uid(entry, st->st_uid);
    archive_entry_set_gid(entry, st->st_gid);
  }
  /* A warning is about names that are no UTF-8: they are written as they are. */
  return archive_write_header(pack->sink.tar, entry) >= ARCHIVE_WARN ||
         fail_archive(pack, "header");
}

static bool put_link(struct lum_pack *pack, int at, const char *name, const struct stat *st) {
  char *target = lum_fs_readlink(at, name);
  if (!target)
    return errno == ENOENT || fail_at(pack, errno, pack->name);
  bool ok = put_header(pack, st, target);
  free(target);
  pack->stats.links++;
  return ok;
}

static bool put_file(struct lum_pack *pack, int at, const char *name) {
  struct stat st;
  int fd = lum_fs_open_read(at, name, O_NOFOLLOW, &st, pack->err);
  if (fd < 0) {
    int code = pack->err->code;
    lum_err_clear(pack->err);
    return code == ENOENT || fail_at(pack, code == 0 ? EINVAL : code, pack->name);
  }
  if (!put_header(pack, &st, NULL)) {
    close(fd);
    return false;
  }
  pack->fd = fd;
  pack->left = (uint64_t)st.st_size;
  pack->stats.files++;
  pack->stats.bytes += pack->left;
  return true;
}

/* The bytes of a file may change meanwhile: what has grown is cut at the size the header told, what
 * has shrunk fails. */
static bool put_chunk(struct lum_pack *pack) {
  if (pack->left == 0) {
    close(pack->fd);
    pack->fd = -1;
    return archive_write_finish_entry(pack->sink.tar) == ARCHIVE_OK || fail_archive(pack, "file");
  }
  size_t want = pack->left < CHUNK ? (size_t)pack->left : CHUNK;
  ssize_t n = read(pack->fd, pack->chunk, want);
  if (n < 0 && errno == EINTR)
    return true;
  if (n < 0)
    return fail_at(pack, errno, pack->name);
  if (n == 0) {
    char shown[LUM_SHOWN];
    lum_err_set(pack->err, LUM_CONFLICT, "pack %s: the file became shorter while it was read",
                lum_fs_show(shown, pack->name));
    pack->err->retryable = true;
    return false;
  }
  if (archive_write_data(pack->sink.tar, pack->chunk, (size_t)n) < 0)
    return fail_archive(pack, "file");
  pack->left -= (uint64_t)n;
  return true;
}

static bool set_name(struct lum_pack *pack, const char *path) {
  size_t prefix = strlen(pack->prefix), len = strlen(path);
  char *name = realloc(pack->name, prefix + len + 2);
  if (!name)
    return fail_at(pack, ENOMEM, path);
  pack->name = name;
  memcpy(name, pack->prefix, prefix);
  if (prefix > 0 && len > 0)
    name[prefix++] = '/';
  memcpy(name + prefix, path, len + 1);
  return true;
}

/* Writes the entry `name` of folder `at`; pack->name is its name in the archive. A folder is
 * entered. */
static bool put_entry(struct lum_pack *pack, int at, const char *name, bool must) {
  struct stat st;
  if (lum_fs_excluded(pack->exclude, pack->exclude_count, pack->name))
    return true;
  if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return (errno == ENOENT && !must) || fail_at(pack, errno, pack->name);
  if (S_ISREG(st.st_mode))
    return put_file(pack, at, name);
  if (S_ISLNK(st.st_mode))
    return put_link(pack, at, name, &st);
  if (!S_ISDIR(st.st_mode)) {
    pack->stats.skipped++;
    return true;
  }
  int rc = pack->walk.depth > 0 ? lum_walk_enter(&pack->walk, name)
                                : lum_walk_open(&pack->walk, at, name, false);
  if (rc != 0)
    return fail_at(pack, rc, pack->name);
  pack->stats.dirs++;
  return put_header(pack, &st, NULL);
}

/* ---- the way through the tree ---- */

static bool walk_on(struct lum_pack *pack) {
  const char *name;
  int rc = lum_walk_next(&pack->walk, &name);
  if (rc == 0 && !name) {
    rc = lum_walk_leave(&pack->walk);
    if (pack->walk.depth == 0)
      lum_walk_close(&pack->walk);
    return rc == 0 || fail_at(pack, rc, pack->prefix);
  }
  if (rc != 0)
    return fail_at(pack, rc, pack->name ? pack->name : pack->root);
  const char *path = lum_walk_path(&pack->walk, name);
  if (!path)
    return fail_at(pack, ENOMEM, name);
  return set_name(pack, path) && put_entry(pack, lum_walk_top(&pack->walk)->fd, name, false);
}

/* Opens the folder that holds the last name of path, link by link refused; *last points into path.
 */
static int open_holder(int root, char *path, const char **last) {
  int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
  for (char *slash; fd >= 0 && (slash = strchr(path, '/'));) {
    *slash = '\0';
    int next = openat(fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int saved = errno;
    *slash = '/';
    close(fd);
    errno = saved;
    fd = next;
    path = slash + 1;
  }
  *last = path;
  return fd;
}

static bool start_path(struct lum_pack *pack, char *path) {
  const char *last;
  free(pack->prefix);
  pack->prefix = strdup(path);
  if (!pack->prefix || !set_name(pack, ""))
    return fail_at(pack, ENOMEM, path);
  int fd = open_holder(pack->root_fd, path, &last);
  if (fd < 0)
    return fail_at(pack, errno, path);
  bool ok = put_entry(pack, fd, last, true);
  close(fd);
  return ok;
}

static bool start_root(struct lum_pack *pack) {
  int rc = lum_walk_open(&pack->walk, pack->root_fd, ".", false);
  pack->all = false;
  return rc == 0 || fail_at(pack, rc, pack->root);
}

static bool open_root(struct lum_pack *pack) {
  pack->started = true;
  pack->prefix = strdup("");
  pack->root_fd = open(pack->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (pack->root_fd < 0 || !pack->prefix)
    return fail_at(pack, errno, pack->root);
  return true;
}

/* A tar that was cut between two entries looks whole to most programs. */
static bool put_mark(struct lum_pack *pack) {
  struct archive_entry *entry = archive_entry_clear(pack->entry);
  archive_entry_copy_pathname(entry, pack->mark);
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0600);
  archive_entry_set_mtime(entry, 0, 0);
  archive_entry_set_size(entry, 0);
  return archive_write_header(pack->sink.tar, entry) >= ARCHIVE_WARN || fail_archive(pack, "mark");
}

static bool end_archive(struct lum_pack *pack) {
  if (pack->mark && !put_mark(pack))
    return false;
  pack->ended = true;
  return lum_sink_end(&pack->sink) || fail_archive(pack, "end");
}

static bool advance(struct lum_pack *pack) {
  if (!pack->started)
    return open_root(pack);
  if (pack->fd >= 0)
    return put_chunk(pack);
  if (pack->walk.depth > 0)
    return walk_on(pack);
  if (pack->all)
    return start_root(pack);
  if (pack->next_path < pack->path_count)
    return start_path(pack, pack->paths[pack->next_path++]);
  return end_archive(pack);
}

/* ---- the object ---- */

static void close_files(struct lum_pack *pack) {
  lum_walk_close(&pack->walk);
  if (pack->fd >= 0)
    close(pack->fd);
  if (pack->root_fd >= 0)
    close(pack->root_fd);
  pack->fd = pack->root_fd = -1;
  lum_sink_close(&pack->sink);
  archive_entry_free(pack->entry);
  pack->entry = NULL;
}

void lum_pack_close(struct lum_pack *pack) {
  pack->closed = true;
  if (!pack->busy)
    close_files(pack);
}

void lum_pack_unref(struct lum_pack *pack) {
  if (--pack->refs > 0)
    return;
  close_files(pack);
  lum_fs_free_list(pack->paths, pack->path_count);
  lum_fs_free_list(pack->exclude, pack->exclude_count);
  free(pack->root);
  free(pack->mark);
  free(pack->prefix);
  free(pack->name);
  free(pack);
}

bool lum_pack_busy(const struct lum_pack *pack) {
  return pack->busy;
}

bool lum_pack_closed(const struct lum_pack *pack) {
  return pack->closed;
}

const struct lum_pack_stats *lum_pack_stats(const struct lum_pack *pack) {
  return &pack->stats;
}

/* Names from the root down, and nothing else: they are also the names in the archive. */
static bool check_path(const char *path, struct lum_err *err) {
  char shown[LUM_SHOWN];
  bool ok = path[0] != '\0';
  for (const char *s = path; ok && *s;) {
    size_t len = strcspn(s, "/");
    ok = len > 0 && !(len == 1 && s[0] == '.') && !(len == 2 && s[0] == '.' && s[1] == '.');
    s += len;
    if (*s == '/' && s[1] == '\0')
      ok = false;
    s += *s == '/';
  }
  return ok ||
         lum_err_set(err, LUM_INVALID,
                     "pack %s: expected a path below the root, without '.', '..' and empty names",
                     lum_fs_show(shown, path));
}

struct lum_pack *lum_pack_new(struct lum_engine *eng, const struct lum_pack_opts *opts,
                              struct lum_err *err) {
  for (size_t i = 0; i < opts->path_count; i++) {
    if (!check_path(opts->paths[i], err))
      return NULL;
  }
  struct lum_pack *pack = calloc(1, sizeof *pack);
  lum_err_sys(err, ENOMEM, "pack");
  if (!pack)
    return NULL;
  pack->eng = eng;
  pack->refs = 1;
  pack->fd = pack->root_fd = -1;
  pack->all = opts->paths == NULL;
  pack->owner = opts->owner;
  pack->root = strdup(opts->root);
  pack->mark = opts->mark ? strdup(opts->mark) : NULL;
  pack->paths = lum_fs_copy_list(opts->paths, opts->path_count);
  pack->path_count = pack->paths ? opts->path_count : 0;
  pack->exclude = lum_fs_copy_list(opts->exclude, opts->exclude_count);
  pack->exclude_count = pack->exclude ? opts->exclude_count : 0;
  pack->entry = archive_entry_new();
  if (pack->root && pack->paths && pack->exclude && pack->entry && (pack->mark || !opts->mark)) {
    if (lum_sink_open(&pack->sink, opts->format, opts->compress))
      return pack;
    lum_err_set(err, LUM_UNSUPPORTED,
                "pack: this libarchive cannot write that format or compression");
  }
  lum_pack_unref(pack);
  return NULL;
}

/* ---- a step ---- */

static void step_run(struct lum_work *work) {
  struct lum_pack_step *step = (struct lum_pack_step *)work;
  struct lum_pack *pack = step->pack;
  struct lum_archive_locale locale;
  lum_archive_locale_enter(&locale);
  pack->err = &work->result_err;
  bool ok = true;
  while (ok && !pack->ended && pack->sink.out_len < PIECE && !lum_work_cancelled(work))
    ok = advance(pack);
  lum_archive_locale_leave(&locale);
  step->data = pack->sink.out;
  step->len = pack->sink.out_len;
  pack->sink.out = NULL;
  pack->sink.out_len = pack->sink.out_cap = 0;
}

static void step_finish(struct lum_work *work) {
  struct lum_pack *pack = ((struct lum_pack_step *)work)->pack;
  pack->busy = false;
  if (work->op.err.kind != LUM_OK)
    pack->closed = true; /* a gap: what follows would be no archive */
  if (pack->closed)
    close_files(pack);
}

void lum_pack_step_forget(struct lum_pack_step *step) {
  free(step->data);
  step->data = NULL;
}

static void step_release(struct lum_work *work) {
  struct lum_pack_step *step = (struct lum_pack_step *)work;
  lum_pack_step_forget(step);
  lum_pack_unref(step->pack);
}

static const struct lum_work_type step_type = {
    {"archive.pack", lum_work_op_cancel, lum_work_op_free}, step_run, step_release, step_finish};

struct lum_op *lum_pack_read(struct lum_pack *pack) {
  struct lum_work *work = lum_work_new(pack->eng, &step_type, sizeof(struct lum_pack_step));
  if (!work)
    return NULL;
  ((struct lum_pack_step *)work)->pack = pack;
  pack->refs++;
  pack->busy = true;
  lum_work_start(work);
  return &work->op;
}
