/* What libssh2 alone can do, waiting in each call, with nothing of ours:
 *
 * floor_ssh PORT USER KEY exec COUNT COMMAND
 *   COUNT times the command over one session: a channel, the request, the output to its end, the
 *   exit status. Prints milliseconds for one; fails when one does.
 * floor_ssh PORT USER KEY download|upload HERE THERE
 *   A file through `cat`. Prints MiB a second.
 *
 * libssh2 1.10 gives the cipher 16 bytes a call, which is half of the time of a transfer. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <libssh2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
  fprintf(stderr, "floor_ssh: %s\n", what);
  exit(1);
}

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int connect_to(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
    die("cannot connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static void run_once(LIBSSH2_SESSION *session, const char *command) {
  char buf[32768];
  LIBSSH2_CHANNEL *channel = libssh2_channel_open_session(session);
  if (!channel || libssh2_channel_exec(channel, command) != 0)
    die("cannot run the command");
  while (libssh2_channel_read(channel, buf, sizeof buf) > 0)
    ;
  libssh2_channel_close(channel);
  libssh2_channel_wait_closed(channel);
  if (libssh2_channel_get_exit_status(channel) != 0)
    die("the command failed");
  libssh2_channel_free(channel);
}

/* Milliseconds for one. */
static double run_many(LIBSSH2_SESSION *session, int count, const char *command) {
  run_once(session, command);
  double start = now();
  for (int i = 0; i < count; i++)
    run_once(session, command);
  return (now() - start) / count * 1e3;
}

/* Bytes that were moved. */
static size_t download(LIBSSH2_CHANNEL *channel, int file) {
  static char buf[131072];
  size_t total = 0;
  ssize_t n;
  while ((n = libssh2_channel_read(channel, buf, sizeof buf)) > 0) {
    if (write(file, buf, (size_t)n) != n)
      die("cannot write the file");
    total += (size_t)n;
  }
  return total;
}

static size_t upload(LIBSSH2_CHANNEL *channel, int file) {
  static char buf[131072];
  size_t total = 0;
  ssize_t n, sent;
  while ((n = read(file, buf, sizeof buf)) > 0) {
    for (ssize_t at = 0; at < n; at += sent)
      if ((sent = libssh2_channel_write(channel, buf + at, (size_t)(n - at))) < 0)
        die("cannot send the file");
    total += (size_t)n;
  }
  libssh2_channel_send_eof(channel);
  libssh2_channel_wait_eof(channel);
  return total;
}

/* MiB a second. */
static double move_file(LIBSSH2_SESSION *session, bool up, const char *here, const char *there) {
  char command[4200];
  snprintf(command, sizeof command, "cat %c'%s'", up ? '>' : '<', there);
  int file = up ? open(here, O_RDONLY) : open(here, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0)
    die("cannot open the file");
  double start = now();
  LIBSSH2_CHANNEL *channel = libssh2_channel_open_session(session);
  if (!channel || libssh2_channel_exec(channel, command) != 0)
    die("cannot run cat");
  size_t total = up ? upload(channel, file) : download(channel, file);
  libssh2_channel_close(channel);
  libssh2_channel_wait_closed(channel);
  if (libssh2_channel_get_exit_status(channel) != 0)
    die("cat failed");
  libssh2_channel_free(channel);
  close(file);
  return (double)total / 1048576 / (now() - start);
}

int main(int argc, char **argv) {
  if (argc != 7 || libssh2_init(0) != 0)
    die("usage: floor_ssh PORT USER KEY (exec COUNT COMMAND | download|upload HERE THERE)");
  int fd = connect_to(atoi(argv[1]));
  LIBSSH2_SESSION *session = libssh2_session_init();
  if (!session || libssh2_session_handshake(session, fd) != 0)
    die("no session");
  if (libssh2_userauth_publickey_fromfile(session, argv[2], NULL, argv[3], NULL) != 0)
    die("the key is refused");
  const char *what = argv[4];
  if (strcmp(what, "exec") == 0)
    printf("%.6f\n", run_many(session, atoi(argv[5]), argv[6]));
  else
    printf("%.6f\n", move_file(session, strcmp(what, "upload") == 0, argv[5], argv[6]));
  libssh2_session_disconnect(session, "done");
  libssh2_session_free(session);
  return 0;
}
