#include "embedded.h"

#include <string.h>
#include <sys/stat.h>

#include <lauxlib.h>

#include "luarium.h"

int luaopen_luarium_native(lua_State *L);

/* Loads an embedded module. Its loader gets the module's name, as every searcher's does. */
static int load(lua_State *L, const struct embedded *file) {
  if (luaL_loadbufferx(L, (const char *)file->bytes, file->length, file->chunk, NULL) != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, file->chunk);
  return 2;
}

static const struct embedded *find(const char *name) {
  for (const struct embedded *file = embedded_files; file->name; file++)
    if (strcmp(file->name, name) == 0)
      return file;
  return NULL;
}

int luarium_search_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct embedded *file = find(name);
  if (file)
    return load(L, file);
  lua_pushfstring(L, "no module '%s' inside Luarium", name);
  return 1;
}

int luarium_search_source(lua_State *L) {
  const struct embedded *file = find(luaL_checkstring(L, 1));
  struct stat st;
  if (!file || stat(file->source, &st) != 0 ||
      (st.st_size == file->source_size && st.st_mtim.tv_sec == file->mtime &&
       st.st_mtim.tv_nsec == file->mtime_ns))
    return luarium_search_embedded(L);
  if (luaL_loadfilex(L, file->source, "t") != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, file->source);
  return 2;
}

void luarium_preload(lua_State *L, const char *name, lua_CFunction open) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

void luarium_open_with(lua_State *L, lua_CFunction searcher) {
  luarium_preload(L, "luarium.native", luaopen_luarium_native);
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  lua_remove(L, -2);
  int searchers = lua_gettop(L);
  lua_Integer count = luaL_len(L, searchers);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, searchers, i);
    bool there = lua_tocfunction(L, -1) == searcher;
    lua_pop(L, 1);
    if (there) {
      lua_pop(L, 1);
      return;
    }
  }
  /* Second: after the preloaded modules, before the system's folders. */
  for (lua_Integer i = count; i >= 2; i--) {
    lua_geti(L, searchers, i);
    lua_seti(L, searchers, i + 1);
  }
  lua_pushcfunction(L, searcher);
  lua_seti(L, searchers, 2);
  lua_pop(L, 1);
}

void luarium_open(lua_State *L) {
  luarium_open_with(L, luarium_search_embedded);
}
