/* The protocol of ssh-agent, on a worker thread. libssh2's own client waits for the agent on ours,
 * and cannot ask for the signatures that today's servers want of RSA keys. */
#ifndef LUM_SSH_AGENT_H
#define LUM_SSH_AGENT_H

#include "engine.h"

/* Asks for a signature. done(arg) is called on the engine's thread when there is one or not, unless
 * the operation was cancelled. NULL: out of memory. */
struct lum_op *ssh_agent_sign(struct lum_engine *eng, const char *socket, const char *blob,
                              size_t blob_len, const unsigned char *data, size_t len,
                              unsigned flags, void (*done)(void *arg), void *arg);

/* What was signed, in the form of RFC 4253: a string for the kind and one for the bytes. */
const unsigned char *ssh_agent_signature(const struct lum_op *op, size_t *len);

enum { SSH_AGENT_RSA_SHA2_256 = 2, SSH_AGENT_RSA_SHA2_512 = 4 };

#endif
