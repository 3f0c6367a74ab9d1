/* A command of the user's own (ProxyCommand) whose stdin and stdout lead to the host. */
#include "ssh_proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child.h"
#include "procfs.h"

#define SAID_MAX 4096 /* bytes of its stderr that are kept */
#define SHOWN_MAX 200

extern char **environ;

struct ssh_proxy {
  struct lum_child child;
  int said; /* a file in memory: its stderr */
};

static void ignore(struct lum_child *child) {
  (void)child; /* the end of its stream tells */
}

static void on_free(struct lum_child *child) {
  struct ssh_proxy *proxy = (struct ssh_proxy *)child; /* first member */
  close(proxy->said);
  free(proxy);
}

static const struct lum_child_hooks hooks = {ignore, ignore, ignore, ignore, on_free};

/* A file that takes SAID_MAX bytes and no more. */
static int open_said(void) {
  int fd = memfd_create("luarium-proxy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd >= 0 && (ftruncate(fd, SAID_MAX) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) != 0)) {
    close(fd);
    fd = -1;
  }
  return fd;
}

/* 0 or an errno. It leads its own session and sees 0, 1 and 2 only. */
static int spawn(const char *command, int end, int said, pid_t *pid) {
  char *line = NULL;
  if (asprintf(&line, "exec %s", command) < 0)
    return ENOMEM;
  char shell[] = "sh", flag[] = "-c", *argv[] = {shell, flag, line, NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attr);
  posix_spawn_file_actions_adddup2(&actions, end, 0);
  posix_spawn_file_actions_adddup2(&actions, end, 1);
  posix_spawn_file_actions_adddup2(&actions, said, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawnattr_setsigmask(&attr, &none);
  posix_spawnattr_setsigdefault(&attr, &all);
  posix_spawnattr_setflags(&attr,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int rc = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, environ);
  posix_spawnattr_destroy(&attr);
  posix_spawn_file_actions_destroy(&actions);
  free(line);
  return rc;
}

static bool start(struct ssh_proxy *proxy, struct lum_engine *eng, const char *command, int end,
                  struct lum_err *err) {
  struct lum_spawned spawned = {.pid = -1, .pidfd = -1, .in = -1, .out = -1, .err = -1};
  int said = open_said();
  int rc = said < 0 ? errno : spawn(command, end, said, &spawned.pid);
  if (rc != 0) {
    if (said >= 0)
      close(said);
    return lum_err_sys(err, rc, "ssh: cannot start the ProxyCommand");
  }
  spawned.pidfd = lum_pidfd(spawned.pid);
  if (!lum_child_create(&proxy->child, eng, &hooks, &spawned, NULL, lum_monotonic(), err)) {
    close(said);
    return false;
  }
  proxy->said = said;
  return true;
}

struct ssh_proxy *ssh_proxy_start(struct lum_engine *eng, const char *command, int *fd,
                                  struct lum_err *err) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    lum_err_sys(err, errno, "ssh: cannot make a pair of sockets");
    return NULL;
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK); /* ours alone: most programs expect to wait */
  struct ssh_proxy *proxy = calloc(1, sizeof *proxy);
  if (!proxy)
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  bool ok = proxy && start(proxy, eng, command, ends[1], err);
  close(ends[1]);
  if (!ok) {
    close(ends[0]);
    free(proxy);
    return NULL;
  }
  *fd = ends[0];
  return proxy;
}

void ssh_proxy_said(const struct ssh_proxy *proxy, char *buf, size_t size) {
  char text[SAID_MAX];
  ssize_t n = pread(proxy->said, text, sizeof text, 0);
  size_t len = n > 0 ? strnlen(text, (size_t)n) : 0;
  while (len > 0 && (unsigned char)text[len - 1] <= ' ')
    len--;
  size_t from = len;
  while (from > 0 && text[from - 1] != '\n' && len - from < SHOWN_MAX)
    from--;
  for (size_t i = from; i < len; i++)
    if ((unsigned char)text[i] < ' ')
      text[i] = ' ';
  snprintf(buf, size, "%.*s", (int)(len - from), text + from);
}

void ssh_proxy_end(struct ssh_proxy *proxy) {
  if (!proxy)
    return;
  lum_child_kill(&proxy->child);
  lum_child_release(&proxy->child);
  lum_hold_drop(&proxy->child.hold);
}
