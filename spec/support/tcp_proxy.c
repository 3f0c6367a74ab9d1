/* A TCP proxy with faults, for specs and benchmarks: `tcp_proxy PORT` listens on a free port of
 * 127.0.0.1, prints it, and passes connections on to 127.0.0.1:PORT. It obeys lines on stdin, and
 * ends when stdin does:
 *
 *   delay MS        every byte comes so much later, each way (for what is read from then on)
 *   stall           nothing passes any more; `go` lets it pass again
 *   cut             every connection is reset
 *   close           every connection is closed towards the client, after what is under way
 *   after N WHAT    once N bytes have come from the server, over all connections: stall or cut
 *   count           prints the bytes that came from the server so far, and the open connections
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 256
#define CHUNK 65536
#define QUEUE_MAX (64 * 1024 * 1024)

struct chunk {
  struct chunk *next;
  double due;
  size_t from, to;
  char data[CHUNK];
};

struct way {
  struct chunk *head, **tail;
  size_t queued;
  bool ended, told; /* no more comes in; that was passed on */
};

static struct connection {
  int fd[2];         /* client, server; -1: none */
  struct way way[2]; /* from the client, from the server */
} connections[CONNECTIONS];

static double delay;
static bool stalled;
static unsigned long long from_server, limit = ~0ull;
static char limit_action[16];

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void drop(struct connection *c, bool reset) {
  for (int i = 0; i < 2; i++) {
    struct linger hard = {1, 0};
    if (reset)
      setsockopt(c->fd[i], SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(c->fd[i]);
    c->fd[i] = -1;
    for (struct chunk *chunk; (chunk = c->way[i].head);) {
      c->way[i].head = chunk->next;
      free(chunk);
    }
  }
}

static void each_open(void (*fn)(struct connection *)) {
  for (int i = 0; i < CONNECTIONS; i++)
    if (connections[i].fd[0] >= 0)
      fn(&connections[i]);
}

static void reset(struct connection *c) {
  drop(c, true);
}

static void half_close(struct connection *c) {
  c->way[1].ended = true;
}

static int connect_to(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
    return fd;
  close(fd);
  return -1;
}

static void prepare(int fd) {
  int on = 1, size = 4 * 1024 * 1024;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void accept_one(int listener, int port) {
  int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC), slot = 0;
  while (slot < CONNECTIONS && connections[slot].fd[0] >= 0)
    slot++;
  int server = client >= 0 && slot < CONNECTIONS ? connect_to(port) : -1;
  if (server < 0) {
    close(client);
    return;
  }
  struct connection *c = &connections[slot];
  memset(c, 0, sizeof *c);
  c->fd[0] = client;
  c->fd[1] = server;
  for (int i = 0; i < 2; i++) {
    prepare(c->fd[i]);
    c->way[i].tail = &c->way[i].head;
  }
}

static void count_bytes(size_t n) {
  from_server += n;
  if (from_server < limit)
    return;
  limit = ~0ull;
  if (strcmp(limit_action, "cut") == 0)
    each_open(reset);
  else
    stalled = true;
}

static void take_in(struct connection *c, int i) {
  struct way *way = &c->way[i];
  while (!way->ended && way->queued < QUEUE_MAX) {
    struct chunk *chunk = malloc(sizeof *chunk);
    if (!chunk)
      exit(1);
    ssize_t n = recv(c->fd[i], chunk->data, CHUNK, 0);
    if (n <= 0) {
      free(chunk);
      way->ended = n == 0 || errno != EAGAIN;
      return;
    }
    chunk->next = NULL;
    chunk->from = 0;
    chunk->to = (size_t)n;
    chunk->due = now() + delay;
    *way->tail = chunk;
    way->tail = &chunk->next;
    way->queued += (size_t)n;
    if (i == 1)
      count_bytes((size_t)n);
    if (c->fd[0] < 0)
      return;
  }
}

/* Seconds until the next byte is due; negative: nothing waits. */
static double give_out(struct connection *c, int i, short *events) {
  struct way *way = &c->way[i];
  int to = c->fd[1 - i];
  for (struct chunk *chunk; (chunk = way->head);) {
    double left = chunk->due - now();
    if (left > 0)
      return left;
    ssize_t n = send(to, chunk->data + chunk->from, chunk->to - chunk->from, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) {
      *events |= POLLOUT;
      return -1;
    }
    if (n < 0) {
      drop(c, false);
      return -1;
    }
    chunk->from += (size_t)n;
    way->queued -= (size_t)n;
    if (chunk->from < chunk->to)
      continue;
    way->head = chunk->next;
    if (!way->head)
      way->tail = &way->head;
    free(chunk);
  }
  if (way->ended && !way->told) {
    way->told = true;
    shutdown(to, SHUT_WR);
  }
  if (c->way[0].told && c->way[1].told)
    drop(c, false);
  return -1;
}

static void obey(char *line) {
  unsigned long long n;
  double ms;
  unsigned open = 0;
  if (sscanf(line, "delay %lf", &ms) == 1)
    delay = ms / 1e3;
  else if (strncmp(line, "stall", 5) == 0)
    stalled = true;
  else if (strncmp(line, "go", 2) == 0)
    stalled = false;
  else if (strncmp(line, "cut", 3) == 0)
    each_open(reset);
  else if (strncmp(line, "close", 5) == 0)
    each_open(half_close);
  else if (sscanf(line, "after %llu %15s", &n, limit_action) == 2)
    limit = from_server + n;
  else if (strncmp(line, "count", 5) == 0) {
    for (int i = 0; i < CONNECTIONS; i++)
      open += connections[i].fd[0] >= 0;
    printf("%llu %u\n", from_server, open);
    fflush(stdout);
  }
}

static void read_commands(void) {
  static char text[4096];
  static size_t len;
  ssize_t n = read(0, text + len, sizeof text - 1 - len);
  if (n <= 0)
    exit(0);
  len += (size_t)n;
  text[len] = '\0';
  char *line = text, *stop;
  for (; (stop = strchr(line, '\n')); line = stop + 1) {
    *stop = '\0';
    obey(line);
  }
  len -= (size_t)(line - text);
  memmove(text, line, len);
}

static int start_listening(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 64) != 0)
    exit(1);
  getsockname(fd, (struct sockaddr *)&address, &size);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char **argv) {
  int port = argc > 1 ? atoi(argv[1]) : 0, listener = start_listening();
  for (int i = 0; i < CONNECTIONS; i++)
    connections[i].fd[0] = connections[i].fd[1] = -1;
  for (;;) {
    static struct pollfd slots[2 + 2 * CONNECTIONS];
    static struct connection *owners[2 + 2 * CONNECTIONS];
    nfds_t count = 0;
    double wait = 3600;
    slots[count++] = (struct pollfd){0, POLLIN, 0};
    slots[count++] = (struct pollfd){listener, POLLIN, 0};
    for (int i = 0; i < CONNECTIONS && !stalled; i++) {
      struct connection *c = &connections[i];
      short events[2] = {0, 0};
      for (int k = 0; k < 2 && c->fd[0] >= 0; k++) {
        double left = give_out(c, k, &events[1 - k]);
        if (left >= 0 && left < wait)
          wait = left;
      }
      for (int k = 0; k < 2 && c->fd[0] >= 0; k++) {
        if (!c->way[k].ended && c->way[k].queued < QUEUE_MAX)
          events[k] |= POLLIN;
        owners[count] = c;
        slots[count++] = (struct pollfd){events[k] ? c->fd[k] : -1, events[k], 0};
      }
    }
    struct timespec time = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)};
    ppoll(slots, count, &time, NULL);
    if (slots[0].revents)
      read_commands();
    if (slots[1].revents)
      accept_one(listener, port);
    for (nfds_t i = 2; i < count && !stalled; i++)
      if (slots[i].revents & (POLLIN | POLLHUP | POLLERR))
        for (int k = 0; k < 2; k++)
          if (owners[i]->fd[k] == slots[i].fd && owners[i]->fd[0] >= 0)
            take_in(owners[i], k);
  }
}
