/* luarium.native.output: writing to the standard output of the program. */
#include "bind.h"
#include "core/output.h"

#define OUTPUT_CLASS "luarium.output"

struct output_box {
  struct lum_output *output; /* NULL: closed */
};

static struct lum_output *check_output(lua_State *L) {
  struct output_box *self = luaL_checkudata(L, 1, OUTPUT_CLASS);
  luaL_argcheck(L, self->output, 1, "the output was closed");
  return self->output;
}

/* output:offer(bytes) -> how many were taken | nil, err */
static int output_offer(lua_State *L) {
  struct lum_output *output = check_output(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  struct lum_err err;
  ssize_t n = lum_output_offer(output, bytes, len, &err);
  if (n < 0)
    return lum_bind_fail(L, &err);
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* output:write(bytes) -> op */
static int output_write(lua_State *L) {
  struct lum_output *output = check_output(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_output_write_start(output, bytes, len, &err), &err);
}

static int output_close(lua_State *L) {
  struct output_box *self = luaL_checkudata(L, 1, OUTPUT_CLASS);
  struct lum_output *output = self->output;
  self->output = NULL;
  if (output)
    lum_output_close(output);
  return 0;
}

static int output_mt_tostring(lua_State *L) {
  struct output_box *self = luaL_checkudata(L, 1, OUTPUT_CLASS);
  lua_pushstring(L, self->output ? "output (open)" : "output (closed)");
  return 1;
}

static const luaL_Reg methods[] = {{"offer", output_offer}, {"write", output_write}, {NULL, NULL}};
static const luaL_Reg endings[] = {
    {"close", output_close}, {"__gc", output_close}, {"__close", output_close}, {NULL, NULL}};
static const luaL_Reg looks[] = {{"__tostring", output_mt_tostring}, {NULL, NULL}};
static const struct lum_class class = {OUTPUT_CLASS, methods, endings, looks};

/* output.open(fd) -> output | nil, err */
static int open_output(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  luaL_argcheck(L, fd >= 0 && fd <= 1048576, 1, "expected a descriptor");
  struct lum_engine *eng = lum_bind_engine(L);
  struct output_box *self = lum_bind_object(L, &class, sizeof *self);
  struct lum_err err;
  self->output = lum_output_open(eng, (int)fd, &err);
  return self->output ? 1 : lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {{"open", open_output}, {NULL, NULL}};

int lum_open_output(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
