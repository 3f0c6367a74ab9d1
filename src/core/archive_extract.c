#include "archive_extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive_locale.h"
#include "fs_util.h"

#define TRAILER ((uint64_t)64 << 20) /* what may follow the end of an archive in its stream */

struct extractor {
  struct lum_input *input;
  struct lum_queue *queue;
  const struct lum_unpack_opts *opts;
  struct lum_unpack_result *result;
  struct lum_err *err;
  struct archive *archive;
  int root;
  uint64_t entries, made, written; /* written: without holes */
  char path[PATH_MAX];             /* of the entry at hand: clean, stripped, relative to root */
  char name[PATH_MAX];             /* as the archive has it, for messages */
  int dir;                         /* the folder that was needed last, and its path */
  char dir_path[PATH_MAX];
};

/* ---- refusals ---- */

static bool refuse(struct extractor *x, const char *why) {
  char shown[LUM_SHOWN];
  return lum_err_set(x->err, LUM_PROTOCOL, "unpack %s: %s", lum_fs_show(shown, x->name), why);
}

static bool over(struct extractor *x, const char *limit, uint64_t max) {
  char shown[LUM_SHOWN];
  return lum_err_set(x->err, LUM_QUOTA, "unpack %s: over the limit of %" PRIu64 " (%s)",
                     lum_fs_show(shown, x->name), max, limit);
}

static bool fail_sys(struct extractor *x, int errnum) {
  return lum_fs_fail(x->err, errnum, "unpack", x->name);
}

/* What libarchive says; an error of our own input is more exact and goes first. */
static bool fail_archive(struct extractor *x) {
  char shown[LUM_SHOWN];
  if (x->err->kind != LUM_OK)
    return false;
  if (archive_errno(x->archive) == ENOMEM)
    return lum_err_sys(x->err, ENOMEM, "unpack");
  const char *text = archive_error_string(x->archive);
  return lum_err_set(x->err, LUM_PROTOCOL, "unpack: not a sound archive: %s",
                     lum_fs_show(shown, text ? text : "unknown error"));
}

static bool skip(struct extractor *x, const char *reason) {
  struct lum_unpack_result *result = x->result;
  uint64_t n = result->skipped_count++;
  if (n >= LUM_UNPACK_SKIPPED)
    return true;
  result->skipped[n].reason = reason;
  result->skipped[n].path = strdup(x->name);
  return result->skipped[n].path || fail_sys(x, ENOMEM);
}

static bool bad_link(struct extractor *x, const char *why) {
  return x->opts->skip_links ? skip(x, why) : refuse(x, why);
}

static bool count_made(struct extractor *x) {
  return ++x->made <= x->opts->max_files || over(x, "files", x->opts->max_files);
}

/* ---- names ---- */

enum name_fault { NAME_FINE, NAME_EMPTY, NAME_ABSOLUTE, NAME_UP, NAME_LONG, NAME_DEEP };

/* Cleans a name into out: no "." and no empty parts, stripped. NAME_EMPTY: nothing is left of it.
 */
static enum name_fault clean_name(const struct lum_unpack_opts *opts, const char *name,
                                  char out[PATH_MAX]) {
  size_t n = 0;
  unsigned parts = 0;
  if (name[0] == '/')
    return NAME_ABSOLUTE;
  if (strlen(name) > opts->max_name || strlen(name) >= PATH_MAX)
    return NAME_LONG;
  for (const char *s = name; *s;) {
    size_t len = strcspn(s, "/");
    if (len == 2 && s[0] == '.' && s[1] == '.')
      return NAME_UP;
    if (len > 0 && !(len == 1 && s[0] == '.') && ++parts > opts->strip) {
      if (len > NAME_MAX)
        return NAME_LONG;
      if (n > 0)
        out[n++] = '/';
      memcpy(out + n, s, len);
      n += len;
    }
    s += len;
    s += strspn(s, "/");
  }
  out[n] = '\0';
  if (parts > opts->max_depth)
    return NAME_DEEP;
  return n > 0 ? NAME_FINE : NAME_EMPTY;
}

static bool refuse_name(struct extractor *x, enum name_fault fault) {
  switch (fault) {
  case NAME_ABSOLUTE:
    return refuse(x, "the name is absolute");
  case NAME_UP:
    return refuse(x, "the name contains '..'");
  case NAME_LONG:
    return over(x, "name", x->opts->max_name < NAME_MAX ? x->opts->max_name : NAME_MAX);
  case NAME_DEEP:
    return over(x, "depth", x->opts->max_depth);
  default:
    return refuse(x, "the name is empty");
  }
}

/* ---- folders ---- */

/* One step down; makes the folder when asked. -1 with err filled. */
static int step_down(struct extractor *x, int at, const char *name, bool make) {
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  int fd = openat(at, name, flags);
  if (fd < 0 && errno == ENOENT && make) {
    if (!count_made(x))
      return -1;
    if (mkdirat(at, name, 0777) != 0) {
      fail_sys(x, errno);
      return -1;
    }
    x->result->dirs++;
    fd = openat(at, name, flags);
  }
  if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) {
    struct stat st;
    bool link = fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
    refuse(x, link ? "the name leads through a link" : "the name leads through a file");
  } else if (fd < 0) {
    fail_sys(x, errno);
  }
  return fd;
}

/* The folder that holds path; *last is the name in it. The descriptor stays the extractor's. */
static int open_holder(struct extractor *x, const char *path, bool make, const char **last) {
  const char *slash = strrchr(path, '/');
  size_t len = slash ? (size_t)(slash - path) : 0;
  *last = slash ? slash + 1 : path;
  if (x->dir >= 0 && strlen(x->dir_path) == len && memcmp(x->dir_path, path, len) == 0)
    return x->dir;
  if (x->dir >= 0)
    close(x->dir);
  memcpy(x->dir_path, path, len);
  x->dir_path[len] = '\0';
  int fd = fcntl(x->root, F_DUPFD_CLOEXEC, 0);
  if (fd < 0)
    fail_sys(x, errno);
  for (char *s = x->dir_path; fd >= 0 && *s;) {
    char *end = s + strcspn(s, "/");
    char was = *end;
    *end = '\0';
    int next = step_down(x, fd, s, make);
    *end = was;
    close(fd);
    fd = next;
    s = was ? end + 1 : end;
  }
  x->dir = fd;
  return fd;
}

static size_t depth_of(const char *path) {
  size_t depth = 0;
  for (; *path; path++)
    depth += *path == '/';
  return depth;
}

/* ---- entries ---- */

static bool make_dir(struct extractor *x, struct archive_entry *entry) {
  const char *last;
  int at = open_holder(x, x->path, true, &last);
  if (at < 0)
    return false;
  int fd = openat(at, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    fd = step_down(x, at, last, true);
    if (fd < 0)
      return false;
  }
  if (fd < 0)
    return errno == ENOTDIR || errno == ELOOP ? refuse(x, "the same name appears twice")
                                              : fail_sys(x, errno);
  /* The owner keeps access: the tree must be filled, merged and removed again. */
  int rc = fchmod(fd, (archive_entry_perm(entry) & 0777) | 0700) == 0 ? 0 : errno;
  close(fd);
  return rc == 0 || fail_sys(x, rc);
}

/* Holes count as what they would be if somebody read them. */
static bool count_bytes(struct extractor *x, uint64_t size) {
  if (size > x->opts->max_bytes || x->result->bytes > x->opts->max_bytes - size)
    return over(x, "bytes", x->opts->max_bytes);
  return true;
}

static bool write_data(struct extractor *x, int fd, uint64_t *size) {
  for (;;) {
    const void *data;
    size_t len;
    la_int64_t offset;
    int rc = archive_read_data_block(x->archive, &data, &len, &offset);
    if (rc == ARCHIVE_EOF)
      return true;
    if (rc != ARCHIVE_OK)
      return fail_archive(x);
    if (offset < 0 || (uint64_t)offset < *size)
      return refuse(x, "its parts overlap");
    *size = (uint64_t)offset + len;
    x->written += len;
    if (!lum_input_check_ratio(x->input, x->written, x->err))
      return false;
    if (!count_bytes(x, *size))
      return false;
    int err = lum_fs_pwrite_all(fd, data, len, (off_t)offset);
    if (err != 0)
      return fail_sys(x, err);
  }
}

static bool fill_file(struct extractor *x, struct archive_entry *entry, int fd) {
  uint64_t size = 0;
  la_int64_t told = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;
  if (told < 0)
    return refuse(x, "its size is negative");
  if (!count_bytes(x, (uint64_t)told) || !write_data(x, fd, &size))
    return false;
  if (size < (uint64_t)told) { /* it ends with a hole */
    size = (uint64_t)told;
    if (ftruncate(fd, (off_t)size) != 0)
      return fail_sys(x, errno);
  }
  x->result->bytes += size;
  struct timespec times[2] = {{0, UTIME_OMIT},
                              {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)}};
  if (!archive_entry_mtime_is_set(entry) || times[1].tv_nsec < 0 || times[1].tv_nsec > 999999999)
    times[1].tv_nsec = UTIME_OMIT;
  if (fchmod(fd, archive_entry_perm(entry) & 0777) != 0 || futimens(fd, times) != 0)
    return fail_sys(x, errno);
  return true;
}

static bool make_file(struct extractor *x, struct archive_entry *entry) {
  const char *last;
  int at = open_holder(x, x->path, true, &last);
  if (at < 0 || !count_made(x))
    return false;
  int fd = openat(at, last, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0)
    return errno == EEXIST ? refuse(x, "the same name appears twice") : fail_sys(x, errno);
  bool ok = fill_file(x, entry, fd);
  if (close(fd) != 0 && ok)
    ok = fail_sys(x, errno);
  x->result->files++;
  return ok;
}

static bool make_symlink(struct extractor *x, const char *target) {
  if (!target || !*target)
    return refuse(x, "the link has no target");
  if (!lum_fs_link_inside(target, depth_of(x->path)))
    return bad_link(x, "the link leads out of the folder");
  const char *last;
  int at = open_holder(x, x->path, true, &last);
  if (at < 0 || !count_made(x))
    return false;
  if (symlinkat(target, at, last) != 0)
    return errno == EEXIST ? refuse(x, "the same name appears twice") : fail_sys(x, errno);
  x->result->links++;
  return true;
}

/* A hard link to a file that came before in the same archive. */
static bool make_hardlink(struct extractor *x, const char *target) {
  char path[PATH_MAX];
  if (clean_name(x->opts, target, path) != NAME_FINE)
    return bad_link(x, "the hard link leads out of the folder");
  const char *last;
  int at = open_holder(x, path, false, &last);
  struct stat st;
  if (at < 0)
    return x->err->kind == LUM_NOT_FOUND
               ? refuse(x, "the hard link points to nothing in the archive")
               : false;
  if (fstatat(at, last, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
    return refuse(x, "the hard link points to no file in the archive");
  int from = fcntl(at, F_DUPFD_CLOEXEC, 0); /* the next open_holder may close it */
  if (from < 0)
    return fail_sys(x, errno);
  const char *name;
  int to = open_holder(x, x->path, true, &name);
  int rc = to < 0 || !count_made(x) ? -1 : linkat(from, last, to, name, 0) == 0 ? 0 : errno;
  close(from);
  if (rc > 0)
    return rc == EEXIST ? refuse(x, "the same name appears twice") : fail_sys(x, rc);
  x->result->links++;
  return rc == 0;
}

static bool make_entry(struct extractor *x, struct archive_entry *entry) {
  const char *hardlink = archive_entry_hardlink(entry);
  if (hardlink)
    return make_hardlink(x, hardlink);
  switch (archive_entry_filetype(entry)) {
  case AE_IFREG:
    return make_file(x, entry);
  case AE_IFDIR:
    return make_dir(x, entry);
  case AE_IFLNK:
    return make_symlink(x, archive_entry_symlink(entry));
  case AE_IFCHR:
  case AE_IFBLK:
    return refuse(x, "it is a device");
  case AE_IFIFO:
    return refuse(x, "it is a fifo");
  default:
    return refuse(x, "it is neither a file nor a folder nor a link");
  }
}

/* Whether the entry at hand, or a folder that it is in, is to be left out. */
static bool is_excluded(struct extractor *x) {
  const struct lum_unpack_opts *opts = x->opts;
  char *const *globs = (char *const *)opts->exclude;
  if (opts->exclude_count == 0)
    return false;
  for (char *slash = strchr(x->path, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    bool excluded = lum_fs_excluded(globs, opts->exclude_count, x->path);
    *slash = '/';
    if (excluded)
      return true;
  }
  return lum_fs_excluded(globs, opts->exclude_count, x->path);
}

static bool extract_entry(struct extractor *x, struct archive_entry *entry) {
  const char *name = archive_entry_pathname(entry);
  if (!name)
    return lum_err_set(x->err, LUM_PROTOCOL, "unpack: an entry has no readable name");
  snprintf(x->name, sizeof x->name, "%s", name);
  if (++x->entries > x->opts->max_files)
    return over(x, "files", x->opts->max_files);
  enum name_fault fault = clean_name(x->opts, name, x->path);
  if (fault == NAME_EMPTY && (x->opts->strip > 0 || archive_entry_filetype(entry) == AE_IFDIR))
    return true; /* the root itself, or stripped away */
  if (fault == NAME_FINE && is_excluded(x))
    return true;
  return fault == NAME_FINE ? make_entry(x, entry) : refuse_name(x, fault);
}

/* ---- the whole ---- */

static la_ssize_t on_read(struct archive *a, void *arg, const void **data) {
  struct extractor *x = arg;
  long n = lum_input_read(x->input, data, x->err);
  if (n < 0)
    archive_set_error(a, EIO, "%s", x->err->msg);
  return (la_ssize_t)n;
}

/* A tar ends with blocks of zeros. libarchive takes a stream that just stops for an end, too; we do
 * not. */
static bool check_end(struct extractor *x, la_int64_t before) {
  bool tar = (archive_format(x->archive) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_TAR;
  if (tar && archive_filter_bytes(x->archive, 0) - before < 512)
    return lum_err_set(x->err, LUM_PROTOCOL,
                       "unpack: the archive ends too early: its end mark is missing");
  return true;
}

/* Reads what follows, so that checksums at the very end are looked at. */
static bool drain(struct extractor *x) {
  const void *data;
  uint64_t rest = 0;
  for (long n; (n = lum_input_read(x->input, &data, x->err)) != 0;) {
    if (n < 0)
      return false;
    rest += (uint64_t)n;
    if (rest > TRAILER)
      return lum_err_set(x->err, LUM_PROTOCOL, "unpack: too much follows the end of the archive");
  }
  return true;
}

static bool extract_all(struct extractor *x) {
  struct archive_entry *entry;
  for (;;) {
    if (lum_queue_cancelled(x->queue))
      return lum_err_set(x->err, LUM_CANCELLED, "unpack: cancelled");
    la_int64_t before = archive_filter_bytes(x->archive, 0);
    int rc = archive_read_next_header(x->archive, &entry);
    if (rc == ARCHIVE_EOF)
      return check_end(x, before) && drain(x);
    if (rc < ARCHIVE_WARN || x->err->kind != LUM_OK)
      return fail_archive(x);
    if (!extract_entry(x, entry))
      return false;
    if (archive_read_data_skip(x->archive) < ARCHIVE_WARN || x->err->kind != LUM_OK)
      return fail_archive(x);
  }
}

static bool open_archive(struct extractor *x) {
  struct archive *a = x->archive = archive_read_new();
  if (!a)
    return lum_err_sys(x->err, ENOMEM, "unpack");
  archive_read_support_format_tar(a);
  archive_read_support_format_zip_streamable(a);
  return archive_read_open(a, x, NULL, on_read, NULL) == ARCHIVE_OK || fail_archive(x);
}

bool lum_extract(struct lum_input *input, int root, const struct lum_unpack_opts *opts,
                 struct lum_queue *queue, struct lum_unpack_result *result, struct lum_err *err) {
  struct extractor *x = calloc(1, sizeof *x);
  if (!x)
    return lum_err_sys(err, ENOMEM, "unpack");
  *x = (struct extractor){.input = input,
                          .queue = queue,
                          .opts = opts,
                          .result = result,
                          .err = err,
                          .root = root,
                          .dir = -1};
  struct lum_archive_locale locale;
  lum_archive_locale_enter(&locale);
  bool ok = open_archive(x) && extract_all(x);
  if (x->archive)
    archive_read_free(x->archive);
  lum_archive_locale_leave(&locale);
  if (x->dir >= 0)
    close(x->dir);
  free(x);
  return ok;
}
