/* Channels: a command or a connection on the other side. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh_impl.h"

#define WINDOW (2 * 1024 * 1024)
#define PACKET 32768
#define CHUNK 65536       /* bytes on their way into libssh2 */
#define NOISE_MAX 1048576 /* that may come before the marker */
#define NOTE_MAX 160      /* bytes of the marker's line after it */
#define SAID_MAX 400      /* bytes of noise kept, to tell what was wrong */
#define OTHER_FIRST 16    /* so many reads of one stream, then the other one has precedence */
#define SPARE_BELOW 9     /* channels: sshd allows 10 unless told otherwise */
#define QUIET_MS 100      /* without output after the end, before we ask whether more will come */
#define UNKNOWN_ID UINT32_MAX

enum state { OPENING, OPEN, PTY, STARTING, RUNNING, CLOSING, GONE };

struct read_op {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  size_t max, len;
  char *data;
  int which;
};

struct write_op {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  struct write_op *next;
  char *data;
  size_t len, off;
};

struct wait_op {
  struct lum_op op;
  struct lum_ssh_channel *channel;
  struct wait_op *next;
};

/* What comes before the marker's line is noise of the login shell. */
struct filter {
  bool open;
  char line[512]; /* the current line, as far as it is known */
  size_t len, dropped;
};

struct lum_ssh_channel {
  struct lum_ssh *ssh;
  struct ssh_task task;
  struct lum_ssh_channel *next;
  LIBSSH2_CHANNEL *lib;
  unsigned refs; /* the caller's, the session's, one for each operation */
  enum state state;
  uint32_t id;
  bool spare, counted;
  /* what is wanted */
  char *command, *term, *marker, *host;
  size_t command_len;
  bool pty, marks_stderr;
  int cols, rows, port;
  unsigned window;
  bool resize, input_ends, eof_sent, asked, closed;
  /* what is known */
  struct lum_err err; /* why it could not be started, or was lost */
  bool exited, read_ended, held_open;
  struct lum_ssh_status status;
  struct filter filters[2];
  char note[NOTE_MAX + 1], said[SAID_MAX + 1];
  size_t note_len, said_len;
  struct {
    char *data;
    size_t from, to;
  } ahead[2]; /* came with the markers' packets */
  int last;   /* the stream that was read last: 1 or 2 */
  unsigned reads;
  /* who waits */
  struct wait_op *starter, *waiters;
  struct read_op *reader;
  struct write_op *writes, **writes_end;
  char *chunk;
  size_t chunk_from, chunk_to;
  struct ssh_pipe *pipe;
  uv_timer_t quiet;
  bool timing, pinging, ping_stale, pinged; /* stale: sent before output that has come since */
};

static struct lum_ssh_channel *of_task(struct ssh_task *task) {
  return (struct lum_ssh_channel *)((char *)task - offsetof(struct lum_ssh_channel, task));
}

static void channel_unref(struct lum_ssh_channel *channel) {
  if (--channel->refs > 0)
    return;
  lum_ssh_unref(channel->ssh);
  free(channel->command);
  free(channel->term);
  free(channel->marker);
  free(channel->host);
  free(channel->ahead[0].data);
  free(channel->ahead[1].data);
  free(channel->chunk);
  free(channel);
}

/* ---- operations: their common parts ---- */

static void op_start(struct lum_ssh_channel *channel, struct lum_op *op,
                     const struct lum_op_type *type) {
  channel->refs++;
  lum_op_init(op, channel->ssh->life.eng, type);
  lum_op_start(op);
}

static bool op_ok(const struct lum_ssh_channel *channel, const char *what, struct lum_err *err) {
  if (channel->closed)
    return lum_err_set(err, LUM_INVALID, "%s: the process is closed", what);
  return true;
}

static bool fail_memory(struct lum_err *err) {
  return lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
}

static void end_start(struct lum_ssh_channel *channel) {
  struct wait_op *starter = channel->starter;
  channel->starter = NULL;
  starter->op.err = channel->err;
  lum_op_complete(&starter->op);
}

static void end_read(struct lum_ssh_channel *channel) {
  struct read_op *reader = channel->reader;
  channel->reader = NULL;
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

static void end_waits(struct lum_ssh_channel *channel) {
  for (struct wait_op *wait; (wait = channel->waiters);) {
    channel->waiters = wait->next;
    if (!channel->exited)
      wait->op.err = channel->err;
    lum_op_complete(&wait->op);
  }
}

static void fail_writes(struct lum_ssh_channel *channel) {
  channel->chunk_from = channel->chunk_to = 0;
  for (struct write_op *write; (write = channel->writes);) {
    if (channel->err.kind != LUM_OK)
      write->op.err = channel->err;
    else
      lum_err_sys(&write->op.err, EPIPE, "process.write");
    end_write(write);
  }
}

/* Everybody who waits learns why it will not come. */
static void fail_all(struct lum_ssh_channel *channel) {
  if (channel->starter)
    end_start(channel);
  if (channel->reader) {
    channel->reader->op.err = channel->err;
    end_read(channel);
  }
  fail_writes(channel);
  end_waits(channel);
  if (channel->pipe)
    channel->pipe->failed(channel->pipe, &channel->err);
}

/* ---- leaving ---- */

static void on_timer_closed(uv_handle_t *handle) {
  channel_unref(handle->data);
}

static void leave(struct lum_ssh_channel *channel) {
  struct lum_ssh *ssh = channel->ssh;
  if (channel->state == GONE)
    return;
  channel->state = GONE;
  ssh_task_remove(ssh, &channel->task);
  struct lum_ssh_channel **at = &ssh->channels;
  while (*at != channel)
    at = &(*at)->next;
  *at = channel->next;
  if (ssh->opening == channel)
    ssh->opening = NULL;
  if (ssh->spare == channel) {
    ssh->spare = NULL;
    ssh->tight = true;
    channel_unref(channel);
  }
  if (channel->counted)
    ssh->load--;
  channel->counted = false;
  if (channel->timing) {
    channel->timing = false;
    uv_close((uv_handle_t *)&channel->quiet, on_timer_closed);
  }
  channel_unref(channel);
}

static void on_session_end(struct ssh_task *task, const struct lum_err *err) {
  struct lum_ssh_channel *channel = of_task(task);
  if (channel->err.kind == LUM_OK)
    channel->err = *err;
  channel->lib = NULL; /* freed with the session */
  channel->refs++;
  leave(channel);
  fail_all(channel);
  channel_unref(channel);
}

/* It could not be opened or started. */
static void give_up(struct lum_ssh_channel *channel, int rc, const char *what) {
  if (channel->err.kind == LUM_OK)
    ssh_lib_err(channel->ssh, rc, &channel->err, what);
  fail_all(channel);
  channel->state = CLOSING;
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

static bool at_end(struct lum_ssh_channel *channel) {
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
  end_read(channel);
  return true;
}

static bool fail_reader(struct lum_ssh_channel *channel, int rc) {
  ssh_lib_err(channel->ssh, rc, &channel->reader->op.err, "process.read");
  end_read(channel);
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
  if (at_end(channel)) {
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
  end_read(channel);
  return true;
}

static bool try_read(struct lum_ssh_channel *channel) {
  struct read_op *reader = channel->reader;
  for (int stream = 0; stream < 2; stream++) {
    if (!has_ahead(channel, stream))
      continue;
    size_t from = channel->ahead[stream].from, n = channel->ahead[stream].to - from;
    n = n < reader->max ? n : reader->max;
    channel->ahead[stream].from += n;
    return deliver(channel, channel->ahead[stream].data + from, n, stream + 1);
  }
  if (channel->read_ended) {
    end_read(channel);
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
static bool await_marker(struct lum_ssh_channel *channel) {
  if (skip_noise(channel, 0) && skip_noise(channel, 1)) {
    bool begun = channel->filters[0].open;
    if (!(begun && (channel->filters[1].open || !channel->marks_stderr)) && !at_end(channel))
      return false;
    if (!begun)
      explain_silence(channel);
  }
  end_start(channel);
  return true;
}

/* ---- the input ---- */

static bool refill(struct lum_ssh_channel *channel) {
  if (channel->chunk_from < channel->chunk_to)
    return true;
  channel->chunk_from = channel->chunk_to = 0;
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

static size_t unsent(const struct lum_ssh *ssh) {
  return ssh->out.to - ssh->out.from;
}

/* True: it got further. */
static bool send_input(struct lum_ssh_channel *channel) {
  bool further = false;
  while (unsent(channel->ssh) < SSH_OUT_HIGH && refill(channel)) {
    ssize_t n = libssh2_channel_write_ex(channel->lib, 0, channel->chunk + channel->chunk_from,
                                         channel->chunk_to - channel->chunk_from);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
      return further;
    if (n < 0) {
      fail_writes(channel);
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

/* ---- the end of the command ---- */

void ssh_note_exit(struct lum_ssh *ssh, uint32_t id, uint32_t code) {
  for (struct lum_ssh_channel *channel = ssh->channels; channel; channel = channel->next) {
    if (channel->id != id)
      continue;
    channel->exited = true;
    channel->status.exit_code = (int)code;
  }
}

static bool note_signal(struct lum_ssh_channel *channel) {
  char *name = NULL;
  size_t len = 0;
  if (libssh2_channel_get_exit_signal(channel->lib, &name, &len, NULL, NULL, NULL, NULL) != 0 ||
      !name)
    return false;
  snprintf(channel->status.signal, sizeof channel->status.signal, "%s", name);
  libssh2_free(channel->ssh->lib, name);
  channel->status.exit_code = -1;
  return channel->exited = true;
}

/* The host closed the channel and has told nothing before. */
static bool note_close(struct lum_ssh_channel *channel) {
  if (!libssh2_channel_eof(channel->lib) ||
      libssh2_channel_wait_closed(channel->lib) == LIBSSH2_ERROR_EAGAIN)
    return false;
  if (channel->exited)
    return true;
  lum_err_set(&channel->err, LUM_PROTOCOL, "ssh: the host did not tell how the command ended");
  end_waits(channel);
  return true;
}

static bool look_for_exit(struct lum_ssh_channel *channel) {
  if (channel->host || (channel->exited && !channel->waiters))
    return false;
  if (!channel->exited && !note_signal(channel) && !note_close(channel))
    return false;
  bool further = channel->waiters != NULL || channel->writes != NULL;
  end_waits(channel);
  if (channel->exited)
    fail_writes(channel);
  return further;
}

/* ---- steps ---- */

static bool open_lib(struct lum_ssh_channel *channel) {
  struct lum_ssh *ssh = channel->ssh;
  if (ssh->opening && ssh->opening != channel)
    return false;
  ssh->opening = channel;
  ssh->confirmed = UNKNOWN_ID;
  if (channel->host)
    channel->lib =
        libssh2_channel_direct_tcpip_ex(ssh->lib, channel->host, channel->port, "127.0.0.1", 0);
  else
    channel->lib =
        libssh2_channel_open_ex(ssh->lib, "session", 7, channel->window, PACKET, NULL, 0);
  int rc = channel->lib ? 0 : libssh2_session_last_errno(ssh->lib);
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return false;
  ssh->opening = NULL;
  channel->id = ssh->confirmed;
  if (rc == 0)
    channel->state = OPEN;
  else
    give_up(channel, rc, "ssh: the host opens no channel");
  return true;
}

static bool ask_pty(struct lum_ssh_channel *channel) {
  int rc =
      libssh2_channel_request_pty_ex(channel->lib, channel->term, (unsigned)strlen(channel->term),
                                     NULL, 0, channel->cols, channel->rows, 0, 0);
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return false;
  if (rc == 0)
    channel->state = STARTING;
  else
    give_up(channel, rc, "ssh: the host gives no terminal");
  return true;
}

static bool ask_command(struct lum_ssh_channel *channel) {
  if (channel->closed && !channel->asked) {
    channel->state = CLOSING;
    return true;
  }
  channel->asked = true;
  int rc = libssh2_channel_process_startup(channel->lib, "exec", 4, channel->command,
                                           (unsigned)channel->command_len);
  if (rc == LIBSSH2_ERROR_EAGAIN)
    return false;
  channel->ssh->settled = true;
  if (rc == 0)
    channel->state = RUNNING;
  else
    give_up(channel, rc, "ssh: the host runs no command");
  return true;
}

static bool run(struct lum_ssh_channel *channel) {
  bool further = send_input(channel);
  if (channel->resize &&
      libssh2_channel_request_pty_size_ex(channel->lib, channel->cols, channel->rows, 0, 0) !=
          LIBSSH2_ERROR_EAGAIN)
    channel->resize = false;
  if (channel->pipe)
    return channel->pipe->move(channel->pipe) || further;
  further = look_for_exit(channel) || further;
  if (channel->marker && !channel->filters[0].open && channel->err.kind == LUM_OK) {
    if (channel->starter)
      further = await_marker(channel) || further;
  } else if (channel->starter) {
    end_start(channel);
  }
  if (channel->reader && (!channel->marker || channel->filters[0].open))
    further = try_read(channel) || further;
  else if (channel->reader && channel->err.kind != LUM_OK) {
    channel->reader->op.err = channel->err;
    end_read(channel);
  }
  return further;
}

static bool advance(struct ssh_task *task) {
  struct lum_ssh_channel *channel = of_task(task);
  switch (channel->state) {
  case OPENING:
    return open_lib(channel);
  case OPEN:
    if (channel->closed && !channel->spare)
      channel->state = CLOSING;
    else if (channel->host)
      channel->state = RUNNING;
    else if (channel->command)
      channel->state = channel->pty ? PTY : STARTING;
    else
      return false; /* the spare one */
    return true;
  case PTY:
    return ask_pty(channel);
  case STARTING:
    return ask_command(channel);
  case RUNNING:
    if (channel->closed) {
      channel->state = CLOSING;
      return true;
    }
    return run(channel);
  case CLOSING:
    if (channel->lib && libssh2_channel_free(channel->lib) == LIBSSH2_ERROR_EAGAIN)
      return false;
    channel->lib = NULL;
    struct lum_ssh *ssh = channel->ssh;
    leave(channel);
    ssh_open_spare(ssh);
    return true;
  case GONE:
    break;
  }
  return false;
}

/* ---- life ---- */

static struct lum_ssh_channel *new_channel(struct lum_ssh *ssh) {
  struct lum_ssh_channel *channel = calloc(1, sizeof *channel);
  if (!channel)
    return NULL;
  if (!(channel->chunk = malloc(CHUNK))) {
    free(channel);
    return NULL;
  }
  channel->ssh = ssh;
  ssh_ref(ssh);
  channel->refs = 3; /* the caller's, the session's, the timer's */
  channel->id = UNKNOWN_ID;
  channel->status.exit_code = -1;
  channel->window = WINDOW;
  channel->last = 1;
  channel->writes_end = &channel->writes;
  uv_timer_init(&ssh->life.eng->loop, &channel->quiet);
  channel->quiet.data = channel;
  channel->timing = true;
  channel->task.advance = advance;
  channel->task.fail = on_session_end;
  channel->next = ssh->channels;
  ssh->channels = channel;
  ssh_task_add(ssh, &channel->task);
  return channel;
}

void ssh_open_spare(struct lum_ssh *ssh) {
  bool room = ssh->load == 0 || (ssh->load < SPARE_BELOW && !ssh->tight);
  if (ssh->spare || ssh->stage != SSH_READY || !room)
    return;
  struct lum_ssh_channel *channel = new_channel(ssh);
  if (!channel)
    return;
  channel->spare = true;
  ssh->spare = channel;
  ssh->again = true;
}

void ssh_drive(struct lum_ssh *ssh) {
  char none;
  for (struct lum_ssh_channel *channel = ssh->channels; channel; channel = channel->next) {
    if (channel->lib && channel->state >= OPEN && channel->state <= RUNNING) {
      libssh2_channel_read_ex(channel->lib, 0, &none, 0);
      return;
    }
  }
}

void lum_ssh_channel_unref(struct lum_ssh_channel *channel) {
  channel_unref(channel);
}

bool lum_ssh_channel_asked(const struct lum_ssh_channel *channel) {
  return channel->asked;
}

bool lum_ssh_channel_closed(const struct lum_ssh_channel *channel) {
  return channel->closed;
}

void lum_ssh_channel_close(struct lum_ssh_channel *channel) {
  if (channel->closed)
    return;
  channel->closed = true;
  if (channel->starter)
    lum_op_cancel(&channel->starter->op);
  if (channel->reader)
    lum_op_cancel(&channel->reader->op);
  while (channel->waiters)
    lum_op_cancel(&channel->waiters->op);
  while (channel->writes)
    lum_op_cancel(&channel->writes->op);
  if (channel->timing)
    uv_timer_stop(&channel->quiet);
  ssh_pump(channel->ssh);
}

static bool want(struct lum_ssh_channel *channel, const struct lum_ssh_exec_opts *opts) {
  channel->command = malloc(opts->command_len + 1);
  channel->term = strdup(opts->term ? opts->term : "xterm-256color");
  channel->marker = opts->marker ? strdup(opts->marker) : NULL;
  channel->filters[0].open = !opts->marker;
  channel->filters[1].open = !opts->marker || !(opts->marks_stderr || opts->mutes_stderr);
  channel->marks_stderr = opts->marks_stderr;
  channel->command_len = opts->command_len;
  channel->pty = opts->pty;
  channel->cols = opts->cols;
  channel->rows = opts->rows;
  if (!channel->command || !channel->term || (opts->marker && !channel->marker))
    return false;
  memcpy(channel->command, opts->command, opts->command_len);
  return true;
}

static bool check_session(struct lum_ssh *ssh, struct lum_err *err) {
  if (ssh->stage == SSH_ENDED)
    *err = ssh->err;
  else if (ssh->stage != SSH_READY)
    lum_err_set(err, LUM_INVALID, "ssh: the user has not been accepted yet");
  else
    return true;
  return false;
}

static void count(struct lum_ssh_channel *channel) {
  channel->counted = true;
  channel->ssh->load++;
}

struct lum_ssh_channel *lum_ssh_exec(struct lum_ssh *ssh, const struct lum_ssh_exec_opts *opts,
                                     struct lum_err *err) {
  if (!check_session(ssh, err))
    return NULL;
  bool usual = opts->window == 0 || opts->window == WINDOW;
  struct lum_ssh_channel *channel = usual ? ssh->spare : NULL;
  if (channel && channel->state <= OPEN) {
    ssh->spare = NULL;
    channel->spare = false;
  } else if (!(channel = new_channel(ssh))) {
    fail_memory(err);
    return NULL;
  }
  count(channel);
  if (opts->window)
    channel->window = opts->window;
  if (!want(channel, opts)) {
    fail_memory(err);
    channel->closed = true;
    ssh_pump(ssh);
    channel_unref(channel);
    return NULL;
  }
  ssh_open_spare(ssh);
  ssh_pump(ssh);
  return channel;
}

struct lum_ssh_channel *ssh_channel_tcp(struct lum_ssh *ssh, const char *host, int port,
                                        struct lum_err *err) {
  struct lum_ssh_channel *channel = NULL;
  char *copy = NULL;
  if (!check_session(ssh, err))
    return NULL;
  if (!(copy = strdup(host)) || !(channel = new_channel(ssh))) {
    free(copy);
    fail_memory(err);
    return NULL;
  }
  channel->host = copy;
  channel->port = port;
  channel->filters[0].open = channel->filters[1].open = true;
  return channel;
}

/* ---- starting ---- */

static void wait_cancel(struct lum_op *op) {
  struct wait_op *wait = (struct wait_op *)op;
  struct lum_ssh_channel *channel = wait->channel;
  lum_op_set_cancelled(op);
  if (channel->starter == wait) {
    channel->starter = NULL;
  } else {
    struct wait_op **at = &channel->waiters;
    while (*at != wait)
      at = &(*at)->next;
    *at = wait->next;
  }
  lum_op_complete(op);
}

static void wait_free(struct lum_op *op) {
  struct lum_ssh_channel *channel = ((struct wait_op *)op)->channel;
  free(op);
  channel_unref(channel);
}

static const struct lum_op_type start_type = {"ssh.start", wait_cancel, wait_free};
static const struct lum_op_type wait_type = {"process.wait", wait_cancel, wait_free};

static struct wait_op *new_wait(struct lum_ssh_channel *channel, const struct lum_op_type *type,
                                const char *what, struct lum_err *err) {
  if (!op_ok(channel, what, err))
    return NULL;
  struct wait_op *wait = calloc(1, sizeof *wait);
  if (!wait) {
    fail_memory(err);
    return NULL;
  }
  wait->channel = channel;
  op_start(channel, &wait->op, type);
  return wait;
}

struct lum_op *lum_ssh_channel_start(struct lum_ssh_channel *channel, struct lum_err *err) {
  if (channel->starter) {
    lum_err_set(err, LUM_CONFLICT, "ssh: somebody waits for the start already");
    return NULL;
  }
  struct wait_op *wait = new_wait(channel, &start_type, "ssh.start", err);
  if (!wait)
    return NULL;
  channel->starter = wait;
  if (channel->err.kind != LUM_OK)
    end_start(channel);
  else
    ssh_pump(channel->ssh);
  return &wait->op;
}

const char *lum_ssh_channel_note(const struct lum_ssh_channel *channel, size_t *len) {
  *len = channel->note_len;
  return channel->note;
}

size_t lum_ssh_channel_noise(const struct lum_ssh_channel *channel) {
  return channel->filters[1].dropped + (channel->filters[1].open ? 0 : channel->filters[1].len);
}

/* ---- reading ---- */

static void read_cancel(struct lum_op *op) {
  lum_op_set_cancelled(op);
  end_read(((struct read_op *)op)->channel);
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
  channel_unref(channel);
}

static const struct lum_op_type read_type = {"process.read", read_cancel, read_free};

struct lum_op *lum_ssh_channel_read(struct lum_ssh_channel *channel, size_t max,
                                    struct lum_err *err) {
  struct read_op *reader = NULL;
  if (!op_ok(channel, "process.read", err))
    return NULL;
  if (channel->reader)
    lum_err_set(err, LUM_CONFLICT, "process.read: another read is waiting");
  else if (!(reader = calloc(1, sizeof *reader)))
    fail_memory(err);
  if (!reader)
    return NULL;
  reader->channel = channel;
  reader->max = max;
  op_start(channel, &reader->op, &read_type);
  channel->reader = reader;
  if (channel->state == GONE && channel->err.kind != LUM_OK) {
    reader->op.err = channel->err;
    end_read(channel);
  } else {
    ssh_pump(channel->ssh);
  }
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
  channel_unref(channel);
}

static const struct lum_op_type write_type = {"process.write", write_cancel, write_free};

struct lum_op *lum_ssh_channel_write(struct lum_ssh_channel *channel, const char *bytes, size_t len,
                                     struct lum_err *err) {
  struct write_op *write = NULL;
  if (!op_ok(channel, "process.write", err))
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
  op_start(channel, &write->op, &write_type);
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

/* ---- waiting ---- */

struct lum_op *lum_ssh_channel_wait(struct lum_ssh_channel *channel, struct lum_err *err) {
  struct wait_op *wait = new_wait(channel, &wait_type, "process.wait", err);
  if (!wait)
    return NULL;
  wait->next = channel->waiters;
  channel->waiters = wait;
  if (channel->exited || channel->err.kind != LUM_OK)
    end_waits(channel);
  else
    ssh_pump(channel->ssh);
  return &wait->op;
}

const struct lum_ssh_status *lum_ssh_channel_status(const struct lum_ssh_channel *channel) {
  return &channel->status;
}

bool lum_ssh_channel_resize(struct lum_ssh_channel *channel, int cols, int rows,
                            struct lum_err *err) {
  if (!op_ok(channel, "process.resize", err))
    return false;
  if (!channel->pty)
    return lum_err_set(err, LUM_UNSUPPORTED,
                       "process.resize: the process has no terminal (pty = true gives it one)");
  if (channel->state == GONE)
    return lum_err_set(err, LUM_NOT_FOUND, "process.resize: the terminal is closed");
  channel->cols = cols;
  channel->rows = rows;
  channel->resize = true;
  ssh_pump(channel->ssh);
  return true;
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
  return at_end(channel) ? -1 : 0;
}

ssize_t ssh_channel_give(struct lum_ssh_channel *channel, const char *buf, size_t len) {
  if (channel->state < RUNNING || unsent(channel->ssh) >= SSH_OUT_HIGH)
    return 0;
  if (channel->state > RUNNING)
    return -2;
  ssize_t n = libssh2_channel_write_ex(channel->lib, 0, buf, len);
  return n >= 0 ? n : n == LIBSSH2_ERROR_EAGAIN ? 0 : -2;
}
