/* Processes that were found and are to be ended. A pidfd pins each, so that a pid that was given to
 * somebody else in between is never hit. Thread safe: everything works on the caller's memory. */
#ifndef LUM_TARGET_H
#define LUM_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct lum_target {
  pid_t pid;
  int pidfd; /* -1 where the system has none */
  void *tag; /* the finder's */
};

struct lum_targets {
  struct lum_target *list;
  size_t count, size;
};

/* Takes pidfd, also when it fails for want of memory. */
bool lum_targets_add(struct lum_targets *targets, pid_t pid, int pidfd, void *tag);
bool lum_targets_have(const struct lum_targets *targets, pid_t pid);

/* Closes the pidfds and empties the list, which stays allocated. */
void lum_targets_clear(struct lum_targets *targets);

/* A pidfd, or -1 with *gone telling a dead process from a system without pidfds. */
int lum_pin(pid_t pid, bool *gone);
void lum_unpin(int pidfd);

/* Whether the signal was sent; errno ESRCH: it has ended. */
bool lum_target_signal(const struct lum_target *target, int sig);
bool lum_target_is_gone(const struct lum_target *target);

/* Stops those from index first on and waits a moment for that. */
void lum_targets_freeze(const struct lum_targets *targets, size_t first);

#endif
