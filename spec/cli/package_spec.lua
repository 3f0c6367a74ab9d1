--- What a host's developer installs: found by pkg-config and by CMake, required by stock interpreters, a .deb.
local program = require "spec.support.program"

local within = program.within(170, function(place)
  place.env.BUILD = place.program:match("^(.*)/")
  return function(command)
    local result = place:run({}, { argv = { "sh", "-ec", command }, timeout = 160 })
    assert.equal(0, result.exit_code, result.stdout .. result.stderr)
    return result.stdout
  end
end)

local HOST = [[
#include <lauxlib.h>
#include <luarium.h>
#include <lualib.h>
int main(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  int failed = luaL_dostring(L, "io.write(require('luarium').with({}, function(box) "
                                "return box:exec('printf installed').stdout end))");
  int left = luarium_close(L, 5);
  lua_close(L);
  return failed || left;
}
]]

describe("an installed library", function()
  it("is found by pkg-config, also after it was moved", within(function(place, sh)
    place:write("host.c", HOST)
    sh 'cmake --install "$BUILD" --prefix "$PWD/first"; mv first moved'
    local printed = sh [[
      pc=$(dirname "$(find "$PWD/moved" -name luarium.pc)")
      export PKG_CONFIG_PATH=$pc
      cc -Wall -Werror -o host host.c $(pkg-config --cflags --libs luarium)
      LD_LIBRARY_PATH=$(pkg-config --variable=libdir luarium) ./host]]
    assert.equal("installed", printed)
    assert.equal(require("luarium.native").version .. "\n",
      sh 'PKG_CONFIG_PATH=$(dirname "$(find "$PWD/moved" -name luarium.pc)") pkg-config --modversion luarium')
  end))

  it("is found by find_package(Luarium)", within(function(place, sh)
    place:write("host.c", HOST)
    place:write("CMakeLists.txt", "cmake_minimum_required(VERSION 3.22)\nproject(host C)\n"
      .. "find_package(Luarium 0.1 REQUIRED)\nadd_executable(host host.c)\n"
      .. "target_link_libraries(host PRIVATE Luarium::luarium)\n")
    sh 'cmake --install "$BUILD" --prefix "$PWD/prefix"'
    sh 'cmake -G Ninja -S . -B out -DCMAKE_PREFIX_PATH="$PWD/prefix"; cmake --build out'
    assert.equal("installed", sh "./out/host")
  end))

  it("is not mistaken for a build folder that is in PATH", within(function(place)
    place:write("CMakeLists.txt", "cmake_minimum_required(VERSION 3.22)\nproject(host NONE)\nfind_package(Luarium)\n"
      .. "message(STATUS \"found: ${Luarium_FOUND}\")\n")
    local result = place:run({}, { argv = { "sh", "-c", 'PATH="$BUILD:$PATH" cmake -S . -B out' }, timeout = 60 })
    assert.equal(0, result.exit_code, result.stderr)
    assert.truthy(result.stdout:find("found: 0", 1, true), result.stdout)
  end))

  it("takes the provider files that there are, whenever they came, and goes again", within(function(_, sh)
    assert.falsy(sh('cat "$BUILD/cmake_install.cmake"'):find("providers/[%w_]+%.lua"))
    assert.truthy(sh('cmake --install "$BUILD" --prefix "$PWD/prefix"; ls prefix/share/lua/5.4/luarium/providers')
      :find("local.lua\n", 1, true))
    assert.equal("", sh 'xargs -d "\\n" rm <"$BUILD/install_manifest.txt"; find prefix ! -type d')
  end))

  for _, stock in ipairs({ { "lua5.4", "5.4" }, { "luajit", "5.1" } }) do
    it("is required by a stock " .. stock[1] .. ", outside a task and in a coroutine of the host's",
      within(function(place, sh)
        sh 'cmake --install "$BUILD" --prefix "$PWD/prefix"'
        place:write("host.lua", [[
          local luarium = require "luarium"
          local function run(text)
            return luarium.with({}, function(box) return box:exec("printf " .. text).stdout end)
          end
          io.write(run("outside,"))
          local co = coroutine.wrap(function() return run("inside") end)
          io.write(co()) -- it drives the loop: the host's coroutine does not yield]])
        place.env.LUA_PATH = ("%s/prefix/share/lua/%s/?.lua;%s/prefix/share/lua/%s/?/init.lua;;"):format(place.dir,
          stock[2], place.dir, stock[2])
        place.env.LUA_CPATH = ("%s/prefix/lib/lua/%s/?.so;;"):format(place.dir, stock[2])
        assert.equal("outside,inside", sh(stock[1] .. " host.lua"))
      end))
  end

  it("comes as a .deb whose program runs", within(function(_, sh)
    sh [[cp "$BUILD/CPackConfig.cmake" .; cpack -G DEB --config CPackConfig.cmake -B "$PWD/out"]]
    local facts = sh "dpkg-deb --info out/luarium_*.deb"
    assert.truthy(facts:find("Package: luarium\n", 1, true), facts)
    for _, package in ipairs({ "libuv1", "libcurl4", "libarchive13", "lua-cjson" }) do
      assert.truthy(facts:match("Depends:[^\n]*"):find(package, 1, true), facts)
    end
    assert.truthy(facts:match("Recommends:[^\n]*"):find("libedit2", 1, true), facts)
    sh "dpkg-deb -x out/luarium_*.deb root"
    for _, file in ipairs({ "bin/luarium", "lib/libluarium.so.0" }) do
      assert.falsy(sh("readelf -d root/usr/" .. file):find("libedit", 1, true))
    end
    assert.truthy(sh("root/usr/bin/luarium version"):find("^luarium "))
    assert.truthy(sh("find root -name native.so"):find("lua/5.4/luarium/native.so", 1, true))
    assert.falsy(sh("readelf -d $(find root -name '*.so.*' -type f) root/usr/bin/luarium"):lower():find("runpath"))
    local printed = sh [[
      export PKG_CONFIG_PATH=$(dirname "$(find "$PWD/root" -name luarium.pc)")
      export LD_LIBRARY_PATH=$(pkg-config --variable=libdir luarium)
      for host in frame_loop poll_loop; do
        cc -std=c11 -Wall -Wextra -Werror -o $host "$BUILD/../docs/embedding/$host.c" $(pkg-config --cflags --libs luarium) -lm
      done
      ./frame_loop
      echo "echo from the package" | ./poll_loop 2>&1]]
    assert.truthy(printed:find("^%d+ frames, "), printed)
    assert.truthy(printed:find("echo from the package -> from the package\n", 1, true), printed)
  end))
end)
