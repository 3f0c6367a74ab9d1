/* A child process under watch: learning its exit, its alarm, ending it with all it has started,
 * reaping it.
 *
 * Exits are seen through pidfds, never through SIGCHLD, which belongs to the host. The exit status
 * is looked at without reaping, so that the pid and its group stay reserved for as long as somebody
 * may still signal them. A child that its owner has released is reaped whenever it ends; memory
 * goes with the last handle. */
#ifndef LUM_CHILD_H
#define LUM_CHILD_H

#include "engine.h"
#include "procio.h"
#include "proctree.h"
#include "sweep.h"
#include "spawn.h"

struct lum_child;

struct lum_child_hooks {
  void (*on_over)(struct lum_child *child);  /* the status is known; once */
  void (*on_alarm)(struct lum_child *child); /* lum_child_alarm has run out */
  void (*on_swept)(struct lum_child *child); /* the sweep of lum_child_kill has ended */
  void (*on_engine_end)(
      struct lum_child *child);          /* close all, release; the child is killed already */
  void (*free)(struct lum_child *child); /* nothing refers to the memory any more */
};

struct lum_child {
  struct lum_hold hold; /* starts with one count, the owner's: see lum_hold_drop */
  const struct lum_child_hooks *hooks;
  struct lum_engine *eng;
  struct lum_child *prev, *next; /* all that are not reaped */
  uv_poll_t exit_poll;
  uv_timer_t exit_timer; /* where there are no pidfds */
  uv_timer_t alarm;
  struct lum_sweep *sweep; /* while it runs */
  struct lum_op *cleanup;  /* in the background while the sweep runs, so that it can be seen */
  char *cookie;
  pid_t pid; /* -1: there never was one */
  int pidfd;
  bool watched, has_alarm, listed, over, ended, reaped, released, lost;
  int exit_code; /* -1: ended by a signal, or not known */
  int signal;    /* 0: none */
  double started, finished;
};

/* Takes over a spawned child, but not its streams, or a refused one, which is over from the start.
 * When it cannot, it fills err and leaves nothing: the child is killed and reaped, all of spawned
 * closed. */
bool lum_child_create(struct lum_child *child, struct lum_engine *eng,
                      const struct lum_child_hooks *hooks, struct lum_spawned *spawned,
                      const char *cookie, double started, struct lum_err *err);

/* One alarm: setting it replaces the one before. */
void lum_child_alarm(struct lum_child *child, uint64_t ms);
void lum_child_no_alarm(struct lum_child *child);

/* Whether the group can still be signalled. */
bool lum_child_reachable(const struct lum_child *child);

/* Signals the group. False with err when there is nobody. */
bool lum_child_signal(struct lum_child *child, int sig, struct lum_err *err);

/* Kills the group at once and starts a sweep for what is elsewhere (on_swept tells its end).
 * Harmless when over. */
void lum_child_kill(struct lum_child *child);

/* Gives a killed child that the kernel does not let go the status it will have. Calls no hook. */
void lum_child_presume(struct lum_child *child);

/* Looks for the exit now. Calls on_over when it has come. */
void lum_child_check(struct lum_child *child);

/* No hook but `free` is called any more. Reaps at once or when the end comes. Idempotent. */
void lum_child_release(struct lum_child *child);

/* Reaps a child that is over. Its group cannot be signalled any more. */
void lum_child_reap(struct lum_child *child);

/* The engine's sweeper and read buffer, LUM_SCRATCH bytes that any function may overwrite; NULL:
 * out of memory. */
#define LUM_SCRATCH (256 * 1024)
struct lum_sweeper *lum_procs_sweeper(struct lum_engine *eng);
char *lum_procs_scratch(struct lum_engine *eng);

/* Keeps the first len bytes of the read buffer: large ones by handing out the buffer itself. *whole
 * tells which, for lum_procs_give_back. NULL: out of memory. */
char *lum_procs_keep(struct lum_engine *eng, size_t len, bool *whole);
void lum_procs_give_back(struct lum_engine *eng, char *bytes, bool whole);

#endif
