/* Channels: a command or a connection on the other side. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh_channel_impl.h"

#define WINDOW (2 * 1024 * 1024)
#define SPARE_BELOW 9 /* channels: sshd allows 10 unless told otherwise */
#define UNKNOWN_ID UINT32_MAX

static struct lum_ssh_channel *of_task(struct ssh_task *task) {
  return (struct lum_ssh_channel *)((char *)task - offsetof(struct lum_ssh_channel, task));
}

void ssh_channel_unref(struct lum_ssh_channel *channel) {
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
  free(channel->large);
  free(channel);
}

/* ---- operations: their common parts ---- */

void ssh_channel_op_start(struct lum_ssh_channel *channel, struct lum_op *op,
                          const struct lum_op_type *type) {
  channel->refs++;
  lum_op_init(op, channel->ssh->life.eng, type);
  lum_op_start(op);
}

bool ssh_channel_op_ok(const struct lum_ssh_channel *channel, const char *what,
                       struct lum_err *err) {
  if (channel->closed)
    return lum_err_set(err, LUM_INVALID, "%s: the process is closed", what);
  if (channel->ssh->lent)
    return lum_err_set(err, LUM_CONFLICT, "%s: the session is busy with a file", what);
  return true;
}

static bool fail_memory(struct lum_err *err) {
  return lum_err_set(err, LUM_QUOTA, "ssh: out of memory");
}

void ssh_channel_end_start(struct lum_ssh_channel *channel) {
  struct wait_op *starter = channel->starter;
  channel->starter = NULL;
  starter->op.err = channel->err;
  lum_op_complete(&starter->op);
}

static void end_waits(struct lum_ssh_channel *channel) {
  for (struct wait_op *wait; (wait = channel->waiters);) {
    channel->waiters = wait->next;
    if (!channel->exited)
      wait->op.err = channel->err;
    lum_op_complete(&wait->op);
  }
}

/* Everybody who waits learns why it will not come. */
static void fail_all(struct lum_ssh_channel *channel) {
  if (channel->starter)
    ssh_channel_end_start(channel);
  if (channel->reader) {
    channel->reader->op.err = channel->err;
    ssh_stream_end_read(channel);
  }
  ssh_stream_fail_writes(channel);
  end_waits(channel);
  ssh_haul_fail(channel);
  if (channel->pipe)
    channel->pipe->failed(channel->pipe, &channel->err);
}

/* ---- leaving ---- */

static void on_timer_closed(uv_handle_t *handle) {
  ssh_channel_unref(handle->data);
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
    channel->refs--; /* the list still has its own */
  }
  if (channel->counted)
    ssh->load--;
  channel->counted = false;
  if (channel->timing) {
    channel->timing = false;
    uv_close((uv_handle_t *)&channel->quiet, on_timer_closed);
  }
  ssh_channel_unref(channel);
}

static void on_session_end(struct ssh_task *task, const struct lum_err *err) {
  struct lum_ssh_channel *channel = of_task(task);
  if (channel->err.kind == LUM_OK)
    channel->err = *err;
  channel->lib = NULL; /* freed with the session */
  channel->refs++;
  leave(channel);
  fail_all(channel);
  ssh_channel_unref(channel);
}

/* It could not be opened or started. */
static void give_up(struct lum_ssh_channel *channel, int rc, const char *what) {
  if (channel->err.kind == LUM_OK)
    ssh_lib_err(channel->ssh, rc, &channel->err, what);
  fail_all(channel);
  channel->state = CLOSING;
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
  bool knew = channel->exited;
  if (channel->host || (knew && !channel->waiters))
    return false;
  if (!knew && !note_signal(channel) && !note_close(channel))
    return false;
  bool further = knew != channel->exited || channel->waiters != NULL || channel->writes != NULL;
  end_waits(channel);
  if (channel->exited)
    ssh_stream_fail_writes(channel);
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
  bool further = ssh_stream_send_input(channel);
  if (channel->resize &&
      libssh2_channel_request_pty_size_ex(channel->lib, channel->cols, channel->rows, 0, 0) !=
          LIBSSH2_ERROR_EAGAIN)
    channel->resize = false;
  if (channel->pipe)
    return channel->pipe->move(channel->pipe) || further;
  if (channel->marker && !channel->filters[0].open && channel->err.kind == LUM_OK) {
    if (channel->starter)
      further = ssh_stream_await_marker(channel) || further;
  } else if (channel->starter) {
    ssh_channel_end_start(channel);
  }
  if (channel->reader && (!channel->marker || channel->filters[0].open))
    further = ssh_stream_try_read(channel) || further;
  else if (channel->reader && channel->err.kind != LUM_OK) {
    channel->reader->op.err = channel->err;
    ssh_stream_end_read(channel);
  }
  return look_for_exit(channel) || further; /* what waits to be read is in its way */
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

bool ssh_has_pipes(const struct lum_ssh *ssh) {
  for (const struct lum_ssh_channel *channel = ssh->channels; channel; channel = channel->next) {
    if (channel->pipe)
      return true;
  }
  return false;
}

void lum_ssh_channel_unref(struct lum_ssh_channel *channel) {
  ssh_channel_unref(channel);
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
  ssh_haul_cancel(channel);
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
  if (!ssh_usable(ssh, err))
    return false;
  return ssh->stage == SSH_READY ||
         lum_err_set(err, LUM_INVALID, "ssh: the user has not been accepted yet");
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
    ssh_channel_unref(channel);
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
  ssh_channel_unref(channel);
}

static const struct lum_op_type start_type = {"ssh.start", wait_cancel, wait_free};
static const struct lum_op_type wait_type = {"process.wait", wait_cancel, wait_free};

static struct wait_op *new_wait(struct lum_ssh_channel *channel, const struct lum_op_type *type,
                                const char *what, struct lum_err *err) {
  if (!ssh_channel_op_ok(channel, what, err))
    return NULL;
  struct wait_op *wait = calloc(1, sizeof *wait);
  if (!wait) {
    fail_memory(err);
    return NULL;
  }
  wait->channel = channel;
  ssh_channel_op_start(channel, &wait->op, type);
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
    ssh_channel_end_start(channel);
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
  static const struct lum_ssh_status none = {.exit_code = -1};
  return channel->ssh->lent ? &none : &channel->status;
}

bool lum_ssh_channel_resize(struct lum_ssh_channel *channel, int cols, int rows,
                            struct lum_err *err) {
  if (!ssh_channel_op_ok(channel, "process.resize", err))
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
