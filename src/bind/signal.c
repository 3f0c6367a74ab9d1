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

static int check_signal(lua_State *L, int arg) {
  int signum = lum_signals_by_name(lum_bind_check_cstr(L, arg));
  luaL_argcheck(L, signum != 0, arg, "expected INT, TERM, HUP, WINCH, CONT or USR1");
  return signum;
}

/* signal.wait(name, ...) -> op */
static int signal_wait(lua_State *L) {
  int signums[LUM_SIGNALS_MAX];
  int count = lua_gettop(L);
  luaL_argcheck(L, count >= 1 && count <= LUM_SIGNALS_MAX, 1, "expected one to eight signal names");
  for (int i = 1; i <= count; i++)
    signums[i - 1] = check_signal(L, i);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_signal);
  struct lum_err err;
  return lum_bind_op(L, box, lum_signals_start(eng, signums, (size_t)count, &err), &err);
}

static int signal_ignored(lua_State *L) {
  lua_pushboolean(L, lum_signal_ignored(check_signal(L, 1)));
  return 1;
}

static const luaL_Reg functions[] = {
    {"wait", signal_wait}, {"ignored", signal_ignored}, {NULL, NULL}};

int lum_open_signal(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
