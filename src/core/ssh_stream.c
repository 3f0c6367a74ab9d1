/* The streams of a channel: what comes, up to its end, and what goes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh_channel_impl.h"

#define NOISE_MAX 1048576 /* that may come before the marker */
#define QUIET_MS 100      /* without output after the end, before we ask whether more will come */
#define OTHER_FIRST 16    /* so many reads of one stream, then the other one has precedence */

static bool fail_memory(struct lum_err *err) {
  return lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
}

void ssh_stream_end_read(struct lum_ssh_channel *channel) {
  struct read_op *reader = channel->reader;
  channel->reader = NULL;
  if (reader->pours)
    ssh_pour_end(reader);
  else
    lum_op_complete(&reader->op);
}

static void end_write(struct write_op *write) {
  struct lum_ssh_channel *channel = write->channel;
  struct write_op **at = &channel->writes;
  while (*at != write)
    at = &(*at)->next;
  *at = write->next;
  if (!*at)
    channel->writes_end = at;
  free(write->data);
  write->data = NULL;
  lum_op_complete(&write->op);
}

static void drop_chunk(struct lum_ssh_channel *channel) {
  free(channel->large);
  channel->large = NULL;
  channel->chunk_from = channel->chunk_to = 0;
}

void ssh_stream_fail_writes(struct lum_ssh_channel *channel) {
  drop_chunk(channel);
  for (struct write_op *write; (write = channel->writes);) {
    if (channel->err.kind != LUM_OK)
      write->op.err = channel->err;
    else
      lum_err_sys(&write->op.err, EPIPE, "process.write");
    end_write(write);
  }
}

/* ---- the output ---- */

/* Drops bytes up to the end of the marker's line; returns how many of the rest there are, which are
 * moved to the front. */
static size_t filter_bytes(struct lum_ssh_channel *channel, int stream, char *bytes, size_t len) {
  struct filter *filter = &channel->filters[stream];
  for (size_t i = 0; i < len; i++) {
    if (bytes[i] != '\n') {
      if (filter->len < sizeof filter->line - 1)
        filter->line[filter->len++] = bytes[i];
      else
        filter->dropped++;
      continue;
    }
    filter->line[filter->len] = '\0';
    char *found = memmem(filter->line, filter->len, channel->marker, strlen(channel->marker));
    if (!found) {
      size_t room = SAID_MAX - channel->said_len,
             n = filter->len + 1 < room ? filter->len + 1 : room;
      filter->line[filter->len] = '\n';
      memcpy(channel->said + channel->said_len, filter->line, n);
      channel->said_len += n;
      filter->dropped += filter->len + 1;
      filter->len = 0;
      continue;
    }
    found += strlen(channel->marker);
    size_t rest = (size_t)(filter->line + filter->len - found);
    if (rest > 0 && found[rest - 1] == '\r')
      rest--;
    if (stream == 0) {
      channel->note_len = rest < NOTE_MAX ? rest : NOTE_MAX;
      memcpy(channel->note, found, channel->note_len);
    }
    filter->open = true;
    memmove(bytes, bytes + i + 1, len - i - 1);
    return len - i - 1;
  }
  return 0;
}

static ssize_t read_stream(struct lum_ssh_channel *channel, int stream, char *buf, size_t size) {
  struct filter *filter = &channel->filters[stream];
  ssize_t total = 0;
  while ((size_t)total < size) {
    ssize_t n = libssh2_channel_read_ex(channel->lib, stream, buf + total, size - (size_t)total);
    if (n <= 0)
      return n < 0 && n != LIBSSH2_ERROR_EAGAIN && total == 0 ? n : total;
    total += filter->open ? n : (ssize_t)filter_bytes(channel, stream, buf + total, (size_t)n);
    if (!filter->open && filter->dropped + filter->len > NOISE_MAX)
      return LIBSSH2_ERROR_PROTO;
  }
  return total;
}

static bool has_ahead(const struct lum_ssh_channel *channel, int stream) {
  return channel->ahead[stream].from < channel->ahead[stream].to;
}

bool ssh_stream_at_end(struct lum_ssh_channel *channel) {
  return !has_ahead(channel, 0) && !has_ahead(channel, 1) && libssh2_channel_eof(channel->lib) != 0;
}

static bool deliver(struct lum_ssh_channel *channel, const char *bytes, size_t len, int which) {
  struct read_op *reader = channel->reader;
  reader->data = malloc(len);
  if (!reader->data) {
    fail_memory(&reader->op.err);
  } else {
    memcpy(reader->data, bytes, len);
    reader->len = len;
    reader->which = channel->last = which;
  }
  channel->reads++;
  channel->ping_stale = channel->pinging;
  channel->pinged = false;
  ssh_stream_end_read(channel);
  return true;
}

static bool fail_reader(struct lum_ssh_channel *channel, int rc) {
  ssh_lib_err(channel->ssh, rc, &channel->reader->op.err, "process.read");
  ssh_stream_end_read(channel);
  return true;
}

static void on_quiet(uv_timer_t *timer) {
  struct lum_ssh_channel *channel = timer->data;
  channel->pinging = true;
  ssh_pump(channel->ssh);
}

/* The command has ended, its streams have not: somebody else has them open, or the rest is on its
 * way. After a while without output the host is asked something; what it had to send comes before
 * its answer. */
static bool look_for_end(struct lum_ssh_channel *channel) {
  if (ssh_stream_at_end(channel)) {
    channel->read_ended = true;
  } else if (!channel->exited) {
    return false;
  } else if (channel->pinged) {
    channel->read_ended = channel->held_open = true;
  } else if (channel->pinging) {
    if (libssh2_channel_setenv_ex(channel->lib, "LUARIUM_PING", 12, "1", 1) == LIBSSH2_ERROR_EAGAIN)
      return false;
    channel->pinging = channel->ping_stale; /* then once more */
    channel->pinged = !channel->ping_stale; /* read again: what came before the answer is there */
    channel->ping_stale = false;
    return true;
  } else {
    if (!uv_is_active((uv_handle_t *)&channel->quiet))
      uv_timer_start(&channel->quiet, on_quiet, QUIET_MS, 0);
    return false;
  }
  ssh_stream_end_read(channel);
  return true;
}

ssize_t ssh_stream_take(struct lum_ssh_channel *channel, int stream, char *buf, size_t size) {
  if (!has_ahead(channel, stream))
    return read_stream(channel, stream, buf, size);
  size_t from = channel->ahead[stream].from, n = channel->ahead[stream].to - from;
  n = n < size ? n : size;
  memcpy(buf, channel->ahead[stream].data + from, n);
  channel->ahead[stream].from += n;
  return (ssize_t)n;
}

bool ssh_stream_wants_read(struct lum_ssh_channel *channel) {
  if (has_ahead(channel, 1) || channel->exited || channel->read_ended || ssh_stream_at_end(channel))
    return true;
  if (!channel->ahead[1].data && !(channel->ahead[1].data = malloc(PACKET)))
    return true; /* the read will say so */
  ssize_t n = read_stream(channel, 1, channel->ahead[1].data, PACKET);
  channel->ahead[1].from = 0;
  channel->ahead[1].to = n > 0 ? (size_t)n : 0;
  return n != 0;
}

bool ssh_stream_try_read(struct lum_ssh_channel *channel) {
  struct read_op *reader = channel->reader;
  if (reader->pours)
    return ssh_pour_advance(channel);
  for (int stream = 0; stream < 2; stream++) {
    if (!has_ahead(channel, stream))
      continue;
    size_t from = channel->ahead[stream].from, n = channel->ahead[stream].to - from;
    n = n < reader->max ? n : reader->max;
    channel->ahead[stream].from += n;
    return deliver(channel, channel->ahead[stream].data + from, n, stream + 1);
  }
  if (channel->read_ended) {
    ssh_stream_end_read(channel);
    return true;
  }
  size_t max = reader->max < SSH_SCRATCH ? reader->max : SSH_SCRATCH;
  for (int i = 0; i < 2; i++) {
    /* To look for bytes of a stream that has none means to look at everything that waits. */
    int first = channel->reads % OTHER_FIRST == 0 ? 2 - channel->last : channel->last - 1,
        stream = i == 0 ? first : 1 - first;
    ssize_t n = read_stream(channel, stream, channel->ssh->scratch, max);
    if (n > 0) {
      uv_timer_stop(&channel->quiet);
      return deliver(channel, channel->ssh->scratch, (size_t)n, stream + 1);
    }
    if (n < 0)
      return fail_reader(channel, (int)n);
  }
  return look_for_end(channel);
}

/* The marker did not come: what came instead tells why. */
static void explain_silence(struct lum_ssh_channel *channel) {
  char *said = channel->said;
  for (int stream = 0; stream < 2; stream++) {
    struct filter *filter = &channel->filters[stream];
    size_t room = SAID_MAX - channel->said_len, n = filter->len < room ? filter->len : room;
    memcpy(said + channel->said_len, filter->line, n);
    channel->said_len += n;
  }
  while (channel->said_len > 0 && said[channel->said_len - 1] == '\n')
    channel->said_len--;
  said[channel->said_len] = '\0';
  for (char *at = said; *at; at++)
    if ((unsigned char)*at < ' ')
      *at = ' '; /* an error is one line */
  lum_err_set(&channel->err, LUM_PROTOCOL,
              "ssh: the login shell on %s did not run our command; it said: %s", channel->ssh->host,
              channel->said_len > 0 ? said : "nothing");
  snprintf(channel->err.name, sizeof channel->err.name, "SSH_SHELL");
}

/* Reads a stream up to its marker; what has come after it is kept. False: an error. */
static bool skip_noise(struct lum_ssh_channel *channel, int stream) {
  if (channel->filters[stream].open)
    return true;
  if (!channel->ahead[stream].data && !(channel->ahead[stream].data = malloc(PACKET)))
    return fail_memory(&channel->err);
  ssize_t n = read_stream(channel, stream, channel->ahead[stream].data, PACKET);
  channel->ahead[stream].to = n > 0 ? (size_t)n : 0;
  return n >= 0 || ssh_lib_err(channel->ssh, (int)n, &channel->err, "ssh: before the command");
}

/* True: it is known whether the command was started. */
bool ssh_stream_await_marker(struct lum_ssh_channel *channel) {
  if (skip_noise(channel, 0) && skip_noise(channel, 1)) {
    bool begun = channel->filters[0].open;
    if (!(begun && (channel->filters[1].open || !channel->marks_stderr)) &&
        !ssh_stream_at_end(channel))
      return false;
    if (!begun)
      explain_silence(channel);
  }
  ssh_channel_end_start(channel);
  return true;
}

/* ---- the input ---- */

/* Small writes are put together, a large one is taken as it is. */
static bool refill(struct lum_ssh_channel *channel) {
  if (channel->chunk_from < channel->chunk_to)
    return true;
  drop_chunk(channel);
  struct write_op *first = channel->writes;
  if (first && first->off == 0 && first->len >= CHUNK) {
    channel->large = first->data;
    channel->chunk_to = first->off = first->len;
    first->data = NULL;
    end_write(first);
    return true;
  }
  while (channel->writes && channel->chunk_to < CHUNK) {
    struct write_op *write = channel->writes;
    size_t n = write->len - write->off, room = CHUNK - channel->chunk_to;
    n = n < room ? n : room;
    if (n > 0)
      memcpy(channel->chunk + channel->chunk_to, write->data + write->off, n);
    channel->chunk_to += n;
    write->off += n;
    if (write->off == write->len)
      end_write(write);
  }
  return channel->chunk_to > 0;
}

/* True: it got further. */
bool ssh_stream_send_input(struct lum_ssh_channel *channel) {
  bool further = false;
  while (ssh_unsent(channel->ssh) < SSH_OUT_HIGH && refill(channel)) {
    const char *bytes = channel->large ? channel->large : channel->chunk;
    ssize_t n = libssh2_channel_write_ex(channel->lib, 0, bytes + channel->chunk_from,
                                         channel->chunk_to - channel->chunk_from);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
      return further;
    if (n < 0) {
      ssh_stream_fail_writes(channel);
      channel->input_ends = channel->eof_sent = true;
      return true;
    }
    channel->chunk_from += (size_t)n;
    further = true;
  }
  if (channel->input_ends && !channel->eof_sent && channel->chunk_from == channel->chunk_to &&
      !channel->writes && libssh2_channel_send_eof(channel->lib) != LIBSSH2_ERROR_EAGAIN)
    channel->eof_sent = further = true;
  return further;
}

/* ---- reading ---- */

static void read_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  ssh_stream_end_read(((struct read_op *)op)->channel);
}

void lum_ssh_channel_read_release(struct lum_op *op) {
  struct read_op *reader = (struct read_op *)op;
  free(reader->data);
  reader->data = NULL;
}

static void read_free(struct lum_op *op) {
  struct lum_ssh_channel *channel = ((struct read_op *)op)->channel;
  lum_ssh_channel_read_release(op);
  free(op);
  ssh_channel_unref(channel);
}

static const struct lum_op_type read_type = {"process.read", read_cancel, read_free};

bool ssh_channel_read_ok(const struct lum_ssh_channel *channel, struct lum_err *err) {
  if (!ssh_channel_op_ok(channel, "process.read", err))
    return false;
  return !channel->reader ||
         lum_err_set(err, LUM_CONFLICT, "process.read: another read is waiting");
}

void ssh_channel_begin_read(struct lum_ssh_channel *channel, struct read_op *reader) {
  channel->reader = reader;
  if (channel->state == GONE && channel->err.kind != LUM_OK) {
    reader->op.err = channel->err;
    ssh_stream_end_read(channel);
  } else {
    ssh_pump(channel->ssh);
  }
}

struct lum_op *lum_ssh_channel_read(struct lum_ssh_channel *channel, size_t max,
                                    struct lum_err *err) {
  if (!ssh_channel_read_ok(channel, err))
    return NULL;
  struct read_op *reader = calloc(1, sizeof *reader);
  if (!reader) {
    fail_memory(err);
    return NULL;
  }
  reader->channel = channel;
  reader->max = max;
  ssh_channel_op_start(channel, &reader->op, &read_type);
  ssh_channel_begin_read(channel, reader);
  return &reader->op;
}

int lum_ssh_channel_read_result(struct lum_op *op, const char **bytes, size_t *len) {
  struct read_op *reader = (struct read_op *)op;
  *bytes = reader->data;
  *len = reader->len;
  return reader->which;
}

bool lum_ssh_channel_held_open(const struct lum_ssh_channel *channel) {
  return channel->held_open;
}

/* ---- writing ---- */

static void write_cancel(struct lum_op *op) {
  struct write_op *write = (struct write_op *)op;
  lum_err_set(&op->err, LUM_CANCELLED, "process.write: cancelled after %zu of %zu bytes",
              write->off, write->len);
  end_write(write);
}

static void write_free(struct lum_op *op) {
  struct write_op *write = (struct write_op *)op;
  struct lum_ssh_channel *channel = write->channel;
  free(write->data);
  free(write);
  ssh_channel_unref(channel);
}

static const struct lum_op_type write_type = {"process.write", write_cancel, write_free};

struct lum_op *lum_ssh_channel_write(struct lum_ssh_channel *channel, const char *bytes, size_t len,
                                     struct lum_err *err) {
  struct write_op *write = NULL;
  if (!ssh_channel_op_ok(channel, "process.write", err))
    return NULL;
  if (channel->err.kind != LUM_OK)
    *err = channel->err;
  else if (channel->exited || channel->input_ends)
    lum_err_sys(err, EPIPE, "process.write");
  else if (!(write = calloc(1, sizeof *write)) || !(write->data = malloc(len ? len : 1)))
    fail_memory(err);
  if (!write || !write->data) {
    free(write);
    return NULL;
  }
  memcpy(write->data, bytes, len);
  write->len = len;
  write->channel = channel;
  ssh_channel_op_start(channel, &write->op, &write_type);
  *channel->writes_end = write;
  channel->writes_end = &write->next;
  ssh_pump(channel->ssh);
  return &write->op;
}

void lum_ssh_channel_close_stdin(struct lum_ssh_channel *channel) {
  if (channel->closed || channel->input_ends)
    return;
  channel->input_ends = true;
  ssh_pump(channel->ssh);
}

/* ---- pipes ---- */

void ssh_channel_attach(struct lum_ssh_channel *channel, struct ssh_pipe *pipe) {
  channel->pipe = pipe;
}

ssize_t ssh_channel_take(struct lum_ssh_channel *channel, char *buf, size_t size) {
  if (channel->state < RUNNING)
    return 0;
  if (channel->state > RUNNING)
    return -2;
  ssize_t n = read_stream(channel, 0, buf, size);
  if (n != 0)
    return n > 0 ? n : -2;
  char drop[256]; /* nobody reads the other stream: it must not fill the window */
  while (libssh2_channel_read_ex(channel->lib, 1, drop, sizeof drop) > 0)
    ;
  return ssh_stream_at_end(channel) ? -1 : 0;
}

ssize_t ssh_channel_give(struct lum_ssh_channel *channel, const char *buf, size_t len) {
  if (channel->state < RUNNING || ssh_unsent(channel->ssh) >= SSH_OUT_HIGH)
    return 0;
  if (channel->state > RUNNING)
    return -2;
  ssize_t n = libssh2_channel_write_ex(channel->lib, 0, buf, len);
  return n >= 0 ? n : n == LIBSSH2_ERROR_EAGAIN ? 0 : -2;
}
