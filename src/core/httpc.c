#include "httpc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http.h"

#define POOL_MAX 64
#define KEPT_CONNECTIONS 256
/* Curl 7.88 asks for writable sockets also while an HTTP/2 server lets it send nothing: after so
 * many such calls in vain, a socket is not watched for writing for some milliseconds, or until
 * something comes in. */
#define FRUITLESS_MAX 8
#define REST_MS 2
#define PAIR_REACH 64 /* how far apart the two descriptors of a pair may be */

/* One watched descriptor. Those that curl opened through us live until curl closes them, so that a
 * kept-alive connection is not registered anew for each request: it stays watched for input in
 * between, and we are told before its number can be used again. */
struct sock {
  uv_poll_t poll;
  struct lum_httpc *client;
  int events; /* what curl wants to know */
  unsigned fruitless;
  bool opened_by_us, idle, resting;
};

struct lum_httpc {
  struct lum_engine *eng;
  CURLM *multi;
  CURLSH *share; /* TLS sessions, so that a new connection resumes */
  uv_timer_t timer, rest;
  unsigned timers_open;
  uint64_t moves;      /* see lum_transfer_moved */
  struct sock **socks; /* by descriptor */
  size_t sock_cap;
  struct lum_slot *pool[POOL_MAX];
  size_t pool_count;
  struct lum_transfer live; /* list heads */
  struct lum_httpc_guest guests;
  struct lum_httpc *kinds[LUM_HTTPC_KINDS]; /* of the first one: the others; [0] stays NULL */
};

/* ---- descriptors ---- */

static void set_cloexec(int fd) {
  int flags = fcntl(fd, F_GETFD);
  if (flags >= 0 && !(flags & FD_CLOEXEC))
    fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

/* curl makes socket pairs for its own wake-ups without CLOEXEC; this marks fd when it looks like
 * such an end. */
static void guard_pair_end(int fd) {
  struct sockaddr_storage name = {.ss_family = 0};
  socklen_t len = sizeof name;
  if (getsockname(fd, (struct sockaddr *)&name, &len) == 0 && name.ss_family == AF_UNIX &&
      len == sizeof name.ss_family)
    set_cloexec(fd);
}

/* fd is one end of a pair that curl has just made; the other end was made with it, so its inode is
 * the next. */
static void guard_pair(int fd) {
  struct stat one, other;
  if (fstat(fd, &one) != 0)
    return;
  guard_pair_end(fd);
  for (int i = fd > PAIR_REACH ? fd - PAIR_REACH : 0; i <= fd + PAIR_REACH; i++) {
    if (fstat(i, &other) == 0 && S_ISSOCK(other.st_mode) &&
        (other.st_ino == one.st_ino + 1 || other.st_ino + 1 == one.st_ino))
      guard_pair_end(i);
  }
}

static CURLM *multi_new(void) {
  /* The pair gets the two lowest free numbers; find out which these are. */
  int a = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int b = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (a >= 0)
    close(a);
  if (b >= 0)
    close(b);
  CURLM *multi = curl_multi_init();
  if (multi && a >= 0 && b >= 0) {
    guard_pair_end(a);
    guard_pair_end(b);
  }
  return multi;
}

static void on_sock_closed(uv_handle_t *handle) {
  free(handle->data);
}

static void sock_close(struct lum_httpc *client, int fd) {
  if (fd < 0 || (size_t)fd >= client->sock_cap || !client->socks[fd])
    return;
  struct sock *sock = client->socks[fd];
  client->socks[fd] = NULL;
  uv_close((uv_handle_t *)&sock->poll, on_sock_closed);
}

static bool socks_reserve(struct lum_httpc *client, int fd) {
  if ((size_t)fd < client->sock_cap)
    return true;
  size_t cap = client->sock_cap ? client->sock_cap : 64;
  while (cap <= (size_t)fd)
    cap *= 2;
  struct sock **socks = realloc(client->socks, cap * sizeof *socks);
  if (!socks)
    return false;
  memset(socks + client->sock_cap, 0, (cap - client->sock_cap) * sizeof *socks);
  client->socks = socks;
  client->sock_cap = cap;
  return true;
}

static struct sock *sock_new(struct lum_httpc *client, int fd, bool opened_by_us) {
  if (!socks_reserve(client, fd))
    return NULL;
  struct sock *sock = calloc(1, sizeof *sock);
  if (!sock)
    return NULL;
  if (uv_poll_init(&client->eng->loop, &sock->poll, fd) != 0) {
    free(sock);
    return NULL;
  }
  sock->poll.data = sock;
  sock->client = client;
  sock->opened_by_us = opened_by_us;
  client->socks[fd] = sock;
  return sock;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *addr) {
  (void)purpose;
  struct lum_httpc *client = arg;
  int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC, addr->protocol);
  if (fd < 0)
    return CURL_SOCKET_BAD;
  if (!sock_new(client, fd, true)) {
    close(fd);
    return CURL_SOCKET_BAD;
  }
  return fd;
}

static int close_socket(void *arg, curl_socket_t fd) {
  sock_close(arg, fd);
  return close(fd);
}

/* ---- driving curl ---- */

static void drain(struct lum_httpc *client) {
  CURLMsg *msg;
  int left;
  /* done may free the client of a raw connection; its memory stays until the loop comes round */
  while (client->multi && (msg = curl_multi_info_read(client->multi, &left))) {
    if (msg->msg != CURLMSG_DONE)
      continue;
    struct lum_slot *slot = NULL;
    CURLcode code = msg->data.result; /* msg dies with the removal of its handle */
    curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &slot);
    slot->owner->done(slot->owner, code);
  }
}

static void act(struct lum_httpc *client, curl_socket_t fd, int flags) {
  int running;
  curl_multi_socket_action(client->multi, fd, flags, &running);
  drain(client);
  if (client->eng->done_head)
    uv_stop(&client->eng->loop); /* timers run before the loop sleeps: it must not */
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void stop(struct sock *sock) {
  uv_poll_stop(&sock->poll);
  sock->events = 0;
  sock->resting = false;
}

static void on_rested(uv_timer_t *timer) {
  struct lum_httpc *client = timer->data;
  for (size_t i = 0; i < client->sock_cap; i++) {
    struct sock *sock = client->socks[i];
    if (sock && sock->resting) {
      sock->resting = false;
      uv_poll_start(&sock->poll, sock->events, on_poll);
    }
  }
}

static void rest(struct sock *sock) {
  struct lum_httpc *client = sock->client;
  sock->resting = true;
  if (sock->events == UV_WRITABLE)
    uv_poll_stop(&sock->poll);
  else
    uv_poll_start(&sock->poll, sock->events & ~UV_WRITABLE, on_poll);
  if (!uv_is_active((uv_handle_t *)&client->rest))
    uv_timer_start(&client->rest, on_rested, REST_MS, 0);
}

static void handle(struct lum_httpc *client, struct sock *sock, int fd, int flags) {
  uint64_t moves = client->moves;
  act(client, fd, flags);
  if (!client->multi || client->socks[fd] != sock)
    return; /* closed by that */
  if (flags != CURL_CSELECT_OUT || client->moves != moves || !(sock->events & UV_WRITABLE))
    sock->fruitless = 0;
  else if (++sock->fruitless >= FRUITLESS_MAX)
    rest(sock);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  struct sock *sock = poll->data;
  if (sock->idle) { /* closed by the peer; curl will see it when it looks for a connection */
    stop(sock);
    return;
  }
  if (sock->resting) {
    sock->resting = false;
    uv_poll_start(&sock->poll, sock->events, on_poll);
  }
  int flags =
      (events & UV_READABLE ? CURL_CSELECT_IN : 0) | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
  if (status < 0)
    flags = CURL_CSELECT_ERR;
  int fd = -1;
  uv_fileno((uv_handle_t *)poll, &fd);
  handle(sock->client, sock, fd, flags);
}

static void unwatch(struct sock *sock, int fd) {
  if (!sock)
    return;
  sock->idle = true;
  if (!sock->opened_by_us)
    sock_close(sock->client, fd); /* stops it at once: curl may close it and get the number again */
  else if (sock->events != UV_READABLE)
    stop(sock);
}

void lum_httpc_let_go(struct lum_httpc *client, int fd) {
  if ((size_t)fd < client->sock_cap && client->socks[fd])
    stop(client->socks[fd]);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketp) {
  (void)easy;
  (void)socketp;
  struct lum_httpc *client = arg;
  struct sock *sock = (size_t)fd < client->sock_cap ? client->socks[fd] : NULL;
  if (what == CURL_POLL_REMOVE) {
    unwatch(sock, fd);
    return 0;
  }
  if (!sock) {
    guard_pair(fd); /* the resolver's */
    sock = sock_new(client, fd, false);
    if (!sock)
      return -1;
  }
  int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  sock->idle = false;
  if (events == sock->events)
    return 0;
  sock->events = events;
  sock->resting = false;
  return uv_poll_start(&sock->poll, events, on_poll) == 0 ? 0 : -1;
}

static void on_timer(uv_timer_t *timer) {
  act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* The next thing curl wants to do at a time. Firing early is harmless, curl then asks again: so a
 * timer that is moved back, as with every transfer that ends, just stays. */
static int on_timer_change(CURLM *multi, long timeout_ms, void *arg) {
  (void)multi;
  struct lum_httpc *client = arg;
  uv_timer_t *timer = &client->timer;
  if (timeout_ms < 0)
    return uv_timer_stop(timer);
  uint64_t wanted = (uint64_t)timeout_ms;
  if (uv_is_active((uv_handle_t *)timer) && uv_timer_get_due_in(timer) <= wanted)
    return 0;
  return uv_timer_start(timer, on_timer, wanted, 0);
}

/* ---- slots ---- */

static void slot_free(struct lum_slot *slot) {
  curl_easy_cleanup(slot->easy);
  free(slot);
}

static void set_common(struct lum_httpc *client, struct lum_slot *slot) {
  CURL *easy = slot->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->detail);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_SHARE, client->share);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, client);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client);
  /* Without it a transfer that ends while a name is being resolved waits for the resolver's thread.
   */
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
}

static struct lum_slot *slot_take(struct lum_httpc *client) {
  if (client->pool_count > 0)
    return client->pool[--client->pool_count];
  struct lum_slot *slot = calloc(1, sizeof *slot);
  if (!slot)
    return NULL;
  slot->easy = curl_easy_init();
  if (!slot->easy) {
    free(slot);
    return NULL;
  }
  set_common(client, slot);
  return slot;
}

static void slot_clean(struct lum_httpc *client, struct lum_slot *slot) {
  curl_easy_reset(slot->easy);
  slot->prepared = false;
  set_common(client, slot);
}

static void slot_give(struct lum_httpc *client, struct lum_slot *slot, bool prepared) {
  slot->owner = NULL;
  if (client->pool_count == POOL_MAX) {
    slot_free(slot);
    return;
  }
  if (prepared)
    slot->prepared = true;
  else
    slot_clean(client, slot);
  client->pool[client->pool_count++] = slot;
}

/* ---- client ---- */

static void global_init(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void release(struct lum_httpc *client) {
  if (client->multi)
    curl_multi_cleanup(client->multi);
  if (client->share)
    curl_share_cleanup(client->share);
  free(client->socks);
  free(client);
}

static void on_timer_closed(uv_handle_t *handle) {
  struct lum_httpc *client = handle->data;
  if (--client->timers_open == 0)
    free(client);
}

void lum_httpc_join(struct lum_httpc *client, struct lum_httpc_guest *guest) {
  guest->next = &client->guests;
  guest->prev = client->guests.prev;
  guest->prev->next = guest;
  client->guests.prev = guest;
}

void lum_httpc_leave(struct lum_httpc_guest *guest) {
  guest->prev->next = guest->next;
  guest->next->prev = guest->prev;
}

void lum_httpc_free(struct lum_httpc *client) {
  while (client->guests.next != &client->guests)
    client->guests.next->drop(client->guests.next);
  for (int i = 0; i < LUM_HTTPC_KINDS; i++) {
    if (client->kinds[i])
      lum_httpc_free(client->kinds[i]);
  }
  while (client->live.next != &client->live)
    client->live.next->done(client->live.next, CURLE_ABORTED_BY_CALLBACK);
  while (client->pool_count > 0)
    slot_free(client->pool[--client->pool_count]);
  curl_multi_cleanup(client->multi);
  client->multi = NULL;
  curl_share_cleanup(client->share);
  for (size_t i = 0; i < client->sock_cap; i++)
    sock_close(client, (int)i);
  free(client->socks);
  client->socks = NULL;
  client->sock_cap = 0;
  uv_close((uv_handle_t *)&client->timer, on_timer_closed);
  uv_close((uv_handle_t *)&client->rest, on_timer_closed);
}

struct lum_httpc *lum_httpc_new(struct lum_engine *eng, struct lum_err *err) {
  static uv_once_t once = UV_ONCE_INIT;
  uv_once(&once, global_init);
  struct lum_httpc *client = calloc(1, sizeof *client);
  if (!client) {
    lum_err_set(err, LUM_QUOTA, "http: out of memory");
    return NULL;
  }
  client->eng = eng;
  client->live.prev = client->live.next = &client->live;
  client->guests.prev = client->guests.next = &client->guests;
  client->multi = multi_new();
  client->share = curl_share_init();
  if (!client->multi || !client->share) {
    release(client);
    lum_err_set(err, LUM_QUOTA, "http: cannot make a client");
    return NULL;
  }
  uv_timer_init(&eng->loop, &client->timer); /* these cannot fail */
  uv_timer_init(&eng->loop, &client->rest);
  client->timer.data = client->rest.data = client;
  client->timers_open = 2;
  curl_share_setopt(client->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_timer_change);
  curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
  curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
  return client;
}

static struct lum_httpc *kind_new(struct lum_engine *eng, enum lum_httpc_kind kind,
                                  struct lum_err *err) {
  struct lum_httpc *client = lum_httpc_new(eng, err);
  if (client && kind == LUM_HTTPC_STREAMS)
    curl_multi_setopt(client->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, 1L);
  if (client && (kind == LUM_HTTPC_SINGLE || kind == LUM_HTTPC_LASTING))
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  return client;
}

struct lum_httpc *lum_httpc_get(struct lum_engine *eng, enum lum_httpc_kind kind,
                                struct lum_err *err) {
  if (!eng->httpc) {
    eng->httpc = kind_new(eng, LUM_HTTPC_SHARED, err);
    eng->httpc_free = lum_httpc_free;
  }
  if (!eng->httpc || kind == LUM_HTTPC_SHARED)
    return eng->httpc;
  struct lum_httpc **place = &eng->httpc->kinds[kind];
  if (!*place)
    *place = kind_new(eng, kind, err);
  return *place;
}

static bool is_idle(const struct lum_httpc *client) {
  bool idle = client->live.next == &client->live && client->guests.next == &client->guests;
  for (int i = 0; i < LUM_HTTPC_KINDS; i++)
    idle = idle && (!client->kinds[i] || is_idle(client->kinds[i]));
  return idle;
}

void lum_httpc_close_idle(struct lum_engine *eng) {
  struct lum_httpc *client = eng->httpc;
  for (int i = 0; client && i < LUM_HTTPC_KINDS; i++) {
    if (!client->kinds[i] || !is_idle(client->kinds[i]))
      continue;
    lum_httpc_free(client->kinds[i]);
    client->kinds[i] = NULL;
  }
  if (!client || !is_idle(client))
    return;
  eng->httpc = NULL;
  lum_httpc_free(client);
}

/* ---- transfers ---- */

bool lum_transfer_begin(struct lum_transfer *transfer, struct lum_httpc *client,
                        struct lum_err *err) {
  struct lum_slot *slot = slot_take(client);
  if (!slot)
    return lum_err_set(err, LUM_QUOTA, "http: out of memory");
  slot->owner = transfer;
  slot->detail[0] = '\0';
  transfer->client = client;
  transfer->slot = slot;
  transfer->added = transfer->prepares = false;
  transfer->next = &client->live;
  transfer->prev = client->live.prev;
  transfer->prev->next = transfer;
  client->live.prev = transfer;
  return true;
}

void lum_transfer_moved(struct lum_transfer *transfer) {
  transfer->client->moves++;
}

void lum_transfer_clean(struct lum_transfer *transfer) {
  slot_clean(transfer->client, transfer->slot);
}

bool lum_transfer_start(struct lum_transfer *transfer, struct lum_err *err) {
  CURLMcode rc = curl_multi_add_handle(transfer->client->multi, transfer->slot->easy);
  if (rc != CURLM_OK)
    return lum_err_set(err, LUM_INTERNAL, "http: %s", curl_multi_strerror(rc));
  transfer->added = true;
  return true;
}

void lum_transfer_end(struct lum_transfer *transfer) {
  struct lum_slot *slot = transfer->slot;
  if (!slot)
    return;
  transfer->slot = NULL;
  if (transfer->added)
    curl_multi_remove_handle(transfer->client->multi, slot->easy);
  transfer->prev->next = transfer->next;
  transfer->next->prev = transfer->prev;
  slot_give(transfer->client, slot, transfer->prepares);
}
