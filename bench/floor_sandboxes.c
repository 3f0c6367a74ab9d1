/* floor_sandboxes COUNT CONCURRENCY FOLDER
 *
 * The life of local sandboxes with nothing of ours around it: for each, make its folders and write
 * its state file, run `sh -c true` with three pipes, read both outputs to their end, wait, and
 * remove everything again. CONCURRENCY of them at a time, from one thread that sleeps in poll.
 * Prints the seconds; fails when one of them fails. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { OUT, ERR, STREAMS };

struct sandbox {
  long number; /* -1: this place is free */
  pid_t pid;
  int fds[STREAMS];
};

static const char *base;

/* What the local provider makes for one sandbox. */
static const char *const folders[] = {"", "/home", "/tmp", "/work"};

static const char record[] =
    "{\"id\":\"sbx_01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"provider\":\"local\",\"adapter\":\"local\","
    "\"external_id\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"status\":\"running\",\"cwd\":\"/work\","
    "\"created_at\":1700000000.123,\"env\":{},\"labels\":{},\"data\":{}}\n";

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what) {
  fprintf(stderr, "floor_sandboxes: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void write_record(const char *path, const char *text) {
  char temporary[4096];
  snprintf(temporary, sizeof temporary, "%s.new", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  size_t len = strlen(text);
  if (fd < 0 || write(fd, text, len) != (ssize_t)len || close(fd) != 0)
    die(temporary);
  if (rename(temporary, path) != 0)
    die(path);
}

static void record_path(char *path, size_t size, long number) {
  snprintf(path, size, "%s/sandboxes/%ld.json", base, number);
}

static void make_files(long number) {
  char path[4096];
  record_path(path, sizeof path, number);
  write_record(path, record); /* before it exists, so that a crash leaves no orphan */
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/local/%ld%s", base, number, folders[i]);
    if (mkdir(folder, 0700) != 0)
      die(folder);
  }
  char state[4096];
  snprintf(state, sizeof state, "%s/local/%ld/state.json", base, number);
  write_record(state, record);
  write_record(path, record); /* and once more, now that it runs */
}

static void remove_files(long number) {
  char path[4096];
  snprintf(path, sizeof path, "%s/local/%ld", base, number);
  char *roots[] = {path, NULL};
  FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
  if (!walk)
    die(path);
  for (FTSENT *entry; (entry = fts_read(walk));) {
    if (entry->fts_info == FTS_D)
      continue;
    if ((entry->fts_info == FTS_DP ? rmdir(entry->fts_path) : unlink(entry->fts_path)) != 0)
      die(entry->fts_path);
  }
  fts_close(walk);
  record_path(path, sizeof path, number);
  if (unlink(path) != 0)
    die(path);
}

static void start_command(struct sandbox *box) {
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
    die("pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  static char *argv[] = {"sh", "-c", "true", NULL};
  errno = posix_spawn(&box->pid, "/bin/sh", &actions, NULL, argv, environ);
  if (errno != 0)
    die("sh");
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(in[1]);
  close(out[1]);
  close(err[1]);
  box->fds[OUT] = out[0];
  box->fds[ERR] = err[0];
}

/* Reads what is there; true at the end of the stream. */
static bool at_end(int fd) {
  char bytes[4096];
  ssize_t n;
  do
    n = read(fd, bytes, sizeof bytes);
  while (n < 0 && errno == EINTR);
  if (n < 0)
    die("read");
  return n == 0;
}

static void finish(struct sandbox *box) {
  int status;
  if (waitpid(box->pid, &status, 0) < 0)
    die("waitpid");
  if (status != 0) {
    fprintf(stderr, "floor_sandboxes: sh ended with status 0x%x\n", (unsigned)status);
    exit(1);
  }
  remove_files(box->number);
  box->number = -1;
}

static void fill(struct sandbox *boxes, long places, long *next, long count) {
  for (long i = 0; i < places && *next < count; i++) {
    if (boxes[i].number >= 0)
      continue;
    boxes[i].number = (*next)++;
    make_files(boxes[i].number);
    start_command(&boxes[i]);
  }
}

static long wait_some(struct sandbox *boxes, struct pollfd *polls, long places) {
  for (long i = 0; i < places; i++)
    for (int s = 0; s < STREAMS; s++)
      polls[i * STREAMS + s] =
          (struct pollfd){.fd = boxes[i].number >= 0 ? boxes[i].fds[s] : -1, .events = POLLIN};
  if (poll(polls, (nfds_t)(places * STREAMS), -1) < 0)
    die("poll");
  long ended = 0;
  for (long i = 0; i < places; i++) {
    if (boxes[i].number < 0)
      continue;
    for (int s = 0; s < STREAMS; s++) {
      if (polls[i * STREAMS + s].revents && at_end(boxes[i].fds[s])) {
        close(boxes[i].fds[s]);
        boxes[i].fds[s] = -1;
      }
    }
    if (boxes[i].fds[OUT] < 0 && boxes[i].fds[ERR] < 0) {
      finish(&boxes[i]);
      ended++;
    }
  }
  return ended;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: floor_sandboxes COUNT CONCURRENCY FOLDER\n");
    return 2;
  }
  long count = strtol(argv[1], NULL, 10), places = strtol(argv[2], NULL, 10);
  base = argv[3];
  char path[4096];
  snprintf(path, sizeof path, "%s/sandboxes", base);
  if (mkdir(path, 0700) != 0)
    die(path);
  snprintf(path, sizeof path, "%s/local", base);
  if (mkdir(path, 0700) != 0)
    die(path);
  struct sandbox *boxes = calloc((size_t)places, sizeof *boxes);
  struct pollfd *polls = calloc((size_t)places * STREAMS, sizeof *polls);
  if (!boxes || !polls)
    die("memory");
  for (long i = 0; i < places; i++)
    boxes[i].number = -1;
  double start = now();
  long next = 0;
  for (long done = 0; done < count;) {
    fill(boxes, places, &next, count);
    done += wait_some(boxes, polls, places);
  }
  printf("%.9f\n", now() - start);
  free(boxes);
  free(polls);
  return 0;
}
