#include "target.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "procfs.h"

#define FREEZE_WAIT 0.2 /* seconds for all; the kernel may hold one for longer */

void lum_unpin(int pidfd) {
  if (pidfd >= 0)
    close(pidfd);
}

int lum_pin(pid_t pid, bool *gone) {
  int pidfd = lum_pidfd(pid);
  *gone = pidfd < 0 && errno != ENOSYS;
  return pidfd;
}

bool lum_targets_add(struct lum_targets *targets, pid_t pid, int pidfd, void *tag) {
  if (targets->count == targets->size) {
    size_t size = targets->size ? targets->size * 2 : 16;
    struct lum_target *list = realloc(targets->list, size * sizeof *list);
    if (!list) {
      lum_unpin(pidfd);
      return false;
    }
    targets->list = list;
    targets->size = size;
  }
  targets->list[targets->count++] = (struct lum_target){pid, pidfd, tag};
  return true;
}

bool lum_targets_have(const struct lum_targets *targets, pid_t pid) {
  for (size_t i = 0; i < targets->count; i++) {
    if (targets->list[i].pid == pid)
      return true;
  }
  return false;
}

void lum_targets_clear(struct lum_targets *targets) {
  for (size_t i = 0; i < targets->count; i++)
    lum_unpin(targets->list[i].pidfd);
  targets->count = 0;
}

bool lum_target_signal(const struct lum_target *target, int sig) {
  if (target->pidfd >= 0)
    return pidfd_send_signal(target->pidfd, sig, NULL, 0) == 0;
  return kill(target->pid, sig) == 0;
}

bool lum_target_is_gone(const struct lum_target *target) {
  struct pollfd fd = {.fd = target->pidfd, .events = POLLIN};
  struct lum_pstat st;
  if (target->pidfd >= 0)
    return poll(&fd, 1, 0) != 0;
  return !lum_procfs_stat(target->pid, &st) || st.dead;
}

static bool is_frozen(const struct lum_target *target) {
  struct lum_pstat st;
  return !lum_procfs_stat(target->pid, &st) || st.exiting || st.state == 'T' || st.state == 't';
}

void lum_targets_freeze(const struct lum_targets *targets, size_t first) {
  for (size_t i = first; i < targets->count; i++)
    lum_target_signal(&targets->list[i], SIGSTOP);
  double end = lum_monotonic() + FREEZE_WAIT;
  for (size_t i = first; i < targets->count; i++) {
    while (!is_frozen(&targets->list[i]) && lum_monotonic() < end) {
      struct timespec pause = {0, 50000};
      nanosleep(&pause, NULL);
    }
  }
}
