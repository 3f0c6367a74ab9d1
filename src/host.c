/* The calls of include/luarium.h that a host makes while its tasks run. Each runs in a protected
 * call: a host outside any Lua call has nobody to catch an error. */
#include "luarium.h"

#include <lauxlib.h>

#include "bind/bind.h"

static const char task_key = 0;

/* Pushes luarium.task, or nil when nobody has required it yet. */
static void push_task(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &task_key) != LUA_TNIL)
    return;
  lua_pop(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "luarium.task") == LUA_TTABLE) {
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_key);
  } else {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
  lua_remove(L, -2);
}

/* Calls luarium.task[name](seconds) -> its result, or nil when the library is not loaded. */
static int call_task(lua_State *L, const char *name) {
  push_task(L);
  if (lua_isnil(L, -1))
    return 1;
  lua_getfield(L, -1, name);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int protected_step(lua_State *L) {
  return call_task(L, "step");
}

static int protected_next(lua_State *L) {
  lum_bind_check_process(L);
  if (lum_bind_closed(L)) {
    lua_pushnil(L);
    return 1;
  }
  return call_task(L, "next_wakeup");
}

static int protected_fd(lua_State *L) {
  lua_pushinteger(L, lum_engine_fd(lum_bind_engine(L)));
  return 1;
}

static int protected_close(lua_State *L) {
  lum_bind_check_process(L);
  if (lum_bind_closed(L)) { /* again: nothing is left */
    lua_pushinteger(L, 0);
    return 1;
  }
  int n = call_task(L, "shutdown");
  lum_bind_close(L);
  return n;
}

/* Pushes fn's result, or an error as a message. Error objects become text here, so that a host can
 * print what it gets. */
static int text_of_error(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

static bool protect(lua_State *L, lua_CFunction fn, double seconds) {
  lua_pushcfunction(L, text_of_error);
  int handler = lua_gettop(L);
  lua_pushcfunction(L, fn);
  lua_pushnumber(L, seconds);
  bool ok = lua_pcall(L, 1, 1, handler) == LUA_OK;
  lua_remove(L, handler);
  return ok;
}

/* A count, or -1 with the message left on the stack. */
static int protected_count(lua_State *L, lua_CFunction fn, double seconds) {
  if (!protect(L, fn, seconds))
    return -1;
  int count = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return count;
}

int luarium_step(lua_State *L, double seconds) {
  return protected_count(L, protected_step, seconds);
}

int luarium_fd(lua_State *L) {
  int fd = protect(L, protected_fd, 0) ? (int)lua_tointeger(L, -1) : -1;
  lua_pop(L, 1);
  return fd;
}

double luarium_next_wakeup(lua_State *L) {
  double seconds = -1;
  if (protect(L, protected_next, 0) && lua_isnumber(L, -1))
    seconds = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return seconds;
}

int luarium_close(lua_State *L, double seconds) {
  return protected_count(L, protected_close, seconds);
}
