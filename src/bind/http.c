/* luarium.native.http: requests, streams and raw connections. */
#include "http_bind.h"

#include <math.h>

#define STREAM_CLASS "luarium.http.stream"
#define RAW_CLASS "luarium.http.raw"
#define READ_DEFAULT (64 * 1024)
#define READ_MAX (16 * 1024 * 1024)

static const struct lum_class stream_class, raw_class;

/* ---- module functions ---- */

static int http_request(lua_State *L) {
  struct lum_http_opts opts;
  lum_http_read_opts(L, &opts, LUM_HTTP_REQUEST);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, lum_http_push_response);
  struct lum_err err;
  return lum_bind_op(L, box, lum_http_request(eng, &opts, &err), &err);
}

struct stream_box {
  struct lum_http *http; /* NULL: not started, or closed and given back */
};

static int http_open(lua_State *L) {
  struct lum_http_opts opts;
  lum_http_read_opts(L, &opts, LUM_HTTP_OPEN);
  struct lum_engine *eng = lum_bind_engine(L);
  struct stream_box *box = lum_bind_object(L, &stream_class, sizeof *box);
  struct lum_err err;
  box->http = lum_http_open(eng, &opts, &err);
  return box->http ? 1 : lum_bind_fail(L, &err);
}

static int http_close_idle(lua_State *L) {
  lum_httpc_close_idle(lum_bind_engine(L));
  return 0;
}

/* ---- streams ---- */

static struct lum_http *check_stream(lua_State *L, int arg) {
  struct stream_box *box = luaL_checkudata(L, arg, STREAM_CLASS);
  luaL_argcheck(L, box->http && !lum_http_closed(box->http), arg, "the stream is closed");
  lum_bind_engine(L); /* raises while the state goes down */
  return box->http;
}

static size_t check_max(lua_State *L, int arg) {
  lua_Number max = luaL_optnumber(L, arg, READ_DEFAULT);
  luaL_argcheck(L, max >= 1 && max <= READ_MAX && max == floor(max), arg,
                "expected a whole number of bytes from 1 to 16777216");
  return (size_t)max;
}

static int push_read(lua_State *L, struct lum_op *op) {
  const char *data;
  size_t len;
  if (!lum_http_take(op, &data, &len)) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushlstring(L, data, len);
  lum_http_drop_taken(op);
  return 1;
}

static int stream_response(lua_State *L) {
  struct lum_http *http = check_stream(L, 1);
  struct lum_op_box *box = lum_bind_box(L, lum_http_push_stream_head);
  struct lum_err err;
  return lum_bind_op(L, box, lum_http_response(http, &err), &err);
}

static int stream_read(lua_State *L) {
  struct lum_http *http = check_stream(L, 1);
  size_t max = check_max(L, 2);
  struct lum_op_box *box = lum_bind_box(L, push_read);
  struct lum_err err;
  return lum_bind_op(L, box, lum_http_read(http, max, &err), &err);
}

static int stream_write(lua_State *L) {
  struct lum_http *http = check_stream(L, 1);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_http_write(http, data, len, &err), &err);
}

static int stream_finish_write(lua_State *L) {
  struct lum_err err;
  if (!lum_http_finish_write(check_stream(L, 1), &err))
    return lum_bind_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int stream_trailers(lua_State *L) {
  lum_http_push_trailers(L, check_stream(L, 1));
  return 2;
}

static int stream_close(lua_State *L) {
  struct stream_box *box = luaL_checkudata(L, 1, STREAM_CLASS);
  struct lum_http *http = box->http;
  box->http = NULL;
  if (http) {
    lum_http_close(http);
    lum_http_unref(http);
  }
  return 0;
}

static int stream_mt_tostring(lua_State *L) {
  struct stream_box *box = luaL_checkudata(L, 1, STREAM_CLASS);
  lua_pushfstring(L, "http stream (%s)", box->http ? "open" : "closed");
  return 1;
}

/* ---- raw connections ---- */

struct raw_box {
  struct lum_raw *raw;
};

static int push_raw(lua_State *L, struct lum_op *op) {
  struct raw_box *box = lum_bind_object(L, &raw_class, sizeof *box);
  box->raw = lum_raw_of(op);
  return 1;
}

static int http_connect(lua_State *L) {
  struct lum_http_opts opts;
  lum_http_read_opts(L, &opts, LUM_HTTP_CONNECT);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_raw);
  struct lum_err err;
  return lum_bind_op(L, box, lum_raw_connect(eng, &opts, &err), &err);
}

static struct lum_raw *check_raw(lua_State *L, int arg) {
  struct raw_box *box = luaL_checkudata(L, arg, RAW_CLASS);
  luaL_argcheck(L, box->raw && !lum_raw_closed(box->raw), arg, "the connection is closed");
  lum_bind_engine(L);
  return box->raw;
}

static int push_raw_read(lua_State *L, struct lum_op *op) {
  const char *data;
  size_t len;
  if (!lum_raw_taken(op, &data, &len)) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushlstring(L, data, len);
  lum_raw_drop_taken(op);
  return 1;
}

static int raw_read(lua_State *L) {
  struct lum_raw *raw = check_raw(L, 1);
  size_t max = check_max(L, 2);
  struct lum_op_box *box = lum_bind_box(L, push_raw_read);
  struct lum_err err;
  return lum_bind_op(L, box, lum_raw_read(raw, max, &err), &err);
}

static int raw_write(lua_State *L) {
  struct lum_raw *raw = check_raw(L, 1);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_raw_write(raw, data, len, &err), &err);
}

static int raw_finish_write(lua_State *L) {
  struct lum_err err;
  if (!lum_raw_finish_write(check_raw(L, 1), &err))
    return lum_bind_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int raw_close(lua_State *L) {
  struct raw_box *box = luaL_checkudata(L, 1, RAW_CLASS);
  struct lum_raw *raw = box->raw;
  box->raw = NULL;
  if (raw) {
    lum_raw_close(raw);
    lum_raw_unref(raw);
  }
  return 0;
}

static int raw_mt_tostring(lua_State *L) {
  struct raw_box *box = luaL_checkudata(L, 1, RAW_CLASS);
  lua_pushfstring(L, "http connection (%s)", box->raw ? "open" : "closed");
  return 1;
}

/* ---- tables ---- */

static const luaL_Reg stream_methods[] = {
    {"response", stream_response},         {"read", stream_read},         {"write", stream_write},
    {"finish_write", stream_finish_write}, {"trailers", stream_trailers}, {NULL, NULL},
};

static const luaL_Reg stream_endings[] = {
    {"close", stream_close}, {"__gc", stream_close}, {"__close", stream_close}, {NULL, NULL}};

static const luaL_Reg stream_looks[] = {{"__tostring", stream_mt_tostring}, {NULL, NULL}};
static const struct lum_class stream_class = {STREAM_CLASS, stream_methods, stream_endings,
                                              stream_looks};

static const luaL_Reg raw_methods[] = {
    {"read", raw_read},
    {"write", raw_write},
    {"finish_write", raw_finish_write},
    {NULL, NULL},
};

static const luaL_Reg raw_endings[] = {
    {"close", raw_close}, {"__gc", raw_close}, {"__close", raw_close}, {NULL, NULL}};

static const luaL_Reg raw_looks[] = {{"__tostring", raw_mt_tostring}, {NULL, NULL}};
static const struct lum_class raw_class = {RAW_CLASS, raw_methods, raw_endings, raw_looks};

static const luaL_Reg functions[] = {
    {"request", http_request},       {"open", http_open},
    {"connect", http_connect},       {"field", lum_http_field},
    {"close_idle", http_close_idle}, {NULL, NULL},
};

int lum_open_http(lua_State *L) {
  lum_http_result_class(L);
  luaL_newlib(L, functions);
  return 1;
}
