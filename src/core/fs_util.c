#include "fs_util.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* Length of the printable UTF-8 sequence at s, or 0. C1 controls and overlong forms do not count.
 */
static size_t utf8_len(const unsigned char *s) {
  if (s[0] >= 0x20 && s[0] < 0x7f)
    return 1;
  if (s[0] >= 0xc2 && s[0] <= 0xdf && (s[1] & 0xc0) == 0x80)
    return s[0] == 0xc2 && s[1] < 0xa0 ? 0 : 2;
  if ((s[0] & 0xf0) == 0xe0 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80)
    return s[0] == 0xe0 && s[1] < 0xa0 ? 0 : 3;
  if (s[0] >= 0xf0 && s[0] <= 0xf4 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80 &&
      (s[3] & 0xc0) == 0x80)
    return 4;
  return 0;
}

const char *lum_fs_show(char buf[static LUM_SHOWN], const char *path) {
  const size_t room = LUM_SHOWN - 8;
  size_t len = strlen(path), n = 0;
  const char *from = path;
  if (len > room / 4 * 3) { /* keep the end: that is where long paths differ */
    from = path + len - room / 4 * 3;
    n = 3;
    memcpy(buf, "...", n);
    while (((unsigned char)*from & 0xc0) == 0x80)
      from++;
  }
  for (const unsigned char *s = (const unsigned char *)from; *s && n < room;) {
    size_t k = utf8_len(s);
    if (k > 0) {
      memcpy(buf + n, s, k);
      n += k;
      s += k;
    } else {
      n += (size_t)snprintf(buf + n, 5, "\\x%02x", *s++);
    }
  }
  buf[n] = '\0';
  return buf;
}

bool lum_fs_fail(struct lum_err *err, int errnum, const char *verb, const char *path) {
  char shown[LUM_SHOWN];
  return lum_err_sys(err, errnum, "%s %s", verb, lum_fs_show(shown, path));
}

int lum_fs_write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n < 0 ? errno : EIO;
    data += n;
    len -= (size_t)n;
  }
  return 0;
}

int lum_fs_pwrite_all(int fd, const char *data, size_t len, off_t offset) {
  while (len > 0) {
    ssize_t n = pwrite(fd, data, len, offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n < 0 ? errno : EIO;
    data += n;
    len -= (size_t)n;
    offset += n;
  }
  return 0;
}

ssize_t lum_fs_pread_all(int fd, char *buf, size_t len, off_t offset) {
  size_t got = 0;
  while (got < len) {
    ssize_t n = pread(fd, buf + got, len - got, offset + (off_t)got);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return -1;
    if (n == 0)
      break;
    got += (size_t)n;
  }
  return (ssize_t)got;
}

int lum_fs_open_read(int at, const char *path, int extra_flags, struct stat *st,
                     struct lum_err *err) {
  int fd = openat(at, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | extra_flags);
  if (fd < 0 || fstat(fd, st) != 0) {
    lum_fs_fail(err, errno, "read", path);
    if (fd >= 0)
      close(fd);
    return -1;
  }
  if (!S_ISREG(st->st_mode)) {
    char shown[LUM_SHOWN];
    lum_fs_show(shown, path);
    if (S_ISDIR(st->st_mode))
      lum_fs_fail(err, EISDIR, "read", path);
    else
      lum_err_set(err, LUM_INVALID, "read %s: not a regular file but a %s", shown,
                  lum_fs_type(st->st_mode));
    close(fd);
    return -1;
  }
  return fd;
}

const char *lum_fs_temp_name(char buf[static LUM_TEMP_NAME], const char *prefix) {
  unsigned long long random = 0;
  while (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
    ;
  snprintf(buf, LUM_TEMP_NAME, "%.30s%016llx", prefix, random);
  return buf;
}

char *lum_fs_split(const char *path, char **dir) {
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/')
    end--;
  size_t start = end;
  while (start > 0 && path[start - 1] != '/')
    start--;
  char *name = strndup(path + start, end - start);
  size_t dir_len = start;
  while (dir_len > 1 && path[dir_len - 1] == '/')
    dir_len--;
  *dir = start == 0 ? strdup(".") : strndup(path, dir_len);
  if (name && *dir)
    return name;
  free(name);
  free(*dir);
  *dir = NULL;
  return NULL;
}

const char *lum_fs_type(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "file";
  case S_IFDIR:
    return "dir";
  case S_IFLNK:
    return "link";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  case S_IFCHR:
    return "char";
  case S_IFBLK:
    return "block";
  default:
    return "unknown";
  }
}

char *lum_fs_readlink(int at, const char *name) {
  char buf[PATH_MAX];
  ssize_t n = readlinkat(at, name, buf, sizeof buf - 1);
  if (n < 0)
    return NULL;
  return strndup(buf, (size_t)n);
}

bool lum_fs_link_inside(const char *target, size_t depth) {
  if (target[0] == '/' || target[0] == '\0')
    return false;
  bool named = false;
  for (const char *s = target; *s;) {
    size_t len = strcspn(s, "/");
    if (len == 2 && s[0] == '.' && s[1] == '.') {
      if (named || depth == 0)
        return false;
      depth--;
    } else if (len > 0 && !(len == 1 && s[0] == '.')) {
      named = true;
    }
    s += len;
    s += strspn(s, "/");
  }
  return true;
}

bool lum_fs_excluded(char *const *globs, size_t count, const char *path) {
  const char *slash = strrchr(path, '/');
  for (size_t i = 0; i < count; i++) {
    bool whole = strchr(globs[i], '/') != NULL;
    if (fnmatch(globs[i], whole || !slash ? path : slash + 1, whole ? FNM_PATHNAME : 0) == 0)
      return true;
  }
  return false;
}

char **lum_fs_copy_list(const char *const *list, size_t count) {
  char **copy = calloc(count + 1, sizeof *copy);
  for (size_t i = 0; copy && i < count; i++) {
    copy[i] = strdup(list[i]);
    if (!copy[i]) {
      lum_fs_free_list(copy, i);
      return NULL;
    }
  }
  return copy;
}

void lum_fs_free_list(char **list, size_t count) {
  for (size_t i = 0; list && i < count; i++)
    free(list[i]);
  free(list);
}
