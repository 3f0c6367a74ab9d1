/* The program `luarium`: a thin host. It makes a Lua state, shows it where Luarium's Lua files are
 * (in the source tree while it lies in its build folder, else inside itself), runs luarium.cli and
 * exits with its code. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "embedded.h"

int luaopen_luarium_native(lua_State *L);
#ifdef LUARIUM_HAVE_CJSON
int luaopen_cjson(lua_State *L);
int luaopen_cjson_safe(lua_State *L);
#endif

/* Loads an embedded module. Its loader gets the module's name, as every searcher's does. */
static int load_embedded(lua_State *L, const struct embedded *file) {
  if (luaL_loadbufferx(L, (const char *)file->bytes, file->length, file->chunk, NULL) != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, file->chunk);
  return 2;
}

/* A searcher: modules that this program carries. */
static int search_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  for (const struct embedded *file = embedded_files; file->name; file++)
    if (strcmp(file->name, name) == 0)
      return load_embedded(L, file);
  lua_pushfstring(L, "no module '%s' inside the program", name);
  return 1;
}

/* The same while developing: the files of the source tree, so that an edit counts at once. A file
 * that is as the build found it is taken from inside all the same; that is quicker. */
static int search_source(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  struct stat st;
  for (const struct embedded *file = embedded_files; file->name; file++) {
    if (strcmp(file->name, name) != 0)
      continue;
    if (stat(file->source, &st) != 0 ||
        (st.st_size == file->source_size && st.st_mtim.tv_sec == file->mtime &&
         st.st_mtim.tv_nsec == file->mtime_ns))
      return load_embedded(L, file);
    if (luaL_loadfilex(L, file->source, "t") != LUA_OK)
      return lua_error(L);
    lua_pushstring(L, file->source);
    return 2;
  }
  return search_embedded(L);
}

static int in_build_folder(void) {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  if (n <= 0)
    return 0;
  path[n] = '\0';
  return strcmp(path, LUARIUM_BUILD_DIR "/luarium") == 0;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* Puts the searcher second, after the preloaded modules and before the system's folders. */
static void add_searcher(lua_State *L, lua_CFunction searcher) {
  lua_getglobal(L, "table");
  lua_getfield(L, -1, "insert");
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  lua_remove(L, -2);
  lua_pushinteger(L, 2);
  lua_pushcfunction(L, searcher);
  lua_call(L, 3, 0);
  lua_pop(L, 1);
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
  preload(L, "luarium.native", luaopen_luarium_native);
#ifdef LUARIUM_HAVE_CJSON
  preload(L, "cjson", luaopen_cjson);
  preload(L, "cjson.safe", luaopen_cjson_safe);
#endif
  int developing = in_build_folder();
  add_searcher(L, developing ? search_source : search_embedded);
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

/* A program started with a standard stream closed must not take a file of ours for it. */
static void open_standard_streams(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY) != fd)
      _exit(125);
}

int main(int argc, char **argv) {
  open_standard_streams();
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
  return code;
}
