/* luarium.native: the one list of bindings. Each opener pushes its table, kept under its name. */
#include "bind.h"
#include "core/versions.h"

static const struct {
  const char *name;
  lua_CFunction open;
} libraries[] = {
    {"loop", lum_open_loop},     {"process", lum_open_process}, {"http", lum_open_http},
    {"signal", lum_open_signal}, {"input", lum_open_input},     {"fs", lum_open_fs},
    {"crypto", lum_open_crypto}, {"tty", lum_open_tty},         {"archive", lum_open_archive},
    {"line", lum_open_line},     {"ssh", lum_open_ssh},         {"output", lum_open_output},
};

/* native.libraries() -> list of {name, version} */
static int native_libraries(lua_State *L) {
  const struct lum_library *library = lum_libraries();
  lua_newtable(L);
  for (int i = 1; library->name; i++, library++) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, library->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, library->version);
    lua_setfield(L, -2, "version");
    lua_rawseti(L, -2, i);
  }
  return 1;
}

__attribute__((visibility("default"))) int luaopen_luarium_native(lua_State *L);

int luaopen_luarium_native(lua_State *L) {
  lua_newtable(L);
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    libraries[i].open(L);
    lua_setfield(L, -2, libraries[i].name);
  }
  lua_pushliteral(L, LUARIUM_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushcfunction(L, native_libraries);
  lua_setfield(L, -2, "libraries");
  return 1;
}
