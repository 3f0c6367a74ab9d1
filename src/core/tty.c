#include "tty.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

bool lum_tty_is(int fd) {
  return isatty(fd) == 1;
}

bool lum_tty_size(int fd, int *cols, int *rows) {
  struct winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return false;
  *cols = size.ws_col;
  *rows = size.ws_row;
  return true;
}

struct lum_tty_saved {
  int fd;
  struct termios mode;
};

struct lum_tty_saved *lum_tty_raw(int fd, struct lum_err *err) {
  struct lum_tty_saved *saved = malloc(sizeof *saved);
  if (!saved) {
    lum_err_sys(err, ENOMEM, "raw mode");
    return NULL;
  }
  saved->fd = fd;
  if (tcgetattr(fd, &saved->mode) == 0) {
    struct termios raw = saved->mode;
    cfmakeraw(&raw);
    if (tcsetattr(fd, TCSANOW, &raw) == 0)
      return saved;
  }
  lum_err_sys(err, errno, "raw mode of descriptor %d", fd);
  free(saved);
  return NULL;
}

bool lum_tty_restore(struct lum_tty_saved *saved, struct lum_err *err) {
  int rc = tcsetattr(saved->fd, TCSANOW, &saved->mode) == 0 ? 0 : errno;
  int fd = saved->fd;
  free(saved);
  return rc == 0 || lum_err_sys(err, rc, "restore descriptor %d", fd);
}

bool lum_tty_write(int fd, const char *data, size_t len, struct lum_err *err) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n > 0) {
      data += n;
      len -= (size_t)n;
    } else if (n < 0 && errno == EAGAIN) {
      struct pollfd wait = {fd, POLLOUT, 0};
      poll(&wait, 1, -1);
    } else if (n < 0 && errno != EINTR) {
      return lum_err_sys(err, errno, "write to descriptor %d", fd);
    }
  }
  return true;
}
