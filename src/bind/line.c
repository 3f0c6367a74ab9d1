/* luarium.native.line: lines typed on a terminal, with editing, history and completion. */
#include "bind.h"
#include "core/line.h"

#define LINE_CLASS "luarium.line"

struct line_box {
  struct lum_line *line; /* NULL: closed */
};

static struct lum_line *check_line(lua_State *L) {
  struct line_box *self = luaL_checkudata(L, 1, LINE_CLASS);
  luaL_argcheck(L, self->line, 1, "the editor was closed");
  return self->line;
}

static int push_event(lua_State *L, struct lum_op *op) {
  static const char *const names[] = {
      [LUM_LINE_TYPED] = "typed",         [LUM_LINE_END] = "end",
      [LUM_LINE_INTERRUPT] = "interrupt", [LUM_LINE_COMPLETE] = "complete",
      [LUM_LINE_TOO_LONG] = "too long",
  };
  const char *text;
  size_t len;
  lua_pushstring(L, names[lum_line_result(op, &text, &len)]);
  lua_pushlstring(L, text, len);
  return 2;
}

/* line:read(prompt) -> op event, text */
static int line_read(lua_State *L) {
  struct lum_line *line = check_line(L);
  const char *prompt = lum_bind_check_cstr(L, 2);
  struct lum_op_box *box = lum_bind_box(L, push_event);
  struct lum_err err;
  box->op = lum_line_read_start(line, prompt, &err);
  return box->op ? 1 : lum_bind_fail(L, &err);
}

/* line:answer(insert, listing) */
static int line_answer(lua_State *L) {
  struct lum_line *line = check_line(L);
  const char *insert = lum_bind_check_cstr(L, 2);
  lum_line_answer(line, insert, lum_bind_check_cstr(L, 3));
  return 0;
}

/* line:print(text) -> whether it was written */
static int line_print(lua_State *L) {
  struct lum_line *line = check_line(L);
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  lua_pushboolean(L, lum_line_print(line, text, len));
  return 1;
}

/* line:remember(text) */
static int line_remember(lua_State *L) {
  struct lum_line *line = check_line(L);
  lua_pushboolean(L, lum_line_remember(line, lum_bind_check_cstr(L, 2)));
  return 1;
}

static int line_resized(lua_State *L) {
  lum_line_resized(check_line(L));
  return 0;
}

static int line_close(lua_State *L) {
  struct line_box *self = luaL_checkudata(L, 1, LINE_CLASS);
  struct lum_line *line = self->line;
  self->line = NULL;
  if (line)
    lum_line_close(line);
  return 0;
}

static const luaL_Reg methods[] = {
    {"read", line_read},
    {"answer", line_answer},
    {"print", line_print},
    {"remember", line_remember},
    {"resized", line_resized},
    {"close", line_close},
    {NULL, NULL},
};
static const luaL_Reg meta[] = {{"__gc", line_close}, {"__close", line_close}, {NULL, NULL}};

/* line.open(input, output) -> line | nil, err */
static int open_line(lua_State *L) {
  lua_Integer in = luaL_checkinteger(L, 1), out = luaL_checkinteger(L, 2);
  luaL_argcheck(L, in >= 0 && in <= 1048576, 1, "expected a descriptor");
  luaL_argcheck(L, out >= 0 && out <= 1048576, 2, "expected a descriptor");
  struct lum_engine *eng = lum_bind_engine(L);
  struct line_box *self = lua_newuserdata(L, sizeof *self);
  self->line = NULL;
  lum_bind_class(L, LINE_CLASS, methods, meta);
  luaL_setmetatable(L, LINE_CLASS);
  struct lum_err err;
  self->line = lum_line_open(eng, (int)in, (int)out, &err);
  return self->line ? 1 : lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {{"open", open_line}, {NULL, NULL}};

int lum_open_line(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
