/* Luarium inside a program that already embeds Lua 5.4.
 *
 *   lua_State *L = luaL_newstate();
 *   luaL_openlibs(L);
 *   luarium_open(L);                        // require "luarium" now works in L, with nothing on
 * disk luaL_dostring(L, "luarium = require 'luarium'");
 *
 * It installs no signal handler, changes no folder and writes to no stream of the host. Outside a
 * task every call drives the loop until it is done; `luarium.task.step(seconds)` does a bounded bit
 * of work. Closing the state ends whatever is in flight. Several states in one process are
 * independent. lua-cjson must be on the host's package.cpath. */
#ifndef LUARIUM_H
#define LUARIUM_H

#include <lua.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LUARIUM_API __attribute__((visibility("default")))

/* Makes `require "luarium"` and its modules work in this state. May be called again. Raises a Lua
 * error only when memory is short or `package` is missing. [-0, +0, e] */
LUARIUM_API void luarium_open(lua_State *L);

#ifdef __cplusplus
}
#endif

#endif
