/* floor_spawn [-m MiB] [-1] COUNT PROGRAM [ARGUMENT...]
 *
 * A stopwatch and the least that running a program can cost: posix_spawn and waitpid, COUNT times
 * in a row. Prints the seconds they took together. -m keeps so much memory resident meanwhile, as a
 * large host would; -1 counts each run only until the first byte on its standard output. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void die(const char *what, int errnum) {
  fprintf(stderr, "floor_spawn: %s: %s\n", what, strerror(errnum));
  exit(2);
}

static void reap(pid_t pid, const char *program) {
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR)
      die("waitpid", errno);
  if (status != 0) {
    fprintf(stderr, "floor_spawn: %s ended with status 0x%x\n", program, (unsigned)status);
    exit(1);
  }
}

static double run(char **argv) {
  pid_t pid;
  double start = now();
  int rc = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
  if (rc != 0)
    die(argv[0], rc);
  reap(pid, argv[0]);
  return now() - start;
}

static double run_to_first_byte(char **argv) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0)
    die("pipe", errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
  pid_t pid;
  double start = now();
  int rc = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
  if (rc != 0)
    die(argv[0], rc);
  close(fds[1]);
  char byte;
  if (read(fds[0], &byte, 1) != 1) {
    fprintf(stderr, "floor_spawn: %s wrote nothing\n", argv[0]);
    exit(1);
  }
  double took = now() - start;
  char rest[4096];
  while (read(fds[0], rest, sizeof rest) > 0)
    ;
  close(fds[0]);
  posix_spawn_file_actions_destroy(&actions);
  reap(pid, argv[0]);
  return took;
}

static void make_resident(size_t mib) {
  if (mib == 0)
    return;
  void *memory = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED)
    die("memory", errno);
}

int main(int argc, char **argv) {
  bool first_byte = false;
  int opt;
  while ((opt = getopt(argc, argv, "+m:1")) != -1) {
    if (opt == 'm')
      make_resident((size_t)strtoul(optarg, NULL, 10));
    else if (opt == '1')
      first_byte = true;
    else
      return 2;
  }
  if (argc - optind < 2) {
    fprintf(stderr, "usage: floor_spawn [-m MiB] [-1] COUNT PROGRAM [ARGUMENT...]\n");
    return 2;
  }
  long count = strtol(argv[optind], NULL, 10);
  char **command = argv + optind + 1;
  double total = 0;
  for (long i = 0; i < count; i++)
    total += first_byte ? run_to_first_byte(command) : run(command);
  printf("%.9f\n", total);
  return 0;
}
