/* The program `luarium`: a thin host. It makes a Lua state, shows it where Luarium's Lua files are
 * (in the source tree while it lies in its build folder, else inside itself), runs luarium.cli and
 * exits with its code. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "embedded.h"

#ifdef LUARIUM_HAVE_CJSON
int luaopen_cjson(lua_State *L);
int luaopen_cjson_safe(lua_State *L);
#endif

static int in_build_folder(void) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0)
    return 0;
  path[n] = '\0';
  return strcmp(path, LUARIUM_BUILD_DIR "/luarium") == 0;
}

static void set_package_path(lua_State *L) {
  lua_getglobal(L, "package");
  lua_pushliteral(L, LUARIUM_SOURCE_DIR "/lua/?.lua;" LUARIUM_SOURCE_DIR "/lua/?/init.lua;");
  lua_getfield(L, -2, "path");
  lua_concat(L, 2);
  lua_setfield(L, -2, "path");
  lua_pop(L, 1);
}

static int traceback(lua_State *L) {
  const char *message = lua_tostring(L, 1);
  luaL_traceback(L, L, message ? message : luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

/* run(argc, argv) -> exit code */
static int run(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  lua_gc(L,
         LUA_GCSTOP); /* until the main task begins: loading leaves no garbage worth looking for */
  luaL_openlibs(L);
#ifdef LUARIUM_HAVE_CJSON
  luarium_preload(L, "cjson", luaopen_cjson);
  luarium_preload(L, "cjson.safe", luaopen_cjson_safe);
#endif
  int developing = in_build_folder();
  luarium_open_with(L, developing ? luarium_search_source : luarium_search_embedded);
  if (developing)
    set_package_path(L);
  lua_createtable(L, argc, 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_pushvalue(L, -1);
  lua_setglobal(L, "arg");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luarium.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 1);
  return 1;
}

/* What a parent has ignored or blocked: the ends of our children and requests to end are for us. */
static void restore_signals(void) {
  sigset_t ours;
  signal(SIGCHLD, SIG_DFL);
  sigemptyset(&ours);
  sigaddset(&ours, SIGINT);
  sigaddset(&ours, SIGTERM);
  sigaddset(&ours, SIGHUP);
  sigprocmask(SIG_UNBLOCK, &ours, NULL);
}

/* A program started with a standard stream closed must not take a file of ours for it. */
static void open_standard_streams(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
      _exit(125);
}

/* Lua's print does not tell what it could not write, and a later flush says that all is well. */
static int checked(int code) {
  if (code != 0 || (fflush(stdout) == 0 && !ferror(stdout)))
    return code;
  struct pollfd out = {STDOUT_FILENO, 0, 0};
  if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR))
    return 128 + SIGPIPE; /* whoever read it went away */
  fputs("luarium: standard output cannot be written: not all of it was kept\n", stderr);
  return 1;
}

int main(int argc, char **argv) {
  open_standard_streams();
  restore_signals();
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write, not the end of the program */
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("luarium: out of memory\n", stderr);
    return 1;
  }
  lua_pushcfunction(L, traceback);
  lua_pushcfunction(L, run);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  int code = 1;
  if (lua_pcall(L, 2, 1, 1) == LUA_OK)
    code = lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : 1;
  else
    fprintf(stderr, "luarium: internal error: %s\n", lua_tostring(L, -1));
  lua_close(L);
  return checked(code);
}
