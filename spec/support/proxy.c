/* A proxy between two unix sockets that goes wrong on demand: proxy LISTEN TARGET.
 *
 * Rules come on stdin, one a line, and are confirmed with "ok" on stdout; each counts once, for the
 * first connection whose client sends the text.
 *   drop TEXT      forwards the request; when the answer begins, closes both sides without a byte
 * of it cut N TEXT     forwards N bytes of what is answered from then on, then closes stall TEXT
 * forwards the request; nothing of what is answered freeze N TEXT  forwards N bytes of what is
 * answered from then on, then nothing more slow N TEXT    forwards N bytes of the answers every 10
 * ms shut N TEXT    forwards N bytes, then half-closes towards the client deny TEXT      closes
 * before the request gets through refuse / accept  new connections are closed at once / as usual
 *   close          closes all connections
 * It ends when its input does. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAIRS 256
#define RULES 32
#define BUFFER 65536

struct rule {
  char action[16], text[512];
  long count;
};

/* What was read on one side and is not yet written on the other. */
struct way {
  char data[BUFFER];
  size_t at, len;
};

struct pair {
  int client, server; /* -1: closed */
  struct rule rule;   /* action "": none */
  long left;
  bool client_done, closing; /* closing: when the way down is empty */
  struct way up, down;
};

static struct pair pairs[PAIRS];
static struct rule rules[RULES];
static bool refusing;
static char bytes[BUFFER + 1];

static struct sockaddr_un address(const char *path) {
  struct sockaddr_un where = {.sun_family = AF_UNIX};
  snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
  return where;
}

static void finish(struct pair *p) {
  close(p->client);
  close(p->server);
  p->client = p->server = -1;
}

static bool flush(struct way *way, int fd) {
  while (way->at < way->len) {
    ssize_t n = send(fd, way->data + way->at, way->len - way->at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0)
      return errno == EAGAIN;
    way->at += (size_t)n;
  }
  way->at = way->len = 0;
  return true;
}

static void fill(struct way *way, size_t len) {
  memcpy(way->data, bytes, len);
  way->at = 0;
  way->len = len;
}

static void arm(struct pair *p, size_t len) {
  bytes[len] = '\0';
  for (int i = 0; i < RULES && !p->rule.action[0]; i++) {
    if (rules[i].action[0] && memmem(bytes, len, rules[i].text, strlen(rules[i].text))) {
      p->rule = rules[i];
      p->left = rules[i].count;
      rules[i].action[0] = '\0';
    }
  }
}

static bool is(const struct pair *p, const char *action) {
  return strcmp(p->rule.action, action) == 0;
}

static void from_client(struct pair *p) {
  ssize_t n = recv(p->client, bytes, BUFFER, MSG_DONTWAIT);
  if (n < 0) {
    if (errno != EAGAIN)
      finish(p);
    return;
  }
  if (n == 0) {
    p->client_done = true;
    shutdown(p->server, SHUT_WR);
    return;
  }
  arm(p, (size_t)n);
  fill(&p->up, (size_t)n);
  if (is(p, "deny") || !flush(&p->up, p->server))
    finish(p);
}

/* What becomes of the connection once so many bytes have gone down. */
static void limit(struct pair *p, size_t pass) {
  p->left -= (long)pass;
  if (p->left > 0)
    return;
  if (is(p, "cut"))
    p->closing = true;
  else if (is(p, "shut")) {
    shutdown(p->client, SHUT_WR);
    strcpy(p->rule.action, "stall");
  }
}

static void from_server(struct pair *p) {
  size_t room = is(p, "slow") ? (size_t)p->left : BUFFER;
  ssize_t n = recv(p->server, bytes, room, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN)
    return;
  if (is(p, "stall") && n >= 0)
    return;
  if (n <= 0 || is(p, "drop")) {
    finish(p);
    return;
  }
  bool limited = is(p, "cut") || is(p, "freeze") || is(p, "shut");
  size_t pass = limited && n > p->left ? (size_t)p->left : (size_t)n;
  fill(&p->down, pass);
  if (!flush(&p->down, p->client)) {
    finish(p);
    return;
  }
  if (is(p, "slow"))
    usleep(10000);
  if (limited)
    limit(p, pass);
  if (p->closing && p->down.len == 0)
    finish(p);
}

static void accept_one(int listener, const char *target) {
  int client = accept(listener, NULL, NULL);
  if (client < 0)
    return;
  struct sockaddr_un where = address(target);
  int server = refusing ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (server < 0 || connect(server, (struct sockaddr *)&where, sizeof where) != 0) {
    close(client);
    if (server >= 0)
      close(server);
    return;
  }
  for (int i = 0; i < PAIRS; i++) {
    if (pairs[i].client < 0) {
      memset(&pairs[i], 0, offsetof(struct pair, up));
      pairs[i].up.len = pairs[i].down.len = 0;
      pairs[i].client = client;
      pairs[i].server = server;
      return;
    }
  }
  close(client);
  close(server);
}

static void add_rule(const char *line) {
  struct rule rule = {.count = 0};
  int at = 0;
  if (sscanf(line, "%15s %n", rule.action, &at) != 1)
    return;
  char *end;
  long count = strtol(line + at, &end, 10);
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

static void command(char *line) {
  line[strcspn(line, "\n")] = '\0';
  if (strcmp(line, "refuse") == 0 || strcmp(line, "accept") == 0)
    refusing = line[0] == 'r';
  else if (strcmp(line, "close") == 0) {
    for (int i = 0; i < PAIRS; i++) {
      if (pairs[i].client >= 0)
        finish(&pairs[i]);
    }
  } else if (strcmp(line, "clear") == 0)
    memset(rules, 0, sizeof rules);
  else
    add_rule(line);
  puts("ok");
  fflush(stdout);
}

static bool frozen(const struct pair *p) {
  return is(p, "freeze") && p->left <= 0;
}

/* What a side is watched for: input when it can go on, room when something waits for it. */
static short wanted(const struct way *in, const struct way *out, bool done) {
  return (short)((in->len == 0 && !done ? POLLIN : 0) | (out->len > 0 ? POLLOUT : 0));
}

static void serve(struct pair *p, const struct pollfd *ready, bool from_the_client) {
  struct way *out = from_the_client ? &p->down : &p->up;
  int fd = from_the_client ? p->client : p->server;
  if (ready->revents & POLLOUT && !flush(out, fd))
    finish(p);
  else if (p->closing && p->down.len == 0)
    finish(p);
  else if (ready->revents & POLLIN) {
    if (from_the_client)
      from_client(p);
    else
      from_server(p);
  } else if (ready->revents & (POLLHUP | POLLERR)) {
    if (from_the_client || p->down.len == 0)
      finish(p);
  }
}

int main(int argc, char **argv) {
  if (argc != 3)
    return 2;
  signal(SIGPIPE, SIG_IGN);
  for (int i = 0; i < PAIRS; i++)
    pairs[i].client = pairs[i].server = -1;
  struct sockaddr_un where = address(argv[1]);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(argv[1]);
  if (listener < 0 || bind(listener, (struct sockaddr *)&where, sizeof where) != 0 ||
      listen(listener, 128) != 0)
    return 1;
  puts("ok");
  fflush(stdout);
  setvbuf(stdin, NULL, _IONBF, 0);
  for (;;) {
    struct pollfd set[2 + 2 * PAIRS];
    int owner[2 + 2 * PAIRS], count = 2;
    set[0] = (struct pollfd){.fd = 0, .events = POLLIN};
    set[1] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < PAIRS; i++) {
      struct pair *p = &pairs[i];
      if (p->client < 0)
        continue;
      owner[count] = owner[count + 1] = i;
      set[count++] =
          (struct pollfd){.fd = p->client, .events = wanted(&p->up, &p->down, p->client_done)};
      set[count++] = (struct pollfd){.fd = frozen(p) ? -1 : p->server,
                                     .events = wanted(&p->down, &p->up, p->closing)};
    }
    if (poll(set, (nfds_t)count, -1) < 0)
      return 1;
    if (set[0].revents) {
      char line[1024];
      if (!fgets(line, sizeof line, stdin))
        break;
      command(line);
      continue; /* descriptors may have changed */
    }
    for (int i = 2; i < count; i++) {
      struct pair *p = &pairs[owner[i]];
      if (set[i].revents && p->client >= 0)
        serve(p, &set[i], i % 2 == 0);
    }
    if (set[1].revents)
      accept_one(listener, argv[2]);
  }
  unlink(argv[1]);
  return 0;
}
