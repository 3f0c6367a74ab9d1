/* A host that runs a Lua file, to which it gives the calls of luarium.h as functions of `host`,
 * then closes as hosts do and tells, on descriptor 9, how it all ended.
 *
 * embedding_script FILE */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "luarium.h"

#define REPORT 9

/* What a call has returned, and the message that it left. */
static int count_or_message(lua_State *L, int count, int top) {
  lua_pushinteger(L, count);
  if (lua_gettop(L) == top + 1)
    return 1;
  lua_insert(L, -2);
  return lua_gettop(L) - top;
}

static int host_step(lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  int top = lua_gettop(L);
  return count_or_message(L, luarium_step(L, seconds), top);
}

static int host_close(lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  int top = lua_gettop(L);
  return count_or_message(L, luarium_close(L, seconds), top);
}

static int host_fd(lua_State *L) {
  int top = lua_gettop(L);
  return count_or_message(L, luarium_fd(L), top);
}

static int host_next_wakeup(lua_State *L) {
  double seconds = luarium_next_wakeup(L);
  lua_pushnumber(L, seconds);
  return 1;
}

static int host_close_standard_streams(lua_State *L) {
  (void)L;
  return close(0) | close(1) | close(2) ? luaL_error(L, "they are closed already") : 0;
}

/* Allows no further thread or child, or as many as may be again. Root has no such limit. */
static int host_limit_threads(lua_State *L) {
  struct rlimit limit;
  if (getuid() == 0 && setuid(61234) != 0)
    return luaL_error(L, "setuid");
  getrlimit(RLIMIT_NPROC, &limit);
  limit.rlim_cur = lua_toboolean(L, 1) ? 0 : limit.rlim_max;
  return setrlimit(RLIMIT_NPROC, &limit) ? luaL_error(L, "setrlimit") : 0;
}

static const luaL_Reg functions[] = {
    {"step", host_step},
    {"close", host_close},
    {"fd", host_fd},
    {"next_wakeup", host_next_wakeup},
    {"limit_threads", host_limit_threads},
    {"close_standard_streams", host_close_standard_streams},
    {NULL, NULL},
};

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  luaL_newlib(L, functions);
  lua_setglobal(L, "host");
  if (luaL_dofile(L, argv[1]) != LUA_OK)
    dprintf(REPORT, "error: %s\n", luaL_tolstring(L, -1, NULL));
  int left = luarium_close(L, 5);
  if (left == -1)
    dprintf(REPORT, "close: %s\n", lua_tostring(L, -1));
  lua_close(L);
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) == -1)
      dprintf(REPORT, "%d is closed\n", fd);
  dprintf(REPORT, "%d left\n", left);
  return 0;
}
