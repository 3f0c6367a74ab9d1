#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
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
  pid_t guard;  /* a process that restores the terminal when ours dies; -1: none */
  int guard_fd; /* its end of life: it reads a byte, or the end when we died */
};

/* ---- the guard: nobody else can clean up after kill -9 ---- */

/* In the child of a process with threads: only what a signal handler might call. */
static _Noreturn void guard(int tty, int pipe_fd, const struct termios *mode, const char *leave,
                            size_t len) {
  static const int ignored[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGTTOU, SIGPIPE};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
    signal(ignored[i], SIG_IGN);
  setsid(); /* or kill -9 of our group, as a shell's `kill -9 %1`, would end both */
  int high = fcntl(pipe_fd, F_DUPFD, 3);
  if (dup2(tty, 0) != 0 || dup2(high, 1) != 1)
    _exit(1);
  close_range(2, ~0U, 0); /* or the engine's pipes would stay open as long as we live */
  char byte;
  ssize_t n;
  while ((n = read(1, &byte, 1)) < 0 && errno == EINTR)
    ;
  if (n == 0) {
    tcsetattr(0, TCSANOW, mode);
    ssize_t unused = write(0, leave, len);
    (void)unused;
  }
  _exit(0);
}

static void start_guard(struct lum_tty_saved *saved, const char *leave) {
  int ends[2];
  saved->guard = -1;
  if (pipe2(ends, O_CLOEXEC) != 0)
    return;
  size_t len = strlen(leave);
  saved->guard = fork();
  if (saved->guard == 0)
    guard(saved->fd, ends[0], &saved->mode, leave, len);
  close(ends[0]);
  saved->guard_fd = ends[1];
  if (saved->guard < 0)
    close(ends[1]);
}

static void end_guard(struct lum_tty_saved *saved) {
  if (saved->guard < 0)
    return;
  ssize_t unused = write(saved->guard_fd, "", 1);
  (void)unused;
  close(saved->guard_fd);
  while (waitpid(saved->guard, NULL, 0) < 0 && errno == EINTR)
    ;
}

struct lum_tty_saved *lum_tty_guard(int fd, const char *leave, struct lum_err *err) {
  struct lum_tty_saved *saved = malloc(sizeof *saved);
  if (!saved) {
    lum_err_sys(err, ENOMEM, "terminal");
    return NULL;
  }
  saved->fd = fd;
  if (tcgetattr(fd, &saved->mode) == 0) {
    start_guard(saved, leave);
    return saved;
  }
  lum_err_sys(err, errno, "settings of descriptor %d", fd);
  free(saved);
  return NULL;
}

struct lum_tty_saved *lum_tty_raw(int fd, const char *leave, struct lum_err *err) {
  struct lum_tty_saved *saved = lum_tty_guard(fd, leave, err);
  if (!saved)
    return NULL;
  struct termios raw = saved->mode;
  cfmakeraw(&raw);
  if (tcsetattr(fd, TCSANOW, &raw) == 0)
    return saved;
  lum_err_sys(err, errno, "raw mode of descriptor %d", fd);
  end_guard(saved);
  free(saved);
  return NULL;
}

bool lum_tty_restore(struct lum_tty_saved *saved, struct lum_err *err) {
  int rc = tcsetattr(saved->fd, TCSANOW, &saved->mode) == 0 ? 0 : errno;
  int fd = saved->fd;
  end_guard(saved);
  free(saved);
  return rc == 0 || lum_err_sys(err, rc, "restore descriptor %d", fd);
}
