/* One set of bindings for Lua 5.4 and for LuaJIT 2.1: the few calls that differ. */
#ifndef LUM_COMPAT_H
#define LUM_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#if LUA_VERSION_NUM == 501
#ifndef LUAJIT_VERSION_NUM
#include <luajit.h>
#endif
#define lua_rawlen lua_objlen

static inline int lua_absindex(lua_State *L, int idx) {
  return idx > 0 || idx <= LUA_REGISTRYINDEX ? idx : lua_gettop(L) + idx + 1;
}

static inline void lua_rawsetp(lua_State *L, int idx, const void *key) {
  idx = lua_absindex(L, idx);
  lua_pushlightuserdata(L, (void *)(size_t)key);
  lua_insert(L, -2);
  lua_rawset(L, idx);
}

static inline void lua_rawgetp(lua_State *L, int idx, const void *key) {
  idx = lua_absindex(L, idx);
  lua_pushlightuserdata(L, (void *)(size_t)key);
  lua_rawget(L, idx);
}
#elif LUA_VERSION_NUM != 504
#error "Luarium is built for Lua 5.4 and LuaJIT 2.1"
#endif

#endif
