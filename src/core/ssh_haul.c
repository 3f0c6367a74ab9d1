/* Bytes between a file and a channel, moved by a thread: several sessions so use several cores, and
 * the loop stays free. For the time of a turn the whole session is the thread's: libssh2, the
 * buffers, and what its packets change in the channels. The engine's thread keeps off (`lent`), and
 * an end that falls due meanwhile is made up for when the session comes back. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "fs_stream.h"
#include "ssh_channel_impl.h"

#define BLOCK (256 * 1024)
#define TURN 0.25  /* seconds: then somebody can tell how far it is */
#define LOOK_MS 50 /* between two looks at `stop` while nothing comes */

struct ssh_haul {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  struct lum_reader *reader; /* the way up, or ... */
  struct lum_writer *writer; /* ... the way down: one of them */
  uv_thread_t thread;
  uv_async_t done;
  atomic_bool stop;
  /* The thread's until it is joined. */
  int fd; /* a copy, so that nobody else can close it */
  uint64_t offset, left, moved;
  char *block;
  size_t from, to; /* of the block: read and not sent yet */
  bool more;
  struct lum_err err;
};

/* ---- the thread ---- */

/* As the channel's functions: 1: it got further, 0: nothing now, below: it has ended. */
static int pull(struct ssh_haul *self) {
  size_t want = self->left < BLOCK ? (size_t)self->left : BLOCK, got = 0;
  while (got < want) {
    ssize_t n = ssh_stream_take(self->channel, 0, self->block + got, want - got);
    if (n < 0)
      ssh_lib_err(self->channel->ssh, (int)n, &self->err, "process.read");
    if (n <= 0)
      break;
    got += (size_t)n;
  }
  int rc = got > 0 ? lum_fs_pwrite_all(self->fd, self->block, got, (off_t)self->offset) : 0;
  if (rc != 0)
    lum_fs_fail(&self->err, rc, "write", self->writer->path);
  if (self->err.kind != LUM_OK)
    return -1;
  self->offset += got;
  self->left -= got;
  self->moved += got;
  return got > 0 ? 1 : ssh_stream_at_end(self->channel) ? -1 : 0;
}

static bool refill(struct ssh_haul *self) {
  if (self->from < self->to)
    return true;
  size_t want = self->left < BLOCK ? (size_t)self->left : BLOCK;
  ssize_t n = lum_fs_pread_all(self->fd, self->block, want, (off_t)self->offset);
  if (n < 0)
    lum_fs_fail(&self->err, errno, "read", self->reader->path);
  self->from = 0;
  self->to = n > 0 ? (size_t)n : 0;
  return n > 0;
}

static int push(struct ssh_haul *self) {
  struct lum_ssh_channel *channel = self->channel;
  int came = 0;
  while (self->left > 0 && ssh_unsent(channel->ssh) < SSH_OUT_HIGH) {
    if (channel->exited || !refill(self))
      return -1;
    ssize_t n =
        libssh2_channel_write_ex(channel->lib, 0, self->block + self->from, self->to - self->from);
    if (n == 0 || n == LIBSSH2_ERROR_EAGAIN)
      return came;
    if (n < 0)
      return -1; /* the command reads no more: its exit tells why */
    self->from += (size_t)n;
    self->offset += (uint64_t)n;
    self->left -= (uint64_t)n;
    self->moved += (uint64_t)n;
    came = 1;
  }
  return came;
}

static void wait_for_socket(struct lum_ssh *ssh) {
  struct pollfd socket = {.fd = ssh->sock->fd, .events = POLLIN};
  if (ssh_unsent(ssh) > 0)
    socket.events |= POLLOUT;
  if (poll(&socket, 1, LOOK_MS) > 0)
    ssh->dry = false;
}

static void run(struct ssh_haul *self) {
  struct lum_ssh *ssh = self->channel->ssh;
  double until = lum_monotonic() + TURN;
  int rc = 0;
  while (rc >= 0 && self->left > 0 && !atomic_load(&self->stop)) {
    bool came = ssh_fill(ssh);
    rc = self->reader ? push(self) : pull(self);
    ssh_flush(ssh);
    if (lum_monotonic() >= until || (ssh->hangup && !came && rc == 0))
      break;
    if (!came && rc == 0)
      wait_for_socket(ssh);
  }
  /* One that has ended and whose streams are silent for a turn is for a read to look at. */
  bool silent = self->channel->exited && self->moved == 0;
  self->more = rc >= 0 && self->left > 0 && !silent;
}

static void thread_main(void *arg) {
  struct ssh_haul *self = arg;
  run(self);
  uv_async_send(&self->done); /* the last touch: the thread is joined before anything is freed */
}

/* Signals are for the host's own threads, but for what a fault raises. */
static int start_thread(struct ssh_haul *self) {
  static const int left[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof left / sizeof *left; i++)
    sigdelset(&blocked, left[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int rc = uv_thread_create(&self->thread, thread_main, self);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

/* ---- lending ---- */

/* Nobody waits for it any more, and the session is its own again. */
static void end(struct ssh_haul *self) {
  struct lum_ssh *ssh = self->channel->ssh;
  ssh->haul = NULL;
  if (self->writer && self->op.err.kind != LUM_OK)
    self->writer->failed = true;
  lum_op_complete(&self->op);
}

static struct ssh_haul *haul_of(const struct lum_ssh_channel *channel) {
  struct ssh_haul *haul = channel->ssh->haul;
  return haul && haul->channel == channel ? haul : NULL;
}

void ssh_haul_cancel(struct lum_ssh_channel *channel) {
  if (haul_of(channel))
    lum_op_cancel(&haul_of(channel)->op);
}

void ssh_haul_fail(struct lum_ssh_channel *channel) {
  struct ssh_haul *self = haul_of(channel);
  if (!self)
    return;
  self->op.err = channel->err;
  end(self);
}

static void on_closed(uv_handle_t *handle) {
  lum_op_unref(handle->data);
}

static void on_done(uv_async_t *async) {
  struct ssh_haul *self = async->data;
  struct lum_ssh *ssh = self->channel->ssh;
  uv_thread_join(&self->thread);
  uv_close((uv_handle_t *)async, on_closed);
  if (self->op.cancelled)
    lum_op_set_cancelled(&self->op);
  else
    self->op.err = self->err;
  ssh_ref(ssh);
  end(self);
  ssh_come_back(ssh);
  lum_ssh_unref(ssh);
}

/* What must be over before: opening a channel, which is the session's own business, and what was
 * written to the channel and is not in libssh2 yet. */
static bool is_quiet(const struct lum_ssh_channel *channel) {
  return !channel->ssh->opening && channel->state == RUNNING && !channel->writes &&
         channel->chunk_from == channel->chunk_to && !channel->resize;
}

void ssh_haul_try(struct lum_ssh *ssh) {
  struct ssh_haul *self = ssh->haul;
  if (!self || ssh->lent || ssh->stage != SSH_READY || ssh->hangup || !is_quiet(self->channel))
    return;
  if (uv_async_init(&ssh->life.eng->loop, &self->done, on_done) != 0) {
    lum_err_set(&self->op.err, LUM_QUOTA, "process.haul: out of descriptors");
    end(self);
    return;
  }
  self->done.data = self;
  lum_op_ref(&self->op); /* the handle's */
  ssh_lend(ssh);
  int rc = start_thread(self);
  if (rc == 0)
    return;
  lum_err_sys(&self->op.err, -rc, "process.haul: cannot start a thread");
  uv_close((uv_handle_t *)&self->done, on_closed);
  end(self);
  ssh_come_back(ssh);
}

void ssh_haul_stop(struct lum_ssh *ssh) {
  atomic_store(&ssh->haul->stop, true);
}

/* ---- the operation ---- */

static void haul_cancel(struct lum_op *op) {
  struct ssh_haul *self = (struct ssh_haul *)op;
  if (self->channel->ssh->lent) {
    atomic_store(&self->stop, true);
    return;
  }
  lum_op_set_cancelled(op);
  end(self);
}

static void haul_free(struct lum_op *op) {
  struct ssh_haul *self = (struct ssh_haul *)op;
  struct lum_ssh_channel *channel = self->channel;
  if (self->fd >= 0)
    close(self->fd);
  if (self->reader)
    lum_reader_unref(self->reader);
  if (self->writer)
    lum_writer_unref(self->writer);
  free(self->block);
  free(self);
  ssh_channel_unref(channel);
}

static const struct lum_op_type haul_type = {"process.haul", haul_cancel, haul_free};

uint64_t lum_ssh_channel_hauled(const struct lum_op *op, bool *more) {
  const struct ssh_haul *self = (const struct ssh_haul *)op;
  *more = self->more;
  return self->moved;
}

static bool may_start(const struct lum_ssh_channel *channel, struct lum_err *err) {
  if (!ssh_channel_read_ok(channel, err))
    return false;
  if (channel->ssh->haul)
    return lum_err_set(err, LUM_CONFLICT, "process.haul: the session hauls already");
  if (ssh_has_pipes(channel->ssh))
    return lum_err_set(err, LUM_CONFLICT, "process.haul: connections go through the session");
  if (channel->err.kind == LUM_OK)
    return true;
  *err = channel->err;
  return false;
}

struct lum_op *lum_ssh_channel_haul(struct lum_ssh_channel *channel,
                                    const struct lum_ssh_haul_opts *opts, struct lum_err *err) {
  if (!may_start(channel, err))
    return NULL;
  int fd = fcntl(opts->reader ? opts->reader->fd : opts->writer->file.fd, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) {
    lum_err_sys(err, errno, "process.haul");
    return NULL;
  }
  struct ssh_haul *self = calloc(1, sizeof *self);
  if (!self || !(self->block = malloc(BLOCK))) {
    free(self);
    close(fd);
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
    return NULL;
  }
  self->fd = fd;
  self->channel = channel;
  self->offset = opts->offset;
  self->left = opts->length;
  if ((self->reader = opts->reader))
    self->reader->refs++;
  if ((self->writer = opts->writer))
    self->writer->refs++;
  atomic_init(&self->stop, false);
  channel->ssh->haul = self;
  ssh_channel_op_start(channel, &self->op, &haul_type);
  ssh_pump(channel->ssh);
  return &self->op;
}
