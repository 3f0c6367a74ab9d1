/* luarium.native.line: editing lines on a terminal. */
#include "bind.h"
#include "core/line.h"

#define LINE_CLASS "luarium.line"

struct line_box {
  struct lum_line *line; /* NULL: closed */
};

static struct lum_line *check_line(lua_State *L) {
  struct line_box *self = luaL_checkudata(L, 1, LINE_CLASS);
  luaL_argcheck(L, self->line, 1, "the line editor was closed");
  return self->line;
}

/* Results: event, text, cursor */
static int push_news(lua_State *L, struct lum_op *op) {
  static const char *const names[] = {
      [LUM_LINE_TEXT] = "line",
      [LUM_LINE_END] = "end",
      [LUM_LINE_DROPPED] = "dropped",
      [LUM_LINE_COMPLETE] = "complete",
  };
  const char *text;
  size_t len, cursor;
  lua_pushstring(L, names[lum_line_result(op, &text, &len, &cursor)]);
  lua_pushlstring(L, text, len);
  lua_pushinteger(L, (lua_Integer)cursor);
  return 3;
}

/* line:read(prompt) -> op */
static int line_read(lua_State *L) {
  struct lum_line *line = check_line(L);
  const char *prompt = lum_bind_check_cstr(L, 2);
  lum_bind_engine(L); /* raises when the state is being closed */
  struct lum_op_box *box = lum_bind_box(L, push_news);
  struct lum_err err;
  return lum_bind_op(L, box, lum_line_read_start(line, prompt, &err), &err);
}

/* line:answer(insert, list) -> op */
static int line_answer(lua_State *L) {
  struct lum_line *line = check_line(L);
  const char *insert = lum_bind_check_cstr(L, 2), *list = lum_bind_check_cstr(L, 3);
  lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_news);
  struct lum_err err;
  return lum_bind_op(L, box, lum_line_answer_start(line, insert, list, &err), &err);
}

static int line_remember(lua_State *L) {
  struct lum_line *line = check_line(L);
  struct lum_err err;
  if (!lum_line_remember(line, lum_bind_check_cstr(L, 2), &err))
    return lum_bind_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int line_hide(lua_State *L) {
  lum_line_hide(check_line(L));
  return 0;
}

static int line_show(lua_State *L) {
  lum_line_show(check_line(L));
  return 0;
}

static int line_redraw(lua_State *L) {
  lum_line_redraw(check_line(L));
  return 0;
}

static int line_drop(lua_State *L) {
  lum_line_drop(check_line(L));
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
    {"read", line_read}, {"answer", line_answer}, {"remember", line_remember}, {"hide", line_hide},
    {"show", line_show}, {"redraw", line_redraw}, {"drop", line_drop},         {NULL, NULL},
};
static const luaL_Reg endings[] = {
    {"close", line_close}, {"__gc", line_close}, {"__close", line_close}, {NULL, NULL}};
static const struct lum_class class = {LINE_CLASS, methods, endings, NULL};

static int check_fd(lua_State *L, int arg) {
  lua_Integer fd = luaL_checkinteger(L, arg);
  luaL_argcheck(L, fd >= 0 && fd <= 1048576, arg, "expected a descriptor");
  return (int)fd;
}

/* line.open(in, out, history) -> line | nil, err */
static int open_line(lua_State *L) {
  int in = check_fd(L, 1), out = check_fd(L, 2);
  lua_Integer history = luaL_checkinteger(L, 3);
  luaL_argcheck(L, history >= 1 && history <= 100000, 3, "expected 1 to 100000 entries");
  struct lum_engine *eng = lum_bind_engine(L);
  struct line_box *self = lum_bind_object(L, &class, sizeof *self);
  struct lum_err err;
  self->line = lum_line_open(eng, in, out, (int)history, &err);
  return self->line ? 1 : lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {{"open", open_line}, {NULL, NULL}};

int lum_open_line(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
