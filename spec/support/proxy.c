/* A proxy with faults, for specs and benchmarks: `proxy TARGET [SOCKET]` listens on a unix socket,
 * or without one on a free port of 127.0.0.1, and passes connections on to TARGET: a unix socket,
 * or a port of 127.0.0.1. It prints the port (0: none), obeys lines on stdin, each of which it
 * answers with a line, and ends when stdin does.
 *
 * For all connections:
 *   delay MS        every byte comes so much later, each way (for what is read from then on)
 *   stall           nothing passes any more; `go` lets it pass again
 *   cut             every connection is reset
 *   close           every connection is closed towards the client, after what is under way
 *   after N WHAT    once N bytes have come from the server, over all connections: stall or cut
 *   refuse          new connections are closed at once; `accept` takes them again
 *   count           answers with the bytes that came from the server so far, and how many are open
 *
 * Rules; each counts once, for the first connection without one whose client sends the text:
 *   drop TEXT       forwards the request; when the answer begins, closes without a byte of it
 *   deny TEXT       closes before the request gets through
 *   stall TEXT      forwards the request; nothing of what is answered
 *   cut N TEXT      forwards N bytes of what is answered from then on, then closes
 *   freeze N TEXT   the same, then reads nothing more
 *   shut N TEXT     the same, then half-closes towards the client
 *   slow N TEXT     forwards N bytes of the answers every 10 ms
 *   clear           forgets the rules that are left
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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 256
#define RULES 32
#define CHUNK 65536
#define QUEUE_MAX CHUNK                    /* so that who does not read is felt on the other side */
#define DELAYED_MAX ((size_t)64 * 1048576) /* what is on a long way */
#define SLOW_EVERY 0.010

struct rule {
  char action[16], text[512]; /* action "": none */
  size_t count;
};

struct chunk {
  struct chunk *next;
  double due;
  size_t from, to;
  char data[];
};

struct way {
  struct chunk *head, **tail;
  size_t queued;
  bool ended, told; /* no more comes in; that was passed on */
};

static struct connection {
  int fd[2];         /* client, server; -1: none */
  struct way way[2]; /* from the client, from the server */
  struct rule rule;
  bool closing, shutting; /* when the way to the client is empty: closed, half-closed */
} connections[CONNECTIONS];

static struct rule rules[RULES];
static const char *target;
static double delay;
static bool stalled, refusing;
static unsigned long long from_server, limit = ~0ull;
static char limit_action[16];

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool is(const struct connection *c, const char *action) {
  return strcmp(c->rule.action, action) == 0;
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

/* ---- sockets ---- */

static socklen_t address_of(const char *where, struct sockaddr_storage *address) {
  memset(address, 0, sizeof *address);
  if (where[0] == '/') {
    struct sockaddr_un *un = (struct sockaddr_un *)address;
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof un->sun_path, "%s", where);
    return sizeof *un;
  }
  struct sockaddr_in *in = (struct sockaddr_in *)address;
  in->sin_family = AF_INET;
  in->sin_port = htons((unsigned short)atoi(where));
  in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return sizeof *in;
}

static int connect_to_target(void) {
  struct sockaddr_storage address;
  socklen_t size = address_of(target, &address);
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, size) == 0)
    return fd;
  close(fd);
  return -1;
}

static void prepare(int fd) {
  int on = 1, size = 4 * 1024 * 1024;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void accept_one(int listener) {
  int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC), slot = 0;
  while (slot < CONNECTIONS && connections[slot].fd[0] >= 0)
    slot++;
  int server = client >= 0 && slot < CONNECTIONS && !refusing ? connect_to_target() : -1;
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

static int start_listening(const char *where) {
  struct sockaddr_storage address;
  socklen_t size = address_of(where ? where : "0", &address);
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (where)
    unlink(where);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, 128) != 0 ||
      getsockname(fd, (struct sockaddr *)&address, &size) != 0)
    exit(1);
  printf("%d\n", where ? 0 : ntohs(((struct sockaddr_in *)&address)->sin_port));
  fflush(stdout);
  return fd;
}

/* ---- what comes in ---- */

/* Gives the connection the first rule that fits to what its client sends. */
static void arm(struct connection *c, const char *bytes, size_t len) {
  for (int i = 0; i < RULES && !c->rule.action[0]; i++) {
    if (rules[i].action[0] && memmem(bytes, len, rules[i].text, strlen(rules[i].text))) {
      c->rule = rules[i];
      rules[i].action[0] = '\0';
    }
  }
}

/* How much of an answer passes; what the rule says of the connection is done when that is gone. */
static size_t passing(struct connection *c, size_t n) {
  if (is(c, "stall"))
    return 0;
  if (!is(c, "cut") && !is(c, "freeze") && !is(c, "shut"))
    return n;
  if (n < c->rule.count) {
    c->rule.count -= n;
    return n;
  }
  n = c->rule.count;
  c->rule.count = 0;
  c->closing = is(c, "cut");
  if (is(c, "shut")) {
    c->shutting = true;
    strcpy(c->rule.action, "stall");
  }
  return n;
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

/* Whether a side is read: not while much of what came waits, or the rule says so. */
static bool wants_more(const struct connection *c, int i) {
  const struct way *way = &c->way[i];
  if (way->ended || c->fd[i] < 0)
    return false;
  if (i == 1 && (c->closing || (is(c, "freeze") && c->rule.count == 0)))
    return false;
  if (i == 1 && is(c, "slow"))
    return way->queued == 0;
  return way->queued < (delay > 0 ? DELAYED_MAX : QUEUE_MAX);
}

static void append(struct way *way, const char *bytes, size_t len, double due) {
  struct chunk *chunk = malloc(sizeof *chunk + len);
  if (!chunk)
    exit(1);
  chunk->next = NULL;
  chunk->due = due;
  chunk->from = 0;
  chunk->to = len;
  memcpy(chunk->data, bytes, len);
  *way->tail = chunk;
  way->tail = &chunk->next;
  way->queued += len;
}

static void take_in(struct connection *c, int i) {
  static char bytes[CHUNK];
  while (wants_more(c, i)) {
    bool slow = i == 1 && is(c, "slow");
    ssize_t n = recv(c->fd[i], bytes, slow && c->rule.count < CHUNK ? c->rule.count : CHUNK, 0);
    if (n <= 0) {
      c->way[i].ended = n == 0 || errno != EAGAIN;
      c->way[i].told = c->way[i].ended && i == 1 && is(c, "stall"); /* nothing means nothing */
      return;
    }
    if (i == 0)
      arm(c, bytes, (size_t)n);
    if (is(c, i == 0 ? "deny" : "drop")) {
      drop(c, false);
      return;
    }
    size_t len = i == 0 ? (size_t)n : passing(c, (size_t)n);
    if (len > 0)
      append(&c->way[i], bytes, len, now() + (slow ? SLOW_EVERY : delay));
    if (i == 1)
      count_bytes((size_t)n);
  }
}

/* ---- what goes out ---- */

/* Tells the other side what has become of a way that is empty now. */
static void conclude(struct connection *c, int i) {
  struct way *way = &c->way[i];
  if (i == 1 && c->shutting) {
    c->shutting = false;
    shutdown(c->fd[0], SHUT_WR);
  }
  if (way->ended && !way->told) {
    way->told = true;
    shutdown(c->fd[1 - i], SHUT_WR);
  }
  if ((i == 1 && c->closing) || (c->way[0].told && c->way[1].told))
    drop(c, false);
}

/* Seconds until the next byte is due; negative: nothing waits. */
static double give_out(struct connection *c, int i, short *events) {
  struct way *way = &c->way[i];
  for (struct chunk *chunk; (chunk = way->head);) {
    double left = chunk->due - now();
    if (left > 0)
      return left;
    ssize_t n =
        send(c->fd[1 - i], chunk->data + chunk->from, chunk->to - chunk->from, MSG_NOSIGNAL);
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
  conclude(c, i);
  return -1;
}

/* ---- orders ---- */

static void add_rule(const char *line) {
  struct rule rule = {.count = 0};
  int at = 0;
  if (sscanf(line, "%15s %n", rule.action, &at) != 1)
    return;
  char *end;
  unsigned long count = strtoul(line + at, &end, 10);
  if (end != line + at && *end == ' ') {
    rule.count = count;
    at = (int)(end + 1 - line);
  }
  snprintf(rule.text, sizeof rule.text, "%s", line + at);
  for (int i = 0; i < RULES; i++) {
    if (!rules[i].action[0]) {
      rules[i] = rule;
      return;
    }
  }
}

static void answer_count(void) {
  unsigned open = 0;
  for (int i = 0; i < CONNECTIONS; i++)
    open += connections[i].fd[0] >= 0;
  printf("%llu %u\n", from_server, open);
}

static void obey(const char *line) {
  unsigned long long n;
  double ms;
  if (strcmp(line, "count") == 0) {
    answer_count();
    return;
  }
  if (sscanf(line, "delay %lf", &ms) == 1)
    delay = ms / 1e3;
  else if (sscanf(line, "after %llu %15s", &n, limit_action) == 2)
    limit = from_server + n;
  else if (strcmp(line, "stall") == 0 || strcmp(line, "go") == 0)
    stalled = line[0] == 's';
  else if (strcmp(line, "refuse") == 0 || strcmp(line, "accept") == 0)
    refusing = line[0] == 'r';
  else if (strcmp(line, "cut") == 0)
    each_open(reset);
  else if (strcmp(line, "close") == 0)
    each_open(half_close);
  else if (strcmp(line, "clear") == 0)
    memset(rules, 0, sizeof rules);
  else
    add_rule(line);
  puts("ok");
}

static void read_orders(void) {
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
  fflush(stdout);
  len -= (size_t)(line - text);
  memmove(text, line, len);
}

/* ---- the loop ---- */

static struct pollfd slots[2 + 2 * CONNECTIONS];
static struct connection *owners[2 + 2 * CONNECTIONS];

/* Passes on what is due and says what a connection is watched for; returns the seconds until more
 * is due. */
static double turn(struct connection *c, nfds_t *count, double wait) {
  short events[2] = {0, 0};
  for (int i = 0; i < 2 && c->fd[0] >= 0; i++) {
    double left = give_out(c, i, &events[1 - i]);
    if (left >= 0 && left < wait)
      wait = left;
  }
  for (int i = 0; i < 2 && c->fd[0] >= 0; i++) {
    if (wants_more(c, i))
      events[i] |= POLLIN;
    bool closes = i == 0 && c->way[0].told; /* a unix socket tells then that it was closed whole */
    owners[*count] = c;
    slots[(*count)++] = (struct pollfd){events[i] || closes ? c->fd[i] : -1, events[i], 0};
  }
  return wait;
}

static void serve(struct connection *c, const struct pollfd *slot) {
  for (int i = 0; i < 2; i++) {
    if (c->fd[0] < 0 || c->fd[i] != slot->fd)
      continue;
    if (slot->revents & (POLLHUP | POLLERR) && c->way[i].told)
      drop(c, false);
    else if (slot->revents & (POLLIN | POLLHUP | POLLERR))
      take_in(c, i);
  }
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3)
    return 2;
  target = argv[1];
  int listener = start_listening(argv[2]);
  for (int i = 0; i < CONNECTIONS; i++)
    connections[i].fd[0] = connections[i].fd[1] = -1;
  for (;;) {
    nfds_t count = 0;
    double wait = 3600;
    slots[count++] = (struct pollfd){0, POLLIN, 0};
    slots[count++] = (struct pollfd){listener, POLLIN, 0};
    for (int i = 0; i < CONNECTIONS && !stalled; i++)
      if (connections[i].fd[0] >= 0)
        wait = turn(&connections[i], &count, wait);
    struct timespec time = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)};
    if (ppoll(slots, count, &time, NULL) < 0)
      continue;
    if (slots[0].revents)
      read_orders();
    if (slots[1].revents)
      accept_one(listener);
    for (nfds_t i = 2; i < count && !stalled; i++)
      if (slots[i].revents)
        serve(owners[i], &slots[i]);
  }
}
