/* Local sockets whose connections lead to the other side. */
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ssh_impl.h"

#define BUFFER 65536
#define CONNECTIONS_MAX 256

struct lane {
  char *data;
  size_t from, to;
  bool done;
};

/* One connection: a descriptor of ours on one side, a channel on the other. */
struct link {
  struct ssh_pipe pipe;
  struct lum_ssh *ssh;
  struct lum_ssh_channel *channel;
  struct lum_ssh_forward *forward; /* NULL: made by ssh_stream_open */
  int fd, events;
  uv_poll_t poll;
  struct lane up, down;
  bool closed;
};

struct lum_ssh_forward {
  struct ssh_task task; /* to learn of the session's end */
  struct lum_ssh *ssh;
  unsigned refs, connections;
  int fd, port;
  uv_poll_t poll;
  char *path, *host, *command, *marker;
  size_t command_len;
  int target;
  bool closed;
};

static void forward_unref(struct lum_ssh_forward *forward) {
  if (--forward->refs > 0)
    return;
  lum_ssh_unref(forward->ssh);
  free(forward->path);
  free(forward->host);
  free(forward->command);
  free(forward->marker);
  free(forward);
}

/* ---- one connection ---- */

static void on_link_closed(uv_handle_t *handle) {
  struct link *link = handle->data;
  if (link->forward)
    forward_unref(link->forward);
  lum_ssh_unref(link->ssh);
  free(link->up.data);
  free(link->down.data);
  free(link);
}

static void close_link(struct link *link) {
  if (link->closed)
    return;
  link->closed = true;
  uv_close((uv_handle_t *)&link->poll, on_link_closed);
  close(link->fd);
  if (link->forward)
    link->forward->connections--;
  ssh_channel_attach(link->channel, NULL);
  lum_ssh_channel_close(link->channel);
  lum_ssh_channel_unref(link->channel);
}

static void on_link_ready(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct link *link = poll->data;
  if (status < 0)
    link->events = 0; /* libuv has stopped */
  ssh_pump(link->ssh);
}

static void watch(struct link *link, int events) {
  if (events == link->events)
    return;
  link->events = events;
  if (events == 0)
    uv_poll_stop(&link->poll);
  else
    uv_poll_start(&link->poll, events, on_link_ready);
}

/* Each moves one way; true: something moved. *events gets what has to be waited for. */
static bool move_up(struct link *link, int *events) {
  struct lane *lane = &link->up;
  bool moved = false;
  while (!lane->done) {
    if (lane->from == lane->to) {
      ssize_t n = recv(link->fd, lane->data, BUFFER, 0);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0 && errno == EAGAIN) {
        *events |= UV_READABLE;
        return moved;
      }
      moved = true;
      if (n <= 0) {
        lane->done = true;
        lum_ssh_channel_close_stdin(link->channel);
        return moved;
      }
      lane->from = 0;
      lane->to = (size_t)n;
    }
    ssize_t n = ssh_channel_give(link->channel, lane->data + lane->from, lane->to - lane->from);
    if (n == 0)
      return moved; /* the session's pump comes back */
    moved = true;
    if (n < 0)
      lane->done = true;
    else
      lane->from += (size_t)n;
  }
  return moved;
}

static bool move_down(struct link *link, int *events) {
  struct lane *lane = &link->down;
  bool moved = false;
  while (!lane->done) {
    if (lane->from == lane->to) {
      ssize_t n = ssh_channel_take(link->channel, lane->data, BUFFER);
      if (n == 0)
        return moved;
      moved = true;
      if (n < 0) {
        lane->done = true;
        shutdown(link->fd, SHUT_WR);
        return moved;
      }
      lane->from = 0;
      lane->to = (size_t)n;
    }
    ssize_t n = send(link->fd, lane->data + lane->from, lane->to - lane->from, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN) {
      *events |= UV_WRITABLE;
      return moved;
    }
    moved = true;
    if (n < 0)
      lane->done = link->up.done = true;
    else
      lane->from += (size_t)n;
  }
  return moved;
}

/* Whoever reads no more is told by the end of the connection once the other side has ended too. */
static bool move(struct ssh_pipe *pipe) {
  struct link *link = (struct link *)pipe;
  int events = 0;
  bool moved = move_up(link, &events);
  moved = move_down(link, &events) || moved;
  if (link->down.done) {
    close_link(link);
    return true;
  }
  watch(link, events);
  return moved;
}

static void link_failed(struct ssh_pipe *pipe, const struct lum_err *err) {
  (void)err;
  close_link((struct link *)pipe);
}

/* Takes over the caller's reference of the channel, and fd when it succeeds. */
static bool join(struct lum_ssh *ssh, struct lum_ssh_forward *forward, int fd,
                 struct lum_ssh_channel *channel) {
  struct link *link = calloc(1, sizeof *link);
  bool ok = link && (link->up.data = malloc(BUFFER)) && (link->down.data = malloc(BUFFER)) &&
            uv_poll_init(&ssh->life.eng->loop, &link->poll, fd) == 0;
  if (!ok) {
    if (link) {
      free(link->up.data);
      free(link->down.data);
    }
    free(link);
    lum_ssh_channel_close(channel);
    lum_ssh_channel_unref(channel);
    return false;
  }
  link->pipe = (struct ssh_pipe){move, link_failed};
  link->ssh = ssh;
  ssh_ref(ssh);
  link->channel = channel;
  link->forward = forward;
  if (forward) {
    forward->refs++;
    forward->connections++;
  }
  link->fd = fd;
  link->poll.data = link;
  ssh_channel_attach(channel, &link->pipe);
  ssh_pump(ssh);
  return true;
}

int ssh_stream_open(struct lum_ssh *ssh, const char *host, int port, struct lum_err *err) {
  int ends[2];
  struct lum_ssh_channel *channel = ssh_channel_tcp(ssh, host, port, err);
  if (!channel)
    return -1;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    lum_err_sys(err, errno, "ssh: cannot make a pair of sockets");
    lum_ssh_channel_close(channel);
    lum_ssh_channel_unref(channel);
    return -1;
  }
  if (join(ssh, NULL, ends[0], channel))
    return ends[1];
  close(ends[0]);
  close(ends[1]);
  lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  return -1;
}

/* ---- listening ---- */

static struct lum_ssh_channel *open_target(struct lum_ssh_forward *forward, struct lum_err *err) {
  if (!forward->command)
    return ssh_channel_tcp(forward->ssh, forward->host, forward->target, err);
  struct lum_ssh_exec_opts opts = {
      .command = forward->command, .command_len = forward->command_len, .marker = forward->marker};
  return lum_ssh_exec(forward->ssh, &opts, err);
}

static void on_connection(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  struct lum_ssh_forward *forward = poll->data;
  struct lum_err err;
  int fd = accept4(forward->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0)
    return; /* it went away again, or there are too many descriptors: the next event tells */
  struct lum_ssh_channel *channel =
      forward->connections < CONNECTIONS_MAX ? open_target(forward, &err) : NULL;
  if (!channel || !join(forward->ssh, forward, fd, channel))
    close(fd);
}

static void on_listener_closed(uv_handle_t *handle) {
  forward_unref(handle->data);
}

void lum_ssh_forward_close(struct lum_ssh_forward *forward) {
  if (forward->closed)
    return;
  forward->closed = true;
  ssh_task_remove(forward->ssh, &forward->task);
  uv_close((uv_handle_t *)&forward->poll, on_listener_closed);
  close(forward->fd);
  if (forward->path)
    unlink(forward->path);
}

void lum_ssh_forward_unref(struct lum_ssh_forward *forward) {
  forward_unref(forward);
}

int lum_ssh_forward_port(const struct lum_ssh_forward *forward) {
  return forward->port;
}

static bool nothing(struct ssh_task *task) {
  (void)task;
  return false;
}

static void on_session_end(struct ssh_task *task, const struct lum_err *err) {
  (void)err;
  lum_ssh_forward_close((struct lum_ssh_forward *)task);
}

static bool listen_path(struct lum_ssh_forward *forward, struct lum_err *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(forward->path) >= sizeof address.sun_path)
    return lum_err_set(err, LUM_INVALID, "ssh: the path of the local socket is too long");
  memcpy(address.sun_path, forward->path, strlen(forward->path) + 1);
  forward->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (forward->fd < 0 || bind(forward->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      chmod(forward->path, 0600) != 0 || listen(forward->fd, 128) != 0)
    return lum_err_sys(err, errno, "ssh: cannot listen on %s", forward->path);
  return true;
}

static bool listen_port(struct lum_ssh_forward *forward, struct lum_err *err) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  forward->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (forward->fd < 0 || bind(forward->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(forward->fd, 128) != 0 ||
      getsockname(forward->fd, (struct sockaddr *)&address, &len) != 0)
    return lum_err_sys(err, errno, "ssh: cannot listen on 127.0.0.1");
  forward->port = ntohs(address.sin_port);
  return true;
}

static bool copy_targets(struct lum_ssh_forward *forward, const struct lum_ssh_forward_opts *opts) {
  const struct lum_ssh_exec_opts *exec = &opts->exec;
  forward->path = opts->path ? strdup(opts->path) : NULL;
  forward->host = opts->host ? strdup(opts->host) : NULL;
  forward->marker = exec->marker ? strdup(exec->marker) : NULL;
  forward->command = exec->command ? strndup(exec->command, exec->command_len) : NULL;
  forward->command_len = exec->command_len;
  forward->target = opts->port;
  return (forward->path || !opts->path) && (forward->host || !opts->host) &&
         (forward->marker || !exec->marker) && (forward->command || !exec->command);
}

struct lum_ssh_forward *lum_ssh_forward_new(struct lum_ssh *ssh,
                                            const struct lum_ssh_forward_opts *opts,
                                            struct lum_err *err) {
  if (ssh->stage != SSH_READY) {
    *err = ssh->err;
    if (err->kind == LUM_OK)
      lum_err_set(err, LUM_INVALID, "ssh: the user has not been accepted yet");
    return NULL;
  }
  struct lum_ssh_forward *forward = calloc(1, sizeof *forward);
  if (!forward) {
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
    return NULL;
  }
  forward->refs = 1;
  forward->fd = -1;
  forward->ssh = ssh;
  ssh_ref(ssh);
  bool ok = copy_targets(forward, opts) || lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
  ok = ok && (forward->path ? listen_path(forward, err) : listen_port(forward, err));
  if (ok && uv_poll_init(&ssh->life.eng->loop, &forward->poll, forward->fd) != 0)
    ok = lum_err_set(err, LUM_QUOTA, "ssh: no room on the loop");
  if (!ok) {
    if (forward->fd >= 0)
      close(forward->fd);
    forward_unref(forward);
    return NULL;
  }
  forward->refs++; /* the handle's */
  forward->poll.data = forward;
  forward->task.advance = nothing;
  forward->task.fail = on_session_end;
  ssh_task_add(ssh, &forward->task);
  uv_poll_start(&forward->poll, UV_READABLE, on_connection);
  return forward;
}
