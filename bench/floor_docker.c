/* floor_docker SOCKET CONTAINER COUNT [COMMAND...]
 *
 * Runs a command (default: true) COUNT times in a container, one after another, as a client that
 * does no more than it must: makes the exec, starts it on a connection of its own, reads to the
 * end, asks for the exit code. Prints the seconds of all. Fails when an exit code is not 0. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BIG (256 * 1024)

static void die(const char *what) {
  fprintf(stderr, "floor_docker: %s\n", what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(const char *path) {
  struct sockaddr_un where = {.sun_family = AF_UNIX};
  snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof where) != 0)
    die("cannot connect");
  return fd;
}

static void send_all(int fd, const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
    if (n <= 0)
      die("cannot send");
    text += n;
    len -= (size_t)n;
  }
}

static void ask(int fd, const char *method, const char *path, const char *more, const char *body) {
  char text[8192];
  int len = snprintf(text, sizeof text,
                     "%s %s HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n%s\r\n%s",
                     method, path, strlen(body), more, body);
  send_all(fd, text, (size_t)len);
}

/* Reads a head, and as much of the body as is announced, into text. */
static void answer(int fd, char *text, size_t size) {
  size_t len = 0;
  for (;;) {
    ssize_t n = recv(fd, text + len, size - 1 - len, 0);
    if (n <= 0)
      die("the answer was cut");
    len += (size_t)n;
    text[len] = '\0';
    char *body = strstr(text, "\r\n\r\n");
    if (!body)
      continue;
    char *length = strcasestr(text, "content-length:");
    size_t want = length && length < body ? strtoul(length + 15, NULL, 10) : 0;
    if (len >= (size_t)(body + 4 - text) + want)
      return;
  }
}

static void run(const char *socket_path, int fd, const char *container, const char *command) {
  static char text[65536], bytes[BIG];
  char path[512];
  snprintf(path, sizeof path, "/v1.41/containers/%s/exec", container);
  ask(fd, "POST", path, "", command);
  answer(fd, text, sizeof text);
  char *id = strstr(text, "\"Id\":\"");
  if (!id)
    die(text);
  char exec[80];
  snprintf(exec, sizeof exec, "%.64s", id + 6);
  int stream = dial(socket_path);
  snprintf(path, sizeof path, "/v1.41/exec/%s/start", exec);
  ask(stream, "POST", path, "Connection: Upgrade\r\nUpgrade: tcp\r\n",
      "{\"Detach\":false,\"Tty\":false}");
  while (recv(stream, bytes, sizeof bytes, 0) > 0)
    ;
  close(stream);
  snprintf(path, sizeof path, "/v1.41/exec/%s/json", exec);
  ask(fd, "GET", path, "", "");
  answer(fd, text, sizeof text);
  if (!strstr(text, "\"ExitCode\":0"))
    die(text);
}

int main(int argc, char **argv) {
  if (argc < 4)
    die("usage: floor_docker SOCKET CONTAINER COUNT [COMMAND...]");
  static char command[4096] = "{\"AttachStdout\":true,\"AttachStderr\":true,\"Cmd\":[";
  for (int i = 4; i < argc; i++) {
    size_t at = strlen(command);
    snprintf(command + at, sizeof command - at, "%s\"%s\"", i > 4 ? "," : "", argv[i]);
  }
  strcat(command, argc > 4 ? "]}" : "\"true\"]}");
  int fd = dial(argv[1]);
  double start = now();
  for (long i = strtol(argv[3], NULL, 10); i > 0; i--)
    run(argv[1], fd, argv[2], command);
  printf("%.6f\n", now() - start);
  return 0;
}
