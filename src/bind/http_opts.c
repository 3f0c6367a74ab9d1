/* Options of the HTTP binding, read into views on the caller's strings, which stay on the stack
 * until the engine has copied what it keeps. */
#include "http_bind.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

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
    ROW("background", FLAG, background),
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

static void check_body(lua_State *L, struct lum_http_opts *opts, enum lum_http_call call) {
  if (opts->body_kind == LUM_HTTP_PUSHED && call != LUM_HTTP_OPEN)
    luaL_error(L, "option 'body': only http.open can have a body that is written later");
  if (opts->body_file && opts->body_kind != LUM_HTTP_NO_BODY)
    luaL_error(L, "expected one of the options 'body' and 'body_file', got both");
  if (opts->body_file)
    opts->body_kind = LUM_HTTP_FILE;
}

void lum_http_read_opts(lua_State *L, struct lum_http_opts *opts, enum lum_http_call call) {
  luaL_checktype(L, AT_OPTIONS, LUA_TTABLE);
  uint64_t default_ms =
      lua_isnoneornil(L, 2) ? 0 : lum_bind_ms(L, luaL_checknumber(L, 2), "timeout");
  lua_settop(L, AT_NAMES);
  luaL_checkstack(L, 12, NULL);
  lum_http_opts_init(opts);
  opts->timeout_ms = default_ms;
  if (call == LUM_HTTP_OPEN)
    opts->max_body = 0;
  lua_pushnil(L);
  while (lua_next(L, AT_OPTIONS) != 0) {
    set_option(L, find_option(L), opts);
    lua_pop(L, 1);
  }
  if (!opts->url)
    luaL_error(L, "option 'url' is missing");
  check_body(L, opts, call);
  if (!opts->method)
    opts->method = opts->body_kind == LUM_HTTP_NO_BODY ? "GET" : "POST";
  if (call == LUM_HTTP_CONNECT)
    opts->method = "CONNECT";
}
