-- `luarocks make` in the source tree; the libraries come from the system (CONTRIBUTING.md names them).
rockspec_format = "3.0"
package = "luarium"
version = "0.1.0-1"
source = { url = "git+file://." }
description = {
  summary = "Orchestration engine for sandboxes that run AI coding agents",
  license = "MIT",
}
dependencies = { "lua == 5.4", "lua-cjson >= 2.1" }
build = {
  type = "command",
  build_command = "cmake -S . -B build/rock -G Ninja -DCMAKE_BUILD_TYPE=Release -DLUARIUM_WERROR=OFF -DLUARIUM_LUAJIT=OFF"
    .. " && cmake --build build/rock --target luarium_native",
  install_command = "mkdir -p $(LUADIR)/luarium $(LIBDIR)/luarium && cp -RL lua/luarium/. $(LUADIR)/luarium/"
    .. " && cp build/rock/lua5.4/luarium/native.so $(LIBDIR)/luarium/",
}
