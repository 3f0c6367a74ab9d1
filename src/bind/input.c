/* luarium.native.input: reading the standard input of the program. */
#include "bind.h"
#include "core/input.h"

#define INPUT_CLASS "luarium.input"

struct input_box {
  struct lum_input *input; /* NULL: closed */
};

static int push_bytes(lua_State *L, struct lum_op *op) {
  size_t len;
  const char *bytes = lum_input_bytes(op, &len);
  if (len > 0)
    lua_pushlstring(L, bytes, len);
  else
    lua_pushnil(L);
  return 1;
}

/* input:read([max]) -> op bytes, or nil at the end */
static int input_read(lua_State *L) {
  struct input_box *self = luaL_checkudata(L, 1, INPUT_CLASS);
  luaL_argcheck(L, self->input, 1, "the input was closed");
  lua_Number max = luaL_optnumber(L, 2, 65536);
  luaL_argcheck(L, max >= 1 && max <= 16777216, 2, "expected 1 to 16777216 bytes");
  struct lum_op_box *box = lum_bind_box(L, push_bytes);
  struct lum_err err;
  return lum_bind_op(L, box, lum_input_read_start(self->input, (size_t)max, &err), &err);
}

static int input_close(lua_State *L) {
  struct input_box *self = luaL_checkudata(L, 1, INPUT_CLASS);
  struct lum_input *input = self->input;
  self->input = NULL;
  if (input)
    lum_input_close(input);
  return 0;
}

static int input_mt_tostring(lua_State *L) {
  struct input_box *self = luaL_checkudata(L, 1, INPUT_CLASS);
  lua_pushstring(L, self->input ? "input (open)" : "input (closed)");
  return 1;
}

static const luaL_Reg methods[] = {{"read", input_read}, {NULL, NULL}};
static const luaL_Reg endings[] = {
    {"close", input_close}, {"__gc", input_close}, {"__close", input_close}, {NULL, NULL}};
static const luaL_Reg looks[] = {{"__tostring", input_mt_tostring}, {NULL, NULL}};
static const struct lum_class class = {INPUT_CLASS, methods, endings, looks};

/* input.open(fd) -> input | nil, err */
static int open_input(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  luaL_argcheck(L, fd >= 0 && fd <= 1048576, 1, "expected a descriptor");
  struct lum_engine *eng = lum_bind_engine(L);
  struct input_box *self = lum_bind_object(L, &class, sizeof *self);
  struct lum_err err;
  self->input = lum_input_open(eng, (int)fd, &err);
  return self->input ? 1 : lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {{"open", open_input}, {NULL, NULL}};

int lum_open_input(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
