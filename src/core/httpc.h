/* libcurl on the engine's loop: one multi handle, its sockets as uv_poll, its clock as uv_timer, a
 * pool of easy handles. It knows transfers, not requests. */
#ifndef LUM_HTTPC_H
#define LUM_HTTPC_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine.h"

struct lum_httpc;

struct lum_transfer;

/* An easy handle of the pool and what goes with it. Its address is what curl knows, so that nothing
 * needs to be set anew for the next transfer. */
struct lum_slot {
  CURL *easy;
  struct lum_transfer *owner;
  bool prepared; /* still has the options of a transfer that said so; only what differs needs to be
                    set */
  uint64_t memo; /* the owner's note about those options */
  char detail[CURL_ERROR_SIZE]; /* curl's error buffer */
};

struct lum_transfer {
  struct lum_httpc *client;
  struct lum_slot *slot; /* NULL when not begun */
  struct lum_transfer *prev, *next;
  /* Called once per start, outside of curl's callbacks, when curl has ended it. The transfer is
   * still attached: it calls lum_transfer_end itself. Also called with CURLE_ABORTED_BY_CALLBACK
   * when the engine goes. */
  void (*done)(struct lum_transfer *transfer, CURLcode code);
  bool added;
  bool prepares; /* leaves the handle prepared */
};

/* Something else that must go when the engine goes. */
struct lum_httpc_guest {
  struct lum_httpc_guest *prev, *next;
  void (*drop)(struct lum_httpc_guest *guest); /* must call lum_httpc_leave */
};

/* Curl 7.88 keeps all connections to one host in one bundle, and when one of them speaks HTTP/2 it
 * takes those that do not for shareable too. So transfers that differ in this go to different
 * clients. */
enum lum_httpc_kind {
  LUM_HTTPC_SHARED,  /* buffered exchanges: many on one HTTP/2 connection */
  LUM_HTTPC_STREAMS, /* may be paused: each has its connection for itself while it runs */
  LUM_HTTPC_SINGLE,  /* HTTP/1.1 by demand */
  LUM_HTTPC_H2C,     /* HTTP/2 without TLS */
  LUM_HTTPC_LASTING, /* streams that keep nobody waiting: the others can be idle beside them */
  LUM_HTTPC_KINDS
};

/* A client of the engine, made at first use. NULL with err filled on failure. */
struct lum_httpc *lum_httpc_get(struct lum_engine *eng, enum lum_httpc_kind kind,
                                struct lum_err *err);

/* A client that shares nothing with others, for connections that are handed out raw: curl's
 * housekeeping closes idle connections of a shared cache, those included. */
struct lum_httpc *lum_httpc_new(struct lum_engine *eng, struct lum_err *err);
void lum_httpc_free(struct lum_httpc *client);

/* Stops watching a descriptor that curl is done with, so that somebody else can. */
void lum_httpc_let_go(struct lum_httpc *client, int fd);

void lum_httpc_join(struct lum_httpc *client, struct lum_httpc_guest *guest);
void lum_httpc_leave(struct lum_httpc_guest *guest);

/* Takes a slot with the common options set; clean unless `prepared` says otherwise. */
bool lum_transfer_begin(struct lum_transfer *transfer, struct lum_httpc *client,
                        struct lum_err *err);

/* Resets the options of a prepared handle to the common ones. */
void lum_transfer_clean(struct lum_transfer *transfer);

/* Says that curl has moved bytes for it, so that calls in vain can be told from others. */
void lum_transfer_moved(struct lum_transfer *transfer);

/* Hands it to curl; the options are set by then. */
bool lum_transfer_start(struct lum_transfer *transfer, struct lum_err *err);

/* Takes it back from curl, at any state. Idempotent. Never call it inside a callback of curl. */
void lum_transfer_end(struct lum_transfer *transfer);

#endif
