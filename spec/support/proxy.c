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

struct pair {
  int client, server; /* -1: closed */
  struct rule rule;   /* action "": none */
  long left;
  bool client_done, server_done;
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

static bool send_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
    if (n < 0)
      return false;
    data += n;
    len -= (size_t)n;
  }
  return true;
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
  ssize_t n = recv(p->client, bytes, BUFFER, 0);
  if (n < 0) {
    finish(p);
    return;
  }
  if (n == 0) {
    p->client_done = true;
    shutdown(p->server, SHUT_WR);
    return;
  }
  arm(p, (size_t)n);
  if (is(p, "deny") || !send_all(p->server, bytes, (size_t)n))
    finish(p);
}

static void from_server(struct pair *p) {
  size_t room = is(p, "slow") ? (size_t)p->left : BUFFER;
  ssize_t n = recv(p->server, bytes, room, 0);
  if (n <= 0) {
    if (n == 0 && is(p, "stall"))
      return;
    finish(p);
    return;
  }
  bool limited = is(p, "cut") || is(p, "freeze") || is(p, "shut");
  size_t pass = limited && n > p->left ? (size_t)p->left : (size_t)n;
  if (is(p, "drop")) {
    finish(p);
    return;
  }
  if (is(p, "stall"))
    return;
  if (!send_all(p->client, bytes, pass)) {
    finish(p);
    return;
  }
  if (is(p, "slow"))
    usleep(10000);
  if (!limited)
    return;
  p->left -= (long)pass;
  if (p->left > 0)
    return;
  if (is(p, "cut"))
    finish(p);
  else if (is(p, "shut")) {
    shutdown(p->client, SHUT_WR);
    strcpy(p->rule.action, "stall");
  }
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
      pairs[i] = (struct pair){.client = client, .server = server};
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
      if (pairs[i].client < 0)
        continue;
      owner[count] = i;
      set[count++] = (struct pollfd){.fd = pairs[i].client,
                                     .events = (short)(pairs[i].client_done ? 0 : POLLIN)};
      owner[count] = i;
      set[count++] =
          (struct pollfd){.fd = frozen(&pairs[i]) ? -1 : pairs[i].server, .events = POLLIN};
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
    if (set[1].revents)
      accept_one(listener, argv[2]);
    for (int i = 2; i < count; i++) {
      struct pair *p = &pairs[owner[i]];
      if (!set[i].revents || p->client < 0)
        continue;
      if (set[i].fd == p->client && (set[i].revents & POLLIN))
        from_client(p);
      else if (set[i].fd == p->client) /* gone altogether */
        finish(p);
      else
        from_server(p);
    }
  }
  unlink(argv[1]);
  return 0;
}
