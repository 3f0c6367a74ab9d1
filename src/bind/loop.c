/* luarium.native.loop: the clock, the poll that the scheduler sleeps in, and the guard against
 * scripts that compute for ever without waiting. */
#include "bind.h"
#include "core/signal.h"
#include "core/timer.h"

#include <stdio.h>
#include <string.h>

/* loop.poll(timeout_ms, out) -> n, state. Fills out[1..n] with the ids of completed operations, at
 * most as many as out has items; an empty one grows. Once an operation has been taken from the
 * engine nothing may fail, or nobody would ever learn of it: the slots and the texts are there
 * before. */
static int loop_poll(lua_State *L) {
  struct lum_engine *eng = lum_bind_engine(L);
  double timeout = luaL_checknumber(L, 1);
  luaL_argcheck(L, timeout < 1e15, 1, "expected milliseconds"); /* nor what is no number */
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  static const char *const states[] = {"done", "timeout", "woken", "idle"};
  for (size_t i = 0; i < sizeof states / sizeof *states; i++)
    lua_pushstring(L, states[i]);
  int room = (int)lua_rawlen(L, 2), n = 0;
  enum lum_poll state = lum_engine_poll(eng, timeout < 0 ? -1 : (int64_t)timeout);
  for (struct lum_op *op; (room == 0 || n < room) && (op = lum_engine_take(eng));) {
    lua_pushnumber(L, (lua_Number)op->id);
    lua_rawseti(L, 2, ++n);
    lum_op_unref(op);
  }
  lua_pushinteger(L, n);
  lua_pushvalue(L, 3 + (int)state);
  return 2;
}

/* loop.check_process(): raises in a fork of the process that the engine belongs to. */
static int loop_check_process(lua_State *L) {
  lum_bind_check_process(L);
  return 0;
}

/* loop.fd() -> the descriptor that is readable when a poll would find something. */
static int loop_fd(lua_State *L) {
  lua_pushinteger(L, lum_engine_fd(lum_bind_engine(L)));
  return 1;
}

/* loop.next() -> seconds until the next poll is due although the descriptor is silent; nil: never.
 */
static int loop_next(lua_State *L) {
  int ms = lum_engine_next(lum_bind_engine(L));
  if (ms < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, ms / 1000.0);
  return 1;
}

static int loop_monotonic(lua_State *L) {
  lua_pushnumber(L, lum_monotonic());
  return 1;
}

static int loop_realtime(lua_State *L) {
  lua_pushnumber(L, lum_realtime());
  return 1;
}

/* loop.sleep(seconds [, background]) -> op */
static int loop_sleep(lua_State *L) {
  uint64_t ms = lum_bind_ms(L, luaL_checknumber(L, 1), "sleep");
  bool background = lua_toboolean(L, 2);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  return lum_bind_started(L, box, lum_sleep_start(eng, ms, background));
}

/* loop.counts() -> operations in flight, operations alive, libuv handles. */
static int loop_counts(lua_State *L) {
  struct lum_engine *eng = lum_bind_engine(L);
  lua_pushnumber(L, (lua_Number)eng->inflight_count);
  lua_pushnumber(L, (lua_Number)eng->live_ops);
  lua_pushnumber(L, (lua_Number)lum_engine_handles(eng));
  return 3;
}

/* ---- the guard ---- */

#define GUARD_STEPS 1000000
#define INSIST_AFTER 3 /* errors that were caught */

static void guard_hook(lua_State *L, lua_Debug *ar);

static const char marked_key; /* registry: the coroutine of the task that runs */

/* A script that catches the error and goes on spinning is stopped again at every instruction; so is
 * the task itself, when it spins in coroutines of its own. */
static void insist(lua_State *L, struct lum_guard *guard) {
  if (++guard->raised < INSIST_AFTER)
    return;
  lua_sethook(L, guard_hook, LUA_MASKCOUNT, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &marked_key);
  lua_State *co = lua_tothread(L, -1);
  lua_pop(L, 1);
  if (co && co != L)
    lua_sethook(co, guard_hook, LUA_MASKCOUNT, 1);
}

/* Cleanup that such a script has asked for, such as destroying a sandbox, is our own code: it is
 * let alone, and it waits soon. */
static bool is_library(lua_State *L, lua_Debug *ar) {
  lua_getinfo(L, "S", ar);
  return strstr(ar->source, "lua/luarium/") || strstr(ar->source, "lua/5.4/luarium/");
}

static void raise_interrupted(lua_State *L, struct lum_guard *guard, int signum) {
  struct lum_err err;
  lum_err_clear(&err);
  lum_err_set(&err, LUM_CANCELLED, "interrupted by SIG%s", lum_signals_name(signum));
  snprintf(err.name, sizeof err.name, "SIG%s", lum_signals_name(signum));
  insist(L, guard);
  lum_bind_push_err(L, &err);
  lua_error(L);
}

/* Time that passed is cheap to ask for, but a process that was stopped, or had to wait for a
 * processor, has not computed. */
static bool is_over(struct lum_guard *guard) {
  if (guard->limit <= 0)
    return false;
  if (guard->cpu_since < 0)
    guard->cpu_since = lum_thread_cpu();
  return lum_monotonic() - guard->since >= guard->limit &&
         lum_thread_cpu() - guard->cpu_since >= guard->limit;
}

static void guard_hook(lua_State *L, lua_Debug *ar) {
  struct lum_guard *guard = lum_bind_guard(L);
  if (guard->raised >= INSIST_AFTER && is_library(L, ar))
    return;
  struct lum_engine *eng = lum_bind_engine(L);
  lum_engine_breathe(eng); /* a signal is seen although the script never waits */
  if (eng->interrupted != 0)
    raise_interrupted(L, guard, eng->interrupted);
  if (!is_over(guard)) {
    if (lua_gethookcount(L) != GUARD_STEPS) /* it waits again: no need to insist any longer */
      lua_sethook(L, guard_hook, LUA_MASKCOUNT, GUARD_STEPS);
    return;
  }
  insist(L, guard);
  luaL_where(L, 0); /* in a hook, level 0 is the code that runs */
  lua_pushfstring(
      L,
      "the script computed for %f seconds without waiting for anything: is there an endless loop? "
      "(`luarium run --busy-limit`, or busy_limit in luarium.configure, sets the limit; 0 switches "
      "it off)",
      guard->limit);
  lua_concat(L, 2);
  lua_error(L);
}

/* loop.guard(seconds): the limit for every coroutine that is armed; 0 switches it off. */
static int loop_guard(lua_State *L) {
  lum_bind_guard(L)->limit = luaL_checknumber(L, 1);
  return 0;
}

/* loop.arm(co): counts the instructions of a coroutine. */
static int loop_arm(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argcheck(L, co, 1, "expected a coroutine");
  lua_sethook(co, guard_hook, LUA_MASKCOUNT, GUARD_STEPS);
  return 0;
}

/* loop.mark(co): the coroutine of a task is about to run; its time starts now. */
static int loop_mark(lua_State *L) {
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &marked_key);
  struct lum_guard *guard = lum_bind_guard(L);
  guard->since = lum_monotonic();
  guard->cpu_since = -1;
  guard->raised = 0;
  return 0;
}

/* loop.error_metatable(): the metatable of error objects that natives make; luarium.error fills it.
 */
static int loop_error_metatable(lua_State *L) {
  luaL_newmetatable(L, LUM_ERROR_MT);
  return 1;
}

static const luaL_Reg functions[] = {
    {"error_metatable", loop_error_metatable},
    {"poll", loop_poll},
    {"check_process", loop_check_process},
    {"fd", loop_fd},
    {"next", loop_next},
    {"monotonic", loop_monotonic},
    {"realtime", loop_realtime},
    {"sleep", loop_sleep},
    {"counts", loop_counts},
    {"guard", loop_guard},
    {"arm", loop_arm},
    {"mark", loop_mark},
    {NULL, NULL},
};

int lum_open_loop(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
