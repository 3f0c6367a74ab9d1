/* Creating one child process, the cheap way: the child borrows the host's memory until it runs its
 * program, so that the price does not grow with the host. The child leads its own session and sees
 * the descriptors 0, 1 and 2 only. */
#ifndef LUM_SPAWN_H
#define LUM_SPAWN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

enum lum_stdin { LUM_STDIN_NULL, LUM_STDIN_PIPE, LUM_STDIN_FILE };

struct lum_rlimit {
  const char *name; /* as in lum_rlimit_find */
  int resource;
  uint64_t value; /* soft and hard; UINT64_MAX: none */
};

struct lum_spawn_opts {
  const char *const *argv; /* NULL-terminated, at least one */
  const char *const *env;  /* "K=V", NULL-terminated; NULL: the host's own */
  const char *cookie;      /* one more "NAME=value" for the environment; NULL: none */
  const char *cwd;         /* NULL: the host's */
  enum lum_stdin in;
  const char *stdin_file; /* for LUM_STDIN_FILE */
  bool pty;               /* a terminal as 0, 1 and 2; in and merge do not matter then */
  bool free_terminal;     /* the terminal stays without a session: some child makes it its own */
  bool merge;             /* 2 is the same pipe as 1 */
  unsigned short cols, rows;
  const struct lum_rlimit *limits;
  size_t limit_count;
};

struct lum_spawned {
  int refused;        /* 0, or what a shell would answer: 127 not found, 126 not executable */
  const char *reason; /* for refused: static text */
  pid_t pid;          /* -1 when refused */
  int pidfd;          /* -1 when refused, and where the system has none */
  int in, out, err;   /* our ends, non-blocking; -1: none. With a pty in and out are its master */
};

/* False with err filled when no child could be made. A program that is missing or cannot be
 * executed is no error but `refused`. The caller owns the descriptors and must reap pid. */
bool lum_spawn(const struct lum_spawn_opts *opts, struct lum_spawned *out, struct lum_err *err);

/* Closes the descriptors of one that nobody will use. */
void lum_spawned_close(struct lum_spawned *spawned);

/* The resource of a limit's name, such as "nofile"; -1 when there is none of that name. */
int lum_rlimit_find(const char *name);

#endif
