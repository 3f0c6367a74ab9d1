/* Reading /proc. Thread safe: everything works on the caller's memory. */
#ifndef LUM_PROCFS_H
#define LUM_PROCFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

struct lum_pids {
  pid_t *list;
  size_t count, size;
};

struct lum_pstat {
  pid_t pid, ppid, session;
  char state;   /* 'R', 'S', 'D', 'Z' ... */
  bool kernel;  /* a kernel thread */
  bool dead;    /* a zombie, and not only its first thread */
  bool exiting; /* its first thread is ending, or has ended */
  bool no_env;  /* the environment is not there (yet): a zombie, or in the middle of exec */
  char comm[24];
};

struct lum_environ {
  char *data; /* entries, each ended by a NUL */
  size_t len, size;
};

/* A pidfd, or -1: errno is ENOSYS where the system has none. */
int lum_pidfd(pid_t pid);

bool lum_pids_add(struct lum_pids *pids, pid_t pid);

/* All processes that this user may end, ascending, without init and this process. */
bool lum_procfs_pids(struct lum_pids *pids, struct lum_err *err);

/* The children of pid, whichever of its threads made them; nothing when the kernel does not tell.
 */
void lum_procfs_children(pid_t pid, struct lum_pids *pids);

bool lum_procfs_stat(pid_t pid, struct lum_pstat *st);

/* Reads the environment a process was started with; empty when there is none or it may not be read.
 * The buffer is reused from call to call; free(env->data) at last. */
void lum_procfs_environ(pid_t pid, struct lum_environ *env);

#endif
