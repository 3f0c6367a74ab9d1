/* floor_ssh PORT USER KEY COUNT COMMAND
 *
 * COUNT times the command over one session of libssh2, waiting in each call, with nothing of ours:
 * a channel, the request, the output to its end, the exit status. Prints milliseconds for one;
 * fails when one does. */
#include <arpa/inet.h>
#include <libssh2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

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

int main(int argc, char **argv) {
  if (argc != 6 || libssh2_init(0) != 0)
    die("usage: floor_ssh PORT USER KEY COUNT COMMAND");
  int fd = connect_to(atoi(argv[1])), count = atoi(argv[4]);
  LIBSSH2_SESSION *session = libssh2_session_init();
  if (!session || libssh2_session_handshake(session, fd) != 0)
    die("no session");
  if (libssh2_userauth_publickey_fromfile(session, argv[2], NULL, argv[3], NULL) != 0)
    die("the key is refused");
  run_once(session, argv[5]);
  double start = now();
  for (int i = 0; i < count; i++)
    run_once(session, argv[5]);
  printf("%.6f\n", (now() - start) / count * 1e3);
  libssh2_session_disconnect(session, "done");
  libssh2_session_free(session);
  return 0;
}
