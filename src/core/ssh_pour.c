/* Output that goes from a channel into a file: while a worker writes one block the next one is
 * decrypted, and nobody else sees the bytes. */
#include <stdlib.h>

#include "fs_stream.h"
#include "ssh_channel_impl.h"

#define BLOCK (256 * 1024)
#define ENOUGH (BLOCK / 2) /* is worth waking a worker */
#define TURN_MS 250        /* after so long it ends, so that somebody can tell how far it is */

struct pour {
  struct read_op read; /* it is the channel's reader */
  struct lum_writer *writer;
  uv_work_t req;
  char *filling, *writing; /* BLOCK bytes each */
  size_t filled, under_way, written;
  uint64_t began;
  bool busy, ended; /* ended: completes when the worker is done */
  bool more;        /* its turn is over, so this block is the last one */
  int errnum;       /* of the worker */
};

static struct pour *pour_of(struct read_op *reader) {
  return (struct pour *)reader; /* first member */
}

/* What was taken from the channel and is not in the file is lost: it must not count as complete. */
static void complete(struct pour *self) {
  struct lum_err *err = &self->read.op.err;
  if (self->errnum != 0 && err->kind == LUM_OK)
    lum_fs_fail(err, self->errnum, "write", self->writer->path);
  lum_writer_give_back(self->writer, err->kind != LUM_OK);
  lum_op_complete(&self->read.op);
}

void ssh_pour_end(struct read_op *reader) {
  struct pour *self = pour_of(reader);
  self->ended = true;
  if (!self->busy)
    complete(self);
}

/* ---- writing ---- */

static void on_work(uv_work_t *req) {
  struct pour *self = req->data;
  self->errnum = lum_fs_write_all(self->writer->file.fd, self->writing, self->under_way);
}

static void on_written(uv_work_t *req, int status) {
  (void)status; /* it is never called off */
  struct pour *self = req->data;
  struct lum_ssh *ssh = self->read.channel->ssh;
  self->busy = false;
  if (self->errnum == 0)
    self->written += self->under_way;
  self->under_way = 0;
  if (self->ended) {
    complete(self);
    return;
  }
  ssh_ref(ssh);
  ssh_pump(ssh);
  lum_ssh_unref(ssh);
}

static void start_writing(struct pour *self) {
  char *block = self->filling;
  self->filling = self->writing;
  self->writing = block;
  self->under_way = self->filled;
  self->filled = 0;
  self->busy = true;
  uv_queue_work(&self->read.op.eng->loop, &self->req, on_work, on_written);
}

/* ---- reading ---- */

static uint64_t now_ms(const struct pour *self) {
  return uv_now(&self->read.op.eng->loop);
}

static bool is_over(const struct pour *self) {
  return self->errnum != 0 || (self->written + self->under_way + self->filled > 0 &&
                               now_ms(self) - self->began >= TURN_MS);
}

/* 1: something came; 0: nothing now; below: an error. */
static int fill(struct pour *self) {
  int came = 0;
  while (self->filled < BLOCK) {
    ssize_t n =
        ssh_stream_take(self->read.channel, 0, self->filling + self->filled, BLOCK - self->filled);
    if (n <= 0)
      return n < 0 ? (int)n : came;
    self->filled += (size_t)n;
    came = 1;
  }
  return came;
}

bool ssh_pour_advance(struct lum_ssh_channel *channel) {
  struct pour *self = pour_of(channel->reader);
  bool over = is_over(self);
  int came = self->more ? 0 : fill(self);
  if (came < 0) {
    ssh_lib_err(channel->ssh, came, &self->read.op.err, "process.read");
    ssh_stream_end_read(channel);
    return true;
  }
  if (self->busy)
    return came > 0;
  if (!over && self->filled < ENOUGH && !ssh_stream_wants_read(channel))
    return came > 0;
  self->more = over;
  if (self->filled > 0 && self->errnum == 0)
    start_writing(self);
  else
    ssh_stream_end_read(channel);
  return true;
}

/* ---- the operation ---- */

static void pour_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  ssh_stream_end_read(((struct read_op *)op)->channel);
}

static void pour_free(struct lum_op *op) {
  struct pour *self = (struct pour *)op;
  struct lum_ssh_channel *channel = self->read.channel;
  lum_writer_unref(self->writer);
  free(self->filling);
  free(self->writing);
  free(self);
  ssh_channel_unref(channel);
}

static const struct lum_op_type pour_type = {"process.pour", pour_cancel, pour_free};

size_t lum_ssh_channel_poured(const struct lum_op *op, bool *more) {
  const struct pour *self = (const struct pour *)op;
  *more = self->more;
  return self->written;
}

struct lum_op *lum_ssh_channel_pour(struct lum_ssh_channel *channel, struct lum_writer *writer,
                                    struct lum_err *err) {
  if (!ssh_channel_read_ok(channel, err))
    return NULL;
  struct pour *self = calloc(1, sizeof *self);
  if (!self || !(self->filling = malloc(BLOCK)) || !(self->writing = malloc(BLOCK))) {
    if (self)
      free(self->filling);
    free(self);
    lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
    return NULL;
  }
  self->read.channel = channel;
  self->read.pours = true;
  self->req.data = self;
  self->writer = writer;
  lum_writer_take(writer);
  ssh_channel_op_start(channel, &self->read.op, &pour_type);
  self->began = now_ms(self);
  ssh_channel_begin_read(channel, &self->read);
  return &self->read.op;
}
