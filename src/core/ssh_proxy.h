/* A command whose stdin and stdout are the way to the host. */
#ifndef LUM_SSH_PROXY_H
#define LUM_SSH_PROXY_H

#include "engine.h"

struct ssh_proxy;

/* Runs a line of sh. *fd is our end of its stdin and stdout, which the caller owns. NULL with err
 * filled. */
struct ssh_proxy *ssh_proxy_start(struct lum_engine *eng, const char *command, int *fd,
                                  struct lum_err *err);

/* The last line of its stderr; "": none. */
void ssh_proxy_said(const struct ssh_proxy *proxy, char *buf, size_t size);

/* Kills it; NULL is harmless. */
void ssh_proxy_end(struct ssh_proxy *proxy);

#endif
