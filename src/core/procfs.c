#include "procfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define ENVIRON_FIRST (64u * 1024)
#define ENVIRON_MAX (8u * 1024 * 1024) /* the kernel allows 6 MiB */
#define EXITING 0x00000004u            /* PF_EXITING in the flags of stat */
#define KERNEL_THREAD 0x00200000u      /* PF_KTHREAD in the flags of stat */

int lum_pidfd(pid_t pid) {
  static atomic_bool missing; /* asked once: tools that emulate a kernel complain each time */
  errno = ENOSYS;
  int pidfd = atomic_load(&missing) ? -1 : pidfd_open(pid, 0);
  if (pidfd < 0 && errno == ENOSYS)
    atomic_store(&missing, true);
  return pidfd;
}

bool lum_pids_add(struct lum_pids *pids, pid_t pid) {
  if (pids->count == pids->size) {
    size_t size = pids->size ? pids->size * 2 : 256;
    pid_t *list = realloc(pids->list, size * sizeof *list);
    if (!list)
      return false;
    pids->list = list;
    pids->size = size;
  }
  pids->list[pids->count++] = pid;
  return true;
}

/* 0 when the name is not a number. */
static pid_t parse_pid(const char *name) {
  long value = 0;
  for (; *name >= '0' && *name <= '9' && value < 1L << 28; name++)
    value = value * 10 + (*name - '0');
  return *name == '\0' ? (pid_t)value : 0;
}

/* Adds the numeric names of a folder: processes, or threads of one. An errno, or 0. */
static int list_pids(const char *path, struct lum_pids *pids) {
  DIR *dir = opendir(path);
  if (!dir)
    return errno;
  int rc = 0;
  for (struct dirent *entry; rc == 0 && (entry = readdir(dir));) {
    pid_t pid = parse_pid(entry->d_name);
    if (pid > 0 && !lum_pids_add(pids, pid))
      rc = ENOMEM;
  }
  closedir(dir);
  return rc;
}

static bool is_owner(pid_t pid, uid_t uid) {
  char path[32];
  struct stat st;
  snprintf(path, sizeof path, "/proc/%d", (int)pid);
  return stat(path, &st) == 0 && st.st_uid == uid;
}

bool lum_procfs_pids(struct lum_pids *pids, struct lum_err *err) {
  pids->count = 0;
  int rc = list_pids("/proc", pids);
  if (rc != 0)
    return lum_err_sys(err, rc, "cannot list /proc");
  pid_t self = getpid();
  uid_t uid = geteuid();
  size_t kept = 0;
  for (size_t i = 0; i < pids->count; i++) {
    pid_t pid = pids->list[i];
    if (pid > 1 && pid != self && (uid == 0 || is_owner(pid, uid)))
      pids->list[kept++] = pid;
  }
  pids->count = kept;
  return true;
}

/* Reads up to size bytes; -1 when the file is not there or not readable. */
static ssize_t slurp(const char *path, char *buf, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return -1;
  size_t len = 0;
  ssize_t n = 1;
  while (len < size && n > 0) {
    n = read(fd, buf + len, size - len);
    if (n > 0)
      len += (size_t)n;
  }
  close(fd);
  return n < 0 ? -1 : (ssize_t)len;
}

static void add_children_of_task(pid_t pid, pid_t tid, struct lum_pids *pids) {
  char path[64], text[32 * 1024];
  snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)tid);
  ssize_t n = slurp(path, text, sizeof text - 1);
  if (n <= 0)
    return;
  text[n] = '\0';
  for (char *at = text, *end; *at; at = end + strspn(end, " ")) {
    long child = strtol(at, &end, 10);
    if (end == at)
      break;
    if (*end == ' ' && child > 1) /* a number that the buffer cut off has no blank behind it */
      lum_pids_add(pids, (pid_t)child);
  }
}

void lum_procfs_children(pid_t pid, struct lum_pids *pids) {
  struct lum_pids tasks = {0};
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  list_pids(path, &tasks);
  for (size_t i = 0; i < tasks.count; i++)
    add_children_of_task(pid, tasks.list[i], pids);
  free(tasks.list);
}

bool lum_procfs_stat(pid_t pid, struct lum_pstat *st) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  ssize_t n = slurp(path, text, sizeof text - 1);
  if (n <= 0)
    return false;
  text[n] = '\0';
  char *open = strchr(text, '('), *close = strrchr(text, ')'); /* the name may hold anything */
  if (!open || !close || close < open)
    return false;
  long long field[53] = {0}; /* numbered as in proc(5) */
  char *at = close + 2;
  st->state = *at++;
  for (int i = 4; i <= 51; i++)
    field[i] = strtoll(at, &at, 10);
  st->pid = pid;
  st->ppid = (pid_t)field[4];
  st->session = (pid_t)field[6];
  st->kernel = (field[9] & KERNEL_THREAD) != 0;
  st->dead = (st->state == 'Z' || st->state == 'X') && field[20] <= 1;
  st->exiting = st->state == 'Z' || (field[9] & EXITING) != 0;
  st->no_env = field[51] == 0;
  snprintf(st->comm, sizeof st->comm, "%.*s", (int)(close - open - 1), open + 1);
  return true;
}

static void read_environ(const char *path, struct lum_environ *env) {
  env->len = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  for (;;) {
    if (env->len == env->size) {
      size_t size = env->size ? env->size * 4 : ENVIRON_FIRST;
      char *data = size <= ENVIRON_MAX ? realloc(env->data, size) : NULL;
      if (!data)
        break;
      env->data = data;
      env->size = size;
    }
    size_t room = env->size - env->len;
    ssize_t n = read(fd, env->data + env->len, room);
    if (n > 0)
      env->len += (size_t)n;
    if (n < (ssize_t)room)
      break;
  }
  close(fd);
}

/* When the first thread of a process has ended, only the others still know the environment. */
static void read_task_environ(pid_t pid, struct lum_environ *env) {
  struct lum_pids tasks = {0};
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  list_pids(path, &tasks);
  for (size_t i = 0; i < tasks.count && env->len == 0; i++) {
    snprintf(path, sizeof path, "/proc/%d/task/%d/environ", (int)pid, (int)tasks.list[i]);
    read_environ(path, env);
  }
  free(tasks.list);
}

void lum_procfs_environ(pid_t pid, struct lum_environ *env) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
  for (int attempt = 0; attempt < 20; attempt++) {
    struct lum_pstat st;
    read_environ(path, env);
    if (env->len > 0 || !lum_procfs_stat(pid, &st) || st.kernel || st.dead || !st.no_env)
      return;
    if (st.exiting) {
      read_task_environ(pid, env);
      return;
    }
    struct timespec pause = {0, 50000}; /* in the middle of exec: it will have one in a moment */
    nanosleep(&pause, NULL);
  }
}
