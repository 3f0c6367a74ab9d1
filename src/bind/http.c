/* luarium.native.http: requests, streams and raw connections. Options are read into views on the
 * caller's strings, which stay on the stack until the engine has copied what it keeps. */
#include "bind.h"
#include "core/http.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#define STREAM_CLASS "luarium.http.stream"
#define RAW_CLASS "luarium.http.raw"
#define READ_DEFAULT (64 * 1024)
#define READ_MAX (16 * 1024 * 1024)
#define NAME_MAX_LOWER 256

/* ---- options ---- */

enum option_type { TEXT, SECONDS, SIZE, FLAG, HEADERS, NAMES, VERSION, BODY };

static const struct option {
  const char *name;
  enum option_type type;
  size_t offset;
} rows[] = {
#define ROW(name, type, field)                                                                     \
  { name, type, offsetof(struct lum_http_opts, field) }
    ROW("url", TEXT, url),
    ROW("timeout", SECONDS, timeout_ms),
    ROW("method", TEXT, method),
    ROW("headers", HEADERS, headers),
    ROW("body", BODY, body),
    ROW("secret_headers", NAMES, secret_headers),
    ROW("idle_timeout", SECONDS, idle_ms),
    ROW("connect_timeout", SECONDS, connect_ms),
    ROW("unix_socket", TEXT, unix_socket),
    ROW("version", VERSION, version),
    ROW("max_body", SIZE, max_body),
    ROW("max_header", SIZE, max_header),
    ROW("follow", SIZE, follow),
    ROW("body_file", TEXT, body_file),
    ROW("body_offset", SIZE, body_offset),
    ROW("body_size", SIZE, body_size),
    ROW("ca_file", TEXT, ca_file),
    ROW("ca_path", TEXT, ca_path),
    ROW("cert", TEXT, cert),
    ROW("key", TEXT, key),
    ROW("key_password", TEXT, key_password),
    ROW("proxy", TEXT, proxy),
    ROW("allow_plain", FLAG, allow_plain),
    ROW("verify", FLAG, verify),
    ROW("decompress", FLAG, decompress),
    ROW("raw_chunks", FLAG, raw_chunks),
    ROW("own_connection", FLAG, own_connection),
#undef ROW
};

static const struct option *find_option(lua_State *L) {
  const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (strcmp(rows[i].name, name) == 0)
      return &rows[i];
  }
  luaL_error(L, "http: unknown option '%s'", name);
  return NULL;
}

static void wrong(lua_State *L, const char *name, const char *expected) {
  luaL_error(L, "option '%s': expected %s, got %s", name, expected, luaL_typename(L, -1));
}

static const char *get_text(lua_State *L, const char *name) {
  if (lua_type(L, -1) != LUA_TSTRING)
    wrong(L, name, "a string");
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  if (strlen(text) != len)
    luaL_error(L, "option '%s': the text contains a NUL byte", name);
  return text;
}

static double get_number(lua_State *L, const char *name) {
  if (lua_type(L, -1) != LUA_TNUMBER)
    wrong(L, name, "a number");
  return lua_tonumber(L, -1);
}

static int64_t get_size(lua_State *L, const char *name) {
  double value = get_number(L, name);
  if (!(value >= 0 && value <= 9007199254740992.0) || value != floor(value))
    luaL_error(L, "option '%s': expected a whole number of at least 0, got %f", name, value);
  return (int64_t)value;
}

static bool get_flag(lua_State *L, const char *name) {
  if (!lua_isboolean(L, -1))
    wrong(L, name, "true or false");
  return lua_toboolean(L, -1);
}

static enum lum_http_version get_version(lua_State *L, const char *name) {
  static const char *const names[] = {"auto", "1.1", "2", "h2c"};
  const char *text = get_text(L, name);
  for (int i = 0; i < 4; i++) {
    if (strcmp(text, names[i]) == 0)
      return (enum lum_http_version)i;
  }
  luaL_error(L, "option 'version': expected \"auto\", \"1.1\", \"2\" or \"h2c\", got \"%s\"", text);
  return LUM_HTTP_AUTO;
}

static void get_body(lua_State *L, struct lum_http_opts *opts) {
  if (lua_isboolean(L, -1) && lua_toboolean(L, -1)) {
    opts->body_kind = LUM_HTTP_PUSHED;
    return;
  }
  if (lua_type(L, -1) != LUA_TSTRING)
    wrong(L, "body", "a string or true");
  opts->body_kind = LUM_HTTP_BYTES;
  opts->body = lua_tolstring(L, -1, &opts->body_len);
}

static size_t count_headers(lua_State *L, int idx) {
  size_t n = lua_rawlen(L, idx);
  if (n > 0)
    return n;
  lua_pushnil(L);
  for (; lua_next(L, idx) != 0; n++)
    lua_pop(L, 1);
  return n;
}

/* The header whose name and value are on top; both belong to the option table. */
static void set_header(lua_State *L, struct lum_http_header *header) {
  if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L,
               "option 'headers': expected {name = \"value\"} or a list of {\"name\", \"value\"}");
  header->name = lua_tolstring(L, -2, &header->name_len);
  header->value = lua_tolstring(L, -1, &header->value_len);
}

static void set_header_list(lua_State *L, int idx, struct lum_http_header *list, size_t n) {
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, idx, (int)(i + 1));
    if (!lua_istable(L, -1))
      luaL_error(L, "option 'headers': item %d: expected {\"name\", \"value\"}, got %s",
                 (int)(i + 1), luaL_typename(L, -1));
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    set_header(L, &list[i]);
    lua_pop(L, 3);
  }
}

/* The views of headers and names need an array each; it is left at place. */
enum { AT_OPTIONS = 1, AT_HEADERS, AT_NAMES };

static void get_headers(lua_State *L, struct lum_http_opts *opts) {
  if (!lua_istable(L, -1))
    wrong(L, "headers", "a table");
  int headers = lua_gettop(L);
  size_t n = count_headers(L, headers), i = 0;
  struct lum_http_header *list = lua_newuserdata(L, (n + 1) * sizeof *list);
  lua_replace(L, AT_HEADERS);
  if (lua_rawlen(L, headers) > 0) {
    set_header_list(L, headers, list, n);
  } else {
    lua_pushnil(L);
    for (; lua_next(L, headers) != 0; i++) {
      set_header(L, &list[i]);
      lua_pop(L, 1);
    }
  }
  opts->headers = list;
  opts->header_count = n;
}

static void get_names(lua_State *L, struct lum_http_opts *opts) {
  size_t count;
  opts->secret_headers = lum_opt_strings(L, AT_OPTIONS, "secret_headers", &count);
  lua_replace(L, AT_NAMES);
}

/* The value of an option is on top. */
static void set_option(lua_State *L, const struct option *option, struct lum_http_opts *opts) {
  void *field = (char *)opts + option->offset;
  const char *name = option->name;
  switch (option->type) {
  case TEXT:
    *(const char **)field = get_text(L, name);
    break;
  case SECONDS:
    *(uint64_t *)field = lum_bind_ms(L, get_number(L, name), name);
    break;
  case SIZE:
    *(int64_t *)field = get_size(L, name);
    break;
  case FLAG:
    *(bool *)field = get_flag(L, name);
    break;
  case VERSION:
    opts->version = get_version(L, name);
    break;
  case BODY:
    get_body(L, opts);
    break;
  case HEADERS:
    get_headers(L, opts);
    break;
  case NAMES:
    get_names(L, opts);
    break;
  }
}

/* Reads the table at 1, the only argument. What holds the views stays on the stack. */
static void read_opts(lua_State *L, struct lum_http_opts *opts, bool stream) {
  luaL_checktype(L, AT_OPTIONS, LUA_TTABLE);
  lua_settop(L, AT_NAMES);
  luaL_checkstack(L, 12, NULL);
  lum_http_opts_init(opts);
  if (stream)
    opts->max_body = 0;
  lua_pushnil(L);
  while (lua_next(L, AT_OPTIONS) != 0) {
    set_option(L, find_option(L), opts);
    lua_pop(L, 1);
  }
  if (!opts->url)
    luaL_error(L, "option 'url' is missing");
  if (opts->body_kind == LUM_HTTP_PUSHED && !stream)
    luaL_error(L, "option 'body': only http.open can have a body that is written later");
  if (opts->body_file && opts->body_kind != LUM_HTTP_NO_BODY)
    luaL_error(L, "expected one of the options 'body' and 'body_file', got both");
  if (opts->body_file)
    opts->body_kind = LUM_HTTP_FILE;
}

/* ---- results ---- */

static void push_name(lua_State *L, const char *name, size_t len) {
  char lower[NAME_MAX_LOWER];
  if (len > sizeof lower)
    len = sizeof lower;
  for (size_t i = 0; i < len; i++)
    lower[i] = (char)tolower((unsigned char)name[i]);
  lua_pushlstring(L, lower, len);
}

/* headers[lower case name] = value; a repeated one is joined. The table is on top. */
static void set_joined(lua_State *L, const struct lum_http_head *head,
                       const struct lum_http_field *field) {
  const char *value = head->text + field->value;
  push_name(L, head->text + field->name, field->name_len);
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushlstring(L, value, field->value_len);
  } else {
    lua_pushliteral(L, ", ");
    lua_pushlstring(L, value, field->value_len);
    lua_concat(L, 3);
  }
  lua_rawset(L, -3);
}

/* Pushes the joined table and the list of pairs for the fields in [from, to). */
static void push_fields(lua_State *L, const struct lum_http_head *head, size_t from, size_t to) {
  lua_createtable(L, 0, (int)(to - from));
  for (size_t i = from; i < to; i++)
    set_joined(L, head, &head->fields[i]);
  lua_createtable(L, (int)(to - from), 0);
  for (size_t i = from; i < to; i++) {
    const struct lum_http_field *field = &head->fields[i];
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, head->text + field->name, field->name_len);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, head->text + field->value, field->value_len);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)(i - from + 1));
  }
}

/* Pushes the table with what the head says. */
static void push_head(lua_State *L, const struct lum_http *http) {
  const struct lum_http_head *head = lum_http_head(http);
  luaL_checkstack(L, 10, NULL);
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, head->status);
  lua_setfield(L, -2, "status");
  lua_pushstring(L, head->version == 20 ? "2" : head->version == 10 ? "1.0" : "1.1");
  lua_setfield(L, -2, "version");
  lua_pushstring(L, lum_http_url(http));
  lua_setfield(L, -2, "url");
  lua_pushboolean(L, lum_http_reused(http));
  lua_setfield(L, -2, "reused");
  push_fields(L, head, 0, head->trailer_from);
  lua_setfield(L, -3, "headers_list");
  lua_setfield(L, -2, "headers");
}

static void set_seconds(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static int push_response(lua_State *L, struct lum_op *op) {
  struct lum_http *http = lum_http_of(op);
  push_head(L, http);
  size_t len;
  const char *body = lum_http_body(http, &len);
  lua_pushlstring(L, body, len);
  lua_setfield(L, -2, "body");
  const struct lum_http_timing *timing = lum_http_timing(http);
  lua_createtable(L, 0, 5);
  set_seconds(L, "dns", timing->dns);
  set_seconds(L, "connect", timing->connect);
  set_seconds(L, "tls", timing->tls);
  set_seconds(L, "first_byte", timing->first_byte);
  set_seconds(L, "total", timing->total);
  lua_setfield(L, -2, "timing");
  lum_http_drop_body(http); /* the collector does not see how large it is */
  return 1;
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

static int push_stream_head(lua_State *L, struct lum_op *op) {
  push_head(L, lum_http_of(op));
  return 1;
}

/* ---- module functions ---- */

/* Ends a function that has put op, or NULL with err, where the box is on top. */
static int started(lua_State *L, struct lum_op_box *box, struct lum_op *op,
                   const struct lum_err *err) {
  return op ? lum_bind_started(L, box, op) : lum_bind_fail(L, err);
}

static int http_request(lua_State *L) {
  struct lum_http_opts opts;
  read_opts(L, &opts, false);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_response);
  struct lum_err err;
  return started(L, box, lum_http_request(eng, &opts, &err), &err);
}

struct stream_box {
  struct lum_http *http; /* NULL: not started, or closed and given back */
};

static int http_open(lua_State *L) {
  struct lum_http_opts opts;
  read_opts(L, &opts, true);
  struct lum_engine *eng = lum_bind_engine(L);
  struct stream_box *box = lua_newuserdata(L, sizeof *box);
  box->http = NULL;
  luaL_setmetatable(L, STREAM_CLASS);
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

static int stream_response(lua_State *L) {
  struct lum_http *http = check_stream(L, 1);
  struct lum_op_box *box = lum_bind_box(L, push_stream_head);
  struct lum_err err;
  return started(L, box, lum_http_response(http, &err), &err);
}

static int stream_read(lua_State *L) {
  struct lum_http *http = check_stream(L, 1);
  size_t max = check_max(L, 2);
  struct lum_op_box *box = lum_bind_box(L, push_read);
  struct lum_err err;
  return started(L, box, lum_http_read(http, max, &err), &err);
}

static int stream_write(lua_State *L) {
  struct lum_http *http = check_stream(L, 1);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return started(L, box, lum_http_write(http, data, len, &err), &err);
}

static int stream_finish_write(lua_State *L) {
  struct lum_err err;
  if (!lum_http_finish_write(check_stream(L, 1), &err))
    return lum_bind_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int stream_trailers(lua_State *L) {
  const struct lum_http_head *head = lum_http_head(check_stream(L, 1));
  push_fields(L, head, head->trailer_from, head->count);
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
  struct raw_box *box = lua_newuserdata(L, sizeof *box);
  box->raw = NULL;
  luaL_setmetatable(L, RAW_CLASS);
  box->raw = lum_raw_of(op);
  return 1;
}

static int http_connect(lua_State *L) {
  struct lum_http_opts opts;
  read_opts(L, &opts, false);
  opts.method = "CONNECT";
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_raw);
  struct lum_err err;
  return started(L, box, lum_raw_connect(eng, &opts, &err), &err);
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
  return started(L, box, lum_raw_read(raw, max, &err), &err);
}

static int raw_write(lua_State *L) {
  struct lum_raw *raw = check_raw(L, 1);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return started(L, box, lum_raw_write(raw, data, len, &err), &err);
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
    {"response", stream_response},
    {"read", stream_read},
    {"write", stream_write},
    {"finish_write", stream_finish_write},
    {"trailers", stream_trailers},
    {"close", stream_close},
    {NULL, NULL},
};

static const luaL_Reg stream_meta[] = {
    {"__gc", stream_close},
    {"__close", stream_close},
    {"__tostring", stream_mt_tostring},
    {NULL, NULL},
};

static const luaL_Reg raw_methods[] = {
    {"read", raw_read},   {"write", raw_write}, {"finish_write", raw_finish_write},
    {"close", raw_close}, {NULL, NULL},
};

static const luaL_Reg raw_meta[] = {
    {"__gc", raw_close},
    {"__close", raw_close},
    {"__tostring", raw_mt_tostring},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"request", http_request},       {"open", http_open}, {"connect", http_connect},
    {"close_idle", http_close_idle}, {NULL, NULL},
};

int lum_open_http(lua_State *L) {
  lum_bind_class(L, STREAM_CLASS, stream_methods, stream_meta);
  lum_bind_class(L, RAW_CLASS, raw_methods, raw_meta);
  luaL_newlib(L, functions);
  return 1;
}
