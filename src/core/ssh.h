/* SSH over libssh2: a session is one connection with many channels.
 *
 * libssh2 is never asked to wait. It reads from a buffer of ours and writes into another one that
 * takes everything, so that none of its calls stops half-way through a packet; what waits for an
 * answer is repeated by one function, ssh_pump, until it goes on. */
#ifndef LUM_SSH_H
#define LUM_SSH_H

#include "engine.h"

struct lum_ssh;
struct lum_ssh_channel;
struct lum_ssh_forward;
struct lum_reader;
struct lum_writer;

struct lum_ssh_opts {
  const char *host;      /* a name or an address */
  int port;              /* 1 to 65535 */
  struct lum_ssh *via;   /* reach the host through this session; NULL: directly */
  const char *proxy;     /* or through a line of sh whose stdin and stdout lead there */
  const char *hostkeys;  /* kinds of host keys in the order wanted; NULL: the library's order */
  unsigned keepalive_ms; /* 0: none. The session ends when three in a row are not answered. */
};

/* The caller's reference, or NULL with err filled. Nothing is sent yet. */
struct lum_ssh *lum_ssh_new(struct lum_engine *eng, const struct lum_ssh_opts *opts,
                            struct lum_err *err);

/* Drops the caller's reference; close first. */
void lum_ssh_unref(struct lum_ssh *ssh);

/* Ends it with all its channels; what is pending completes as cancelled. Idempotent. */
void lum_ssh_close(struct lum_ssh *ssh);

/* Reads what has come, without waiting for the loop: it may be the end, and of what was given to a
 * dead connection nobody knows whether it has run. */
void lum_ssh_look(struct lum_ssh *ssh);

/* LUM_OK while it lives, else why it ended, as far as that was read. */
const struct lum_err *lum_ssh_error(const struct lum_ssh *ssh);

/* Channels in use, those that are just being closed included: what sshd counts as sessions. */
unsigned lum_ssh_load(const struct lum_ssh *ssh);

/* Operations of the session: one at a time. NULL with err filled when they cannot be started. */

/* Finds the host, connects and agrees on keys. A failure or a cancel ends the session. */
struct lum_op *lum_ssh_connect(struct lum_ssh *ssh, struct lum_err *err);
/* The host's public key, once connected. */
const char *lum_ssh_hostkey(struct lum_ssh *ssh, size_t *len);

/* What the user may prove himself with, such as "publickey,password". The text belongs to op; NULL:
 * nothing was asked for, and he is in. */
struct lum_op *lum_ssh_auth_methods(struct lum_ssh *ssh, const char *user, struct lum_err *err);
const char *lum_ssh_auth_methods_result(const struct lum_op *op);

/* The password is also what every question of `keyboard-interactive` is answered with. */
struct lum_op *lum_ssh_auth_password(struct lum_ssh *ssh, const char *user, const char *password,
                                     bool interactive, struct lum_err *err);
/* A private key in the formats of OpenSSH and PEM; passphrase may be NULL. */
struct lum_op *lum_ssh_auth_key(struct lum_ssh *ssh, const char *user, const char *key, size_t len,
                                const char *passphrase, struct lum_err *err);
/* A public key whose private half the agent at the socket has. */
struct lum_op *lum_ssh_auth_agent(struct lum_ssh *ssh, const char *user, const char *socket,
                                  const char *blob, size_t len, struct lum_err *err);

/* ---- channels ---- */

struct lum_ssh_exec_opts {
  const char *command;
  size_t command_len;
  bool pty;
  const char *term;
  int cols, rows;
  unsigned window;    /* bytes that may come before they are read; 0: 2 MiB */
  const char *marker; /* what comes before a line with it is dropped; NULL: none */
  bool marks_stderr;  /* stderr has one too, and what comes before it is dropped */
  bool mutes_stderr;  /* all of stderr is dropped */
};

struct lum_ssh_status {
  int exit_code;   /* -1: none */
  char signal[24]; /* "KILL"; empty: none */
};

/* Asks for a command. The caller's reference, or NULL with err filled. */
struct lum_ssh_channel *lum_ssh_exec(struct lum_ssh *ssh, const struct lum_ssh_exec_opts *opts,
                                     struct lum_err *err);
void lum_ssh_channel_unref(struct lum_ssh_channel *channel);

/* Ends its operations as cancelled and gives it up. What runs on the other side is not killed by
 * that. */
void lum_ssh_channel_close(struct lum_ssh_channel *channel);
/* Whether the host may have been asked for the command: it must then be taken to run. */
bool lum_ssh_channel_asked(const struct lum_ssh_channel *channel);
bool lum_ssh_channel_closed(const struct lum_ssh_channel *channel);

/* Waits for the marker, or for the host's consent when there is none. */
struct lum_op *lum_ssh_channel_start(struct lum_ssh_channel *channel, struct lum_err *err);
/* What follows the marker in its line. */
const char *lum_ssh_channel_note(const struct lum_ssh_channel *channel, size_t *len);

/* Bytes of stderr that were dropped so far. */
size_t lum_ssh_channel_noise(const struct lum_ssh_channel *channel);

/* As for processes, see process.h: max bytes of whichever stream has some. */
struct lum_op *lum_ssh_channel_read(struct lum_ssh_channel *channel, size_t max,
                                    struct lum_err *err);
int lum_ssh_channel_read_result(struct lum_op *op, const char **bytes, size_t *len);
void lum_ssh_channel_read_release(struct lum_op *op);
/* A read whose bytes go into a file instead, in large blocks; the writer must not be busy, and is
 * until the end. It ends after a quarter of a second with something written (more), or when only a
 * read can tell what comes next: bytes of stderr, or the end. */
struct lum_op *lum_ssh_channel_pour(struct lum_ssh_channel *channel, struct lum_writer *writer,
                                    struct lum_err *err);
size_t lum_ssh_channel_poured(const struct lum_op *op, bool *more);

struct lum_ssh_haul_opts {
  struct lum_reader *reader; /* from this file into the channel, or ... */
  struct lum_writer *writer; /* ... from the channel into this one, which must not end meanwhile */
  uint64_t offset, length;   /* of the file */
};

/* Moves bytes on a thread of its own, up to length or for a quarter of a second, at places of the
 * file that are told, so that several channels can share it. Nothing else can be done with the
 * whole session meanwhile; what is asked of it is refused. More: length is not reached, and it can
 * be called again for the rest; else a read tells what has happened. */
struct lum_op *lum_ssh_channel_haul(struct lum_ssh_channel *channel,
                                    const struct lum_ssh_haul_opts *opts, struct lum_err *err);
uint64_t lum_ssh_channel_hauled(const struct lum_op *op, bool *more);

struct lum_op *lum_ssh_channel_write(struct lum_ssh_channel *channel, const char *bytes, size_t len,
                                     struct lum_err *err);
void lum_ssh_channel_close_stdin(struct lum_ssh_channel *channel);

struct lum_op *lum_ssh_channel_wait(struct lum_ssh_channel *channel, struct lum_err *err);
const struct lum_ssh_status *lum_ssh_channel_status(const struct lum_ssh_channel *channel);
/* Whether somebody else still had the streams open when the reads ended. */
bool lum_ssh_channel_held_open(const struct lum_ssh_channel *channel);

bool lum_ssh_channel_resize(struct lum_ssh_channel *channel, int cols, int rows,
                            struct lum_err *err);

/* ---- forwarding ---- */

struct lum_ssh_forward_opts {
  const char *path;              /* listen on this unix socket; NULL: on a free port of 127.0.0.1 */
  const char *host;              /* where each connection leads to, as the other side sees it ... */
  int port;                      /* ... */
  struct lum_ssh_exec_opts exec; /* ... or, with a command, to its stdin and stdout */
};

/* The caller's reference, or NULL with err filled. It ends with the session. */
struct lum_ssh_forward *lum_ssh_forward_new(struct lum_ssh *ssh,
                                            const struct lum_ssh_forward_opts *opts,
                                            struct lum_err *err);
void lum_ssh_forward_close(struct lum_ssh_forward *forward);
void lum_ssh_forward_unref(struct lum_ssh_forward *forward);
/* 0 for a unix socket. */
int lum_ssh_forward_port(const struct lum_ssh_forward *forward);

/* ---- host keys and agents, without a session ---- */

enum lum_ssh_known { LUM_SSH_KNOWN, LUM_SSH_CHANGED, LUM_SSH_UNKNOWN };

/* Looks a key up in the text of a known_hosts file. */
enum lum_ssh_known lum_ssh_known_host(const char *text, size_t len, const char *host, int port,
                                      const char *key, size_t key_len);

/* The public keys that an agent offers. */
struct lum_op *lum_ssh_agent_keys(struct lum_engine *eng, const char *socket, struct lum_err *err);
size_t lum_ssh_agent_key_count(const struct lum_op *op);
const char *lum_ssh_agent_key(const struct lum_op *op, size_t i, size_t *len, const char **comment,
                              size_t *comment_len);

#endif
