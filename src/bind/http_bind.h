/* Shared by the parts of the HTTP binding. */
#ifndef LUM_HTTP_BIND_H
#define LUM_HTTP_BIND_H

#include "bind.h"
#include "core/http.h"

/* What a call is for: it decides about defaults and about a body that is written later. */
enum lum_http_call { LUM_HTTP_REQUEST, LUM_HTTP_OPEN, LUM_HTTP_CONNECT };

/* Reads the option table at 1 and an optional default for `timeout` at 2. What holds the views
 * stays on the stack.
 * [-0, +n, e] */
void lum_http_read_opts(lua_State *L, struct lum_http_opts *opts, enum lum_http_call call);

/* Makes the class of results. [-0, +0, e] */
void lum_http_result_class(lua_State *L);

/* Push functions of operations: a buffered response, the head of a stream. */
int lum_http_push_response(lua_State *L, struct lum_op *op);
int lum_http_push_stream_head(lua_State *L, struct lum_op *op);

/* Pushes the joined table and the list of the trailers. [-0, +2, e] */
void lum_http_push_trailers(lua_State *L, const struct lum_http *http);

/* http.field(result, name): a part of a result that is made when it is asked for. */
int lum_http_field(lua_State *L);

#endif
