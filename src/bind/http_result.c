/* Results of the HTTP binding. A response is a table with its status and body; the rest (headers,
 * times ...) is kept as bytes in a userdata and made into Lua values when somebody asks: most
 * callers look at little of it. */
#include "http_bind.h"

#include <string.h>

#define RESULT_CLASS "luarium.http.result"
#define LOWER_MAX 256

/* Followed by the fields, the text they point into, and the url. No pointers: the collector just
 * frees it. */
struct info {
  struct lum_http_timing timing;
  int version;
  bool reused;
  uint32_t count, text_len, url_len;
};

static size_t fields_size(const struct info *info) {
  return info->count * sizeof(struct lum_http_field);
}

static const struct lum_http_field *fields_of(const struct info *info) {
  return (const struct lum_http_field *)(info + 1);
}

static const char *text_of(const struct info *info) {
  return (const char *)(info + 1) + fields_size(info);
}

static void push_info(lua_State *L, const struct lum_http *http) {
  const struct lum_http_head *head = lum_http_head(http);
  const char *url = lum_http_url(http);
  struct info plan = {
      .timing = *lum_http_timing(http),
      .version = head->version,
      .reused = lum_http_reused(http),
      .count = (uint32_t)head->trailer_from,
      .text_len = (uint32_t)head->text_len,
      .url_len = (uint32_t)strlen(url),
  };
  size_t fields = fields_size(&plan);
  struct info *info = lua_newuserdata(L, sizeof *info + fields + plan.text_len + plan.url_len);
  *info = plan;
  char *at = (char *)(info + 1);
  if (fields > 0) {
    memcpy(at, head->fields, fields);
    memcpy(at + fields, head->text, plan.text_len);
  }
  memcpy(at + fields + plan.text_len, url, plan.url_len);
}

/* ---- parts ---- */

/* Not with tolower: in a Turkish locale I has another small letter. */
static void push_lower(lua_State *L, const char *name, size_t len) {
  char lower[LOWER_MAX];
  if (len > sizeof lower)
    len = sizeof lower;
  for (size_t i = 0; i < len; i++)
    lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
  lua_pushlstring(L, lower, len);
}

/* table[lower case name] = value; a repeated one is joined. The table is on top. */
static void set_joined(lua_State *L, const char *text, const struct lum_http_field *field) {
  push_lower(L, text + field->name, field->name_len);
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushlstring(L, text + field->value, field->value_len);
  } else {
    lua_pushliteral(L, ", ");
    lua_pushlstring(L, text + field->value, field->value_len);
    lua_concat(L, 3);
  }
  lua_rawset(L, -3);
}

static void push_joined(lua_State *L, const char *text, const struct lum_http_field *fields,
                        size_t count) {
  lua_createtable(L, 0, (int)count);
  for (size_t i = 0; i < count; i++)
    set_joined(L, text, &fields[i]);
}

static void push_list(lua_State *L, const char *text, const struct lum_http_field *fields,
                      size_t count) {
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 2, 0);
    lua_pushlstring(L, text + fields[i].name, fields[i].name_len);
    lua_rawseti(L, -2, 1);
    lua_pushlstring(L, text + fields[i].value, fields[i].value_len);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)(i + 1));
  }
}

static void push_headers(lua_State *L, const struct info *info) {
  push_joined(L, text_of(info), fields_of(info), info->count);
}

static void push_headers_list(lua_State *L, const struct info *info) {
  push_list(L, text_of(info), fields_of(info), info->count);
}

static void push_version(lua_State *L, const struct info *info) {
  lua_pushstring(L, info->version == 20 ? "2" : info->version == 10 ? "1.0" : "1.1");
}

static void push_url(lua_State *L, const struct info *info) {
  lua_pushlstring(L, text_of(info) + info->text_len, info->url_len);
}

static void push_reused(lua_State *L, const struct info *info) {
  lua_pushboolean(L, info->reused);
}

static void push_timing(lua_State *L, const struct info *info) {
  const struct lum_http_timing *timing = &info->timing;
  const struct {
    const char *name;
    double value;
  } times[] = {
      {"dns", timing->dns},     {"connect", timing->connect},
      {"tls", timing->tls},     {"first_byte", timing->first_byte},
      {"total", timing->total},
  };
  lua_createtable(L, 0, 5);
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
    lua_pushnumber(L, times[i].value);
    lua_setfield(L, -2, times[i].name);
  }
}

static const struct {
  const char *name;
  void (*push)(lua_State *L, const struct info *info);
} parts[] = {
    {"headers", push_headers}, {"headers_list", push_headers_list},
    {"version", push_version}, {"url", push_url},
    {"reused", push_reused},   {"timing", push_timing},
};

/* Also the __index of results: makes the part and keeps it in the table. */
int lum_http_field(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  lua_settop(L, 2);
  lua_pushliteral(L, "info");
  lua_rawget(L, 1);
  const struct info *info = lua_touserdata(L, 3);
  for (size_t i = 0; info && i < sizeof parts / sizeof *parts; i++) {
    if (strcmp(parts[i].name, name) == 0) {
      parts[i].push(L, info);
      lua_pushvalue(L, 2);
      lua_pushvalue(L, -2);
      lua_rawset(L, 1);
      return 1;
    }
  }
  lua_pushnil(L);
  return 1;
}

/* ---- results ---- */

/* Not protected: the Lua face gives results methods by a metatable of its own. */
void lum_http_result_class(lua_State *L) {
  luaL_newmetatable(L, RESULT_CLASS);
  lua_pushcfunction(L, lum_http_field);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int lum_http_push_stream_head(lua_State *L, struct lum_op *op) {
  const struct lum_http *http = lum_http_of(op);
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, lum_http_head(http)->status);
  lua_setfield(L, -2, "status");
  push_info(L, http);
  lua_setfield(L, -2, "info");
  luaL_setmetatable(L, RESULT_CLASS);
  return 1;
}

int lum_http_push_response(lua_State *L, struct lum_op *op) {
  lum_http_push_stream_head(L, op);
  struct lum_http *http = lum_http_of(op);
  size_t len;
  const char *body = lum_http_body(http, &len);
  lua_pushlstring(L, body, len);
  lua_setfield(L, -2, "body");
  lum_http_drop_body(http); /* the collector does not see how large it is */
  return 1;
}

void lum_http_push_trailers(lua_State *L, const struct lum_http *http) {
  const struct lum_http_head *head = lum_http_head(http);
  size_t count = head->count - head->trailer_from;
  const struct lum_http_field *fields = count > 0 ? head->fields + head->trailer_from : NULL;
  push_joined(L, head->text, fields, count);
  push_list(L, head->text, fields, count);
}
