#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "procfs.h"

#define ARG_BYTES_MAX 131072u /* the kernel's bound for one string, with its NUL */
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

extern char **environ;

/* Everything one spawn holds until it has succeeded. */
struct work {
  const struct lum_spawn_opts *opts;
  const char *const *env;
  const char **own_env; /* env, when it had to be made */
  int dirfd;            /* cwd, or AT_FDCWD */
  int child[3];         /* what becomes 0, 1, 2; all above 2 */
  int in, out, err;     /* our ends */
  char path[PATH_MAX];
};

static const struct {
  const char *name;
  int resource;
} rlimit_rows[] = {
    {"as", RLIMIT_AS},         {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},     {"fsize", RLIMIT_FSIZE},       {"memlock", RLIMIT_MEMLOCK},
    {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"stack", RLIMIT_STACK},   {"locks", RLIMIT_LOCKS},       {"nice", RLIMIT_NICE},
    {"rtprio", RLIMIT_RTPRIO}, {"msgqueue", RLIMIT_MSGQUEUE}, {"sigpending", RLIMIT_SIGPENDING},
};

int lum_rlimit_find(const char *name) {
  for (size_t i = 0; i < sizeof rlimit_rows / sizeof *rlimit_rows; i++) {
    if (strcmp(rlimit_rows[i].name, name) == 0)
      return rlimit_rows[i].resource;
  }
  return -1;
}

/* ---- argument sizes: the kernel would only say E2BIG ---- */

static uint64_t total_limit(const struct lum_spawn_opts *opts) {
  struct rlimit stack;
  uint64_t limit = getrlimit(RLIMIT_STACK, &stack) == 0 ? stack.rlim_cur : 8u << 20;
  for (size_t i = 0; i < opts->limit_count; i++) {
    if (opts->limits[i].resource == RLIMIT_STACK)
      limit = opts->limits[i].value;
  }
  limit /= 4;
  if (limit > (6u << 20))
    limit = 6u << 20;
  return limit < ARG_BYTES_MAX ? ARG_BYTES_MAX : limit;
}

static bool add_sizes(const char *const *list, const char *what, uint64_t *sum,
                      struct lum_err *err) {
  *sum = 0;
  for (size_t i = 0; list[i]; i++) {
    size_t bytes = strlen(list[i]) + 1;
    if (bytes > ARG_BYTES_MAX)
      return lum_err_set(err, LUM_INVALID,
                         "%s[%zu] (%.*s...) has %zu bytes, but one argument may have at most %u: "
                         "use stdin or a file for large data",
                         what, i + 1,
                         (int)strcspn(list[i], "= \n") < 32 ? (int)strcspn(list[i], "= \n") : 32,
                         list[i], bytes - 1, ARG_BYTES_MAX - 1);
    *sum += bytes + sizeof(char *);
  }
  return true;
}

static bool check_sizes(const struct work *w, struct lum_err *err) {
  uint64_t args, vars, limit = total_limit(w->opts);
  if (!add_sizes(w->opts->argv, "argv", &args, err) || !add_sizes(w->env, "env", &vars, err))
    return false;
  if (args + vars + PATH_MAX <= limit)
    return true;
  return lum_err_set(err, LUM_INVALID,
                     "%s is too large: argv takes %llu and env %llu bytes, but together they may "
                     "take at most %llu",
                     args >= vars ? "argv" : "env", (unsigned long long)args,
                     (unsigned long long)vars, (unsigned long long)(limit - PATH_MAX));
}

/* ---- environment and program ---- */

static bool make_env(struct work *w, struct lum_err *err) {
  const char *cookie = w->opts->cookie;
  w->env = w->opts->env ? w->opts->env : (const char *const *)environ;
  if (!cookie)
    return true;
  size_t count = 0, out = 0;
  while (w->env[count])
    count++;
  w->own_env = malloc((count + 2) * sizeof *w->own_env);
  if (!w->own_env)
    return lum_err_set(err, LUM_QUOTA, "spawn: out of memory");
  size_t name = strcspn(cookie, "=") + 1;
  for (size_t i = 0; i < count; i++) {
    if (strncmp(w->env[i], cookie, name) != 0)
      w->own_env[out++] = w->env[i];
  }
  w->own_env[out++] = cookie;
  w->own_env[out] = NULL;
  w->env = w->own_env;
  return true;
}

/* 0 when the file could be executed, else an errno; *found tells whether it is there. */
static int check_file(int dirfd, const char *path, bool *found) {
  struct stat st;
  *found = fstatat(dirfd, path, &st, 0) == 0;
  if (!*found)
    return errno;
  if (S_ISDIR(st.st_mode))
    return EISDIR;
  if (!S_ISREG(st.st_mode))
    return EACCES;
  return faccessat(dirfd, path, X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

static const char *path_of(const char *const *env) {
  for (size_t i = 0; env[i]; i++) {
    if (strncmp(env[i], "PATH=", 5) == 0)
      return env[i] + 5;
  }
  return DEFAULT_PATH;
}

/* Looks along the given environment's PATH, as the child would: 0 and w->path, or an errno. */
static int find_program(struct work *w) {
  const char *name = w->opts->argv[0];
  bool found = false;
  if (*name == '\0')
    return ENOENT;
  if (strchr(name, '/')) {
    if (snprintf(w->path, sizeof w->path, "%s", name) >= (int)sizeof w->path)
      return ENAMETOOLONG;
    return check_file(w->dirfd, w->path, &found);
  }
  int result = ENOENT;
  for (const char *dir = path_of(w->env); dir;) {
    size_t len = strcspn(dir, ":");
    int n = snprintf(w->path, sizeof w->path, "%.*s/%s", len ? (int)len : 1, len ? dir : ".", name);
    int rc = n < (int)sizeof w->path ? check_file(w->dirfd, w->path, &found) : ENAMETOOLONG;
    if (rc == 0)
      return 0;
    if (found)
      result = EACCES;
    dir = dir[len] == ':' ? dir + len + 1 : NULL;
  }
  return result;
}

/* What a shell would answer; false when errnum is a failure of the system and not of the program.
 */
static bool refuse(struct lum_spawned *out, int errnum, bool found) {
  static const struct {
    int errnum, code;
    const char *reason;
  } rows[] = {
      {ENOENT, 127, "not found"},         {ENOTDIR, 127, "not found"},
      {ELOOP, 127, "too many links"},     {ENAMETOOLONG, 127, "name too long"},
      {EACCES, 126, "permission denied"}, {EPERM, 126, "operation not permitted"},
      {EISDIR, 126, "is a directory"},    {ENOEXEC, 126, "exec format error (no #! line?)"},
      {ETXTBSY, 126, "text file busy"},   {ELIBBAD, 126, "its interpreter is damaged"},
      {EINVAL, 126, "exec format error"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (rows[i].errnum != errnum)
      continue;
    bool bad_interpreter = found && errnum == ENOENT;
    out->refused = bad_interpreter ? 126 : rows[i].code;
    out->reason = bad_interpreter ? "its interpreter was not found" : rows[i].reason;
    return true;
  }
  return false;
}

/* ---- descriptors ---- */

static void close_fd(int *fd) {
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

void lum_spawned_close(struct lum_spawned *spawned) {
  close_fd(&spawned->pidfd);
  close_fd(&spawned->in);
  close_fd(&spawned->out);
  close_fd(&spawned->err);
}

/* Takes fd; gives the same above 2, where it cannot be overwritten while 0, 1 and 2 are set up. */
static int above_stdio(int fd) {
  if (fd < 0 || fd > 2)
    return fd;
  int high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  close(fd);
  return high;
}

static bool make_pipe(int *ours, int *childs, int ours_index, struct lum_err *err) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0)
    return lum_err_sys(err, errno, "spawn: cannot make a pipe");
  *ours = fds[ours_index];
  *childs = above_stdio(fds[1 - ours_index]);
  if (*childs < 0 || fcntl(*ours, F_SETFL, O_NONBLOCK) != 0)
    return lum_err_sys(err, errno, "spawn: cannot make a pipe");
  return true;
}

static bool open_stdin_file(struct work *w, struct lum_err *err) {
  const char *path = w->opts->stdin_file;
  /* non-blocking only for the open itself, which would wait for the writer of a fifo */
  int fd = above_stdio(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat st;
  w->child[0] = fd;
  if (fd < 0 || fstat(fd, &st) != 0 || fcntl(fd, F_SETFL, 0) != 0)
    return lum_err_sys(err, errno, "stdin_file '%s'", path);
  return S_ISDIR(st.st_mode) ? lum_err_sys(err, EISDIR, "stdin_file '%s'", path) : true;
}

static bool open_stdin(struct work *w, struct lum_err *err) {
  if (w->opts->in == LUM_STDIN_PIPE)
    return make_pipe(&w->in, &w->child[0], 1, err);
  if (w->opts->in == LUM_STDIN_FILE)
    return open_stdin_file(w, err);
  w->child[0] = above_stdio(open("/dev/null", O_RDONLY | O_CLOEXEC));
  return w->child[0] >= 0 ? true : lum_err_sys(err, errno, "/dev/null");
}

static bool open_pipes(struct work *w, struct lum_err *err) {
  if (!open_stdin(w, err) || !make_pipe(&w->out, &w->child[1], 0, err))
    return false;
  if (!w->opts->merge)
    return make_pipe(&w->err, &w->child[2], 0, err);
  w->child[2] = w->child[1];
  return true;
}

static int open_slave(int master) {
  int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  char name[64];
  if (fd < 0 && ptsname_r(master, name, sizeof name) == 0)
    fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return above_stdio(fd);
}

static bool open_pty(struct work *w, struct lum_err *err) {
  w->out = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  struct winsize size = {.ws_col = w->opts->cols, .ws_row = w->opts->rows};
  if (w->out < 0 || grantpt(w->out) != 0 || unlockpt(w->out) != 0 ||
      (w->child[0] = open_slave(w->out)) < 0 || ioctl(w->out, TIOCSWINSZ, &size) != 0)
    return lum_err_sys(err, errno, "spawn: cannot open a terminal");
  w->child[1] = w->child[2] = w->child[0];
  w->in = fcntl(w->out, F_DUPFD_CLOEXEC, 3);
  return w->in >= 0 ? true : lum_err_sys(err, errno, "spawn: cannot open a terminal");
}

static void close_child_side(struct work *w) {
  for (int i = 2; i >= 0; i--) {
    bool shared = i > 0 && w->child[i] == w->child[i - 1];
    if (shared)
      w->child[i] = -1;
    close_fd(&w->child[i]);
  }
}

/* ---- the child ---- */

enum stage { STAGE_SESSION, STAGE_CWD, STAGE_STDIO, STAGE_LIMIT, STAGE_EXEC };

struct launch {
  const struct work *work;
  volatile int errnum; /* written by the child into the memory it shares with us */
  volatile int stage, limit;
};

/* The child runs on a borrowed stack, which the sanitizers know nothing of. */
#define CHILD_CODE __attribute__((no_sanitize("address", "undefined")))

CHILD_CODE static void reset_signals(void) {
  /* A handler of the host must not run here, and an ignored signal would stay ignored after exec.
   */
  struct sigaction act;
  for (int sig = 1; sig < NSIG; sig++) {
    if (sigaction(sig, NULL, &act) == 0 && act.sa_handler != SIG_DFL) {
      act.sa_handler = SIG_DFL;
      act.sa_flags = 0;
      sigaction(sig, &act, NULL);
    }
  }
}

CHILD_CODE static void close_on_exec(void) {
  if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
    return;
  for (int fd = 3; fd < 4096; fd++) /* an old kernel; our own descriptors are born that way */
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

CHILD_CODE static bool set_limits(struct launch *l) {
  const struct lum_spawn_opts *opts = l->work->opts;
  for (size_t i = 0; i < opts->limit_count; i++) {
    rlim_t value =
        opts->limits[i].value == UINT64_MAX ? RLIM_INFINITY : (rlim_t)opts->limits[i].value;
    struct rlimit limit = {value, value};
    l->limit = (int)i;
    if (setrlimit((__rlimit_resource_t)opts->limits[i].resource, &limit) != 0)
      return false;
  }
  return true;
}

CHILD_CODE static bool set_up(struct launch *l) {
  const struct work *w = l->work;
  l->stage = STAGE_SESSION;
  if (setsid() < 0 ||
      (w->opts->pty && !w->opts->free_terminal && ioctl(w->child[0], TIOCSCTTY, 0) != 0))
    return false;
  l->stage = STAGE_CWD;
  if (w->dirfd != AT_FDCWD && fchdir(w->dirfd) != 0)
    return false;
  l->stage = STAGE_STDIO;
  for (int i = 0; i < 3; i++) {
    if (dup2(w->child[i], i) < 0)
      return false;
  }
  close_on_exec();
  l->stage = STAGE_LIMIT;
  return set_limits(l);
}

CHILD_CODE static int child_main(void *arg) {
  struct launch *l = arg;
  const struct work *w = l->work;
  reset_signals();
  if (set_up(l)) {
    l->stage = STAGE_EXEC;
    uint64_t none = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
    execve(w->path, (char *const *)w->opts->argv, (char *const *)w->env);
  }
  l->errnum = errno;
  _exit(127);
}

/* The pid, or a negative errno. The calling thread sleeps until the child has called exec or ended.
 */
static int launch(struct launch *l) {
  _Alignas(16) char stack[32 * 1024];
  uint64_t all = UINT64_MAX, old = 0; /* not sigprocmask(): it would leave out libc's own signals */
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof all);
  int pid = clone(child_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, l);
  int errnum = errno;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof old);
  return pid >= 0 ? pid : -errnum;
}

static bool launch_failed(const struct launch *l, struct lum_spawned *out, struct lum_err *err) {
  const struct lum_spawn_opts *opts = l->work->opts;
  switch ((enum stage)l->stage) {
  case STAGE_CWD:
    return lum_err_sys(err, l->errnum, "cwd '%s'", opts->cwd);
  case STAGE_LIMIT:
    return lum_err_sys(err, l->errnum, "limit '%s' cannot be set to %llu",
                       opts->limits[l->limit].name,
                       (unsigned long long)opts->limits[l->limit].value);
  case STAGE_EXEC:
    if (refuse(out, l->errnum, true))
      return true;
    break;
  case STAGE_SESSION:
  case STAGE_STDIO:
    break;
  }
  return lum_err_sys(err, l->errnum, "spawn '%.200s'", opts->argv[0]);
}

static void reap(int pid) {
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
    ;
}

static bool run_child(struct work *w, struct lum_spawned *out, struct lum_err *err) {
  struct launch l = {.work = w};
  int pid = launch(&l);
  if (pid < 0)
    return lum_err_sys(err, -pid, "spawn '%.200s'", w->opts->argv[0]);
  if (l.errnum != 0) {
    reap(pid);
    return launch_failed(&l, out, err);
  }
  int pidfd = lum_pidfd(pid);
  if (pidfd < 0 && errno == ESRCH) /* gone, and reaped by the kernel: its pid may be anybody's */
    return lum_err_set(err, LUM_INTERNAL, "spawn '%.200s': the host ignores SIGCHLD",
                       w->opts->argv[0]);
  if (pidfd < 0 && errno != ENOSYS) {
    lum_err_sys(err, errno, "spawn '%.200s'", w->opts->argv[0]);
    kill(-pid, SIGKILL);
    reap(pid);
    return false;
  }
  out->pid = pid;
  out->pidfd = pidfd;
  out->in = w->in;
  out->out = w->out;
  out->err = w->err;
  w->in = w->out = w->err = -1;
  return true;
}

static bool prepare_and_run(struct work *w, struct lum_spawned *out, struct lum_err *err) {
  const struct lum_spawn_opts *opts = w->opts;
  if (opts->cwd) {
    w->dirfd = open(opts->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (w->dirfd < 0)
      return lum_err_sys(err, errno, "cwd '%s'", opts->cwd);
    w->dirfd = above_stdio(w->dirfd);
  }
  if (!make_env(w, err) || !check_sizes(w, err))
    return false;
  int missing = find_program(w);
  if (missing != 0)
    return refuse(out, missing, false) ||
           lum_err_sys(err, missing, "program '%.200s'", opts->argv[0]);
  if (!(opts->pty ? open_pty(w, err) : open_pipes(w, err)))
    return false;
  return run_child(w, out, err);
}

bool lum_spawn(const struct lum_spawn_opts *opts, struct lum_spawned *out, struct lum_err *err) {
  *out = (struct lum_spawned){.pid = -1, .pidfd = -1, .in = -1, .out = -1, .err = -1};
  struct work w = {
      .opts = opts, .dirfd = AT_FDCWD, .child = {-1, -1, -1}, .in = -1, .out = -1, .err = -1};
  bool ok = prepare_and_run(&w, out, err);
  int errnum = errno;
  close_child_side(&w);
  close_fd(&w.in);
  close_fd(&w.out);
  close_fd(&w.err);
  if (w.dirfd != AT_FDCWD)
    close_fd(&w.dirfd);
  free(w.own_env);
  errno = errnum;
  return ok;
}
