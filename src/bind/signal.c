/* luarium.native.signal: signals of the process, for the command line. */
#include "bind.h"
#include "core/signal.h"

/* Results: the name, and the operation that waits for the next one. */
static int push_signal(lua_State *L, struct lum_op *op) {
  lua_pushstring(L, lum_signals_name(lum_signals_number(op)));
  lum_bind_engine(L)->interrupted = 0;
  struct lum_op_box *box = lum_bind_box(L, push_signal);
  box->op = lum_signals_next(op);
  if (box->op)
    return 2;
  lua_pop(L, 1);
  return 1;
}

/* signal.wait(name, ...) -> op */
static int signal_wait(lua_State *L) {
  int signums[LUM_SIGNALS_MAX];
  int count = lua_gettop(L);
  luaL_argcheck(L, count >= 1 && count <= LUM_SIGNALS_MAX, 1, "expected one to eight signal names");
  for (int i = 1; i <= count; i++) {
    signums[i - 1] = lum_signals_by_name(lum_bind_check_cstr(L, i));
    luaL_argcheck(L, signums[i - 1] != 0, i, "expected INT, TERM, HUP, WINCH, CONT or USR1");
  }
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_signal);
  struct lum_err err;
  box->op = lum_signals_start(eng, signums, (size_t)count, &err);
  return box->op ? 1 : lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {{"wait", signal_wait}, {NULL, NULL}};

int lum_open_signal(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
