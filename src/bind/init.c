/* luarium.native: the one list of bindings. Each opener pushes its table, kept under its name. */
#include "bind.h"

static const struct {
  const char *name;
  lua_CFunction open;
} libraries[] = {
    {"loop", lum_open_loop},
    {"process", lum_open_process},
    {"http", lum_open_http},
    {"signal", lum_open_signal},
    {"input", lum_open_input},
    {"fs", lum_open_fs},
    {"crypto", lum_open_crypto},
    {"tty", lum_open_tty},
    {"archive", lum_open_archive},
};

__attribute__((visibility("default"))) int luaopen_luarium_native(lua_State *L);

int luaopen_luarium_native(lua_State *L) {
  lua_newtable(L);
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    libraries[i].open(L);
    lua_setfield(L, -2, libraries[i].name);
  }
  lua_pushliteral(L, LUARIUM_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
