/* Luarium inside a program that already embeds Lua 5.4.
 *
 *   lua_State *L = luaL_newstate();
 *   luaL_openlibs(L);
 *   luarium_open(L);               now `require "luarium"` works in L, with nothing on disk
 *   luaL_dostring(L, "luarium = require 'luarium'; work = luarium.task.start(function() ... end)");
 *   each frame:  luarium_step(L, 0.001);
 *   at the end:  luarium_close(L, 5); lua_close(L);
 *
 * It installs no signal handler, changes no folder, never exits and writes to no stream of the
 * host. Lua's memory comes from the host's allocator; the engine's own buffers from malloc. States
 * are independent of each other; one state belongs to one thread at a time. lua-cjson must be on
 * the host's package.cpath.
 *
 * The rule for waiting: inside a Luarium task (luarium.task.start) a call that waits suspends the
 * task; anywhere else, also in coroutines of the host, it drives the loop until it is done.
 *
 * The calls below may be made with any coroutine of the state. They need four free slots of its
 * stack. In a task, in a function that runs between tasks (on_done) and in a debug hook while the
 * loop is at work, luarium_step and luarium_close return -1 and do nothing; so they do, and
 * luarium_fd, in a fork of the process that the state has worked in. */
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

/* Lets tasks go on for at most so many seconds (0: one round; INFINITY: until all of them wait),
 * without ever waiting. Returns how many tasks are still there, or -1 with an error message on the
 * stack: for a negative number or NaN, after luarium_close, when memory is short. 0 before the
 * library was required. A task is not interrupted between two of its waits. [-0, +(0|1), -] */
LUARIUM_API int luarium_step(lua_State *L, double seconds);

/* For hosts that sleep in a poll loop: a descriptor that is readable when luarium_step would find
 * something to do. The same for the state's whole life; never read or close it. -1 when there is
 * none (memory or descriptors are short, or the state was closed). [-0, +0, -] */
LUARIUM_API int luarium_fd(lua_State *L);

/* Seconds until luarium_step is due although the descriptor is silent; 0: now; negative: only the
 * descriptor can tell, or the state was closed. To be asked anew before each sleep. [-0, +0, -] */
LUARIUM_API double luarium_next_wakeup(lua_State *L);

/* Cancels every task and lets their cleanup run (sandboxes of `with` and `<close>` are destroyed),
 * for at most so many seconds (INFINITY: as long as it takes); then ends whatever is in flight.
 * Returns how many tasks had not ended in time, 0 when it was closed already, or -1 with an error
 * message on the stack: for a negative number or NaN nothing has happened; when memory was short it
 * may be called again. Afterwards the state may be closed; calls that need the engine raise an
 * error. lua_close alone ends everything at once, without the cleanup of tasks; records of what is
 * left stay, `luarium ls` shows them. [-0, +(0|1), -] */
LUARIUM_API int luarium_close(lua_State *L, double seconds);

#ifdef __cplusplus
}
#endif

#endif
