local program = require "spec.support.program"

local within = program.within(60)

describe("cmake --install", function()
  it("gives one program that needs nothing of the source tree, and the module for a stock lua5.4", within(function(place)
    local function sh(command, ...)
      local result = place:run({}, { argv = { "sh", "-ec", command, "sh", ... } })
      assert.equal(0, result.exit_code, result.stdout .. result.stderr)
      return result.stdout
    end
    sh('cmake --install "$(dirname "$1")" --prefix "$PWD/prefix"', place.program)
    sh("test -s prefix/share/doc/luarium/LICENSE")
    sh("mkdir elsewhere; cp prefix/bin/luarium elsewhere/")
    local built = place.program
    place.program = place.dir .. "/elsewhere/luarium"
    place:write("script.lua", [[
      print(package.path)
      local box <close> = luarium.create()
      print(box:exec("echo it runs").stdout, debug.getinfo(luarium.create, "S").source)]])
    local text = place:ok({ "run", "-q", "script.lua" })
    local source = sh('sed -n "s/^CMAKE_HOME_DIRECTORY:INTERNAL=//p" "$(dirname "$1")/CMakeCache.txt"', built)
    assert.falsy(text:find(source:gsub("\n", "") .. "/", 1, true), text)
    assert.truthy(text:find("it runs\n\t@lua/luarium/sandbox.lua\n", 1, true), text)

    place.env.LUA_PATH = place.dir .. "/prefix/share/lua/5.4/?.lua;" .. place.dir .. "/prefix/share/lua/5.4/?/init.lua;;"
    place.env.LUA_CPATH = place.dir .. "/prefix/lib/lua/5.4/?.so;;"
    assert.equal("stock", sh([[lua5.4 -e 'local luarium = require "luarium"
      local box <close> = luarium.create("local")
      io.write(box:exec("printf stock").stdout)']]))
  end))

  it("finds providers written in C, which use the program's own Lua", within(function(place)
    place:write("provider.c", [[
      #include <lauxlib.h>
      #include <lua.h>
      int luaopen_luarium_provider_inc(lua_State *L) {
        if (luaL_dostring(L, "local base = require 'luarium.providers.local' "
            "return require('luarium.provider').define { name = 'inc', summary = 'in C', docs = '', "
            "create = base.create, get = base.get, list = base.list, destroy = base.destroy, exec = base.exec }"))
          return lua_error(L);
        return 1;
      }]])
    local result = place:run({}, { argv = { "sh", "-ec", "mkdir providers; cc -shared -fPIC "
      .. "$(pkg-config --cflags lua5.4) -o providers/luarium_provider_inc.so provider.c" } })
    assert.equal(0, result.exit_code, result.stderr)
    place:write("script.lua", 'local box <close> = luarium.create("inc") io.write(box:exec("printf C").stdout)')
    assert.equal("C", place:ok({ "run", "-q", "script.lua" }))
  end))
end)

describe("the rockspec", function()
  local found = os.execute("command -v luarocks >/dev/null 2>&1")
  if not (found == true or found == 0) then
    print("the rockspec is skipped: there is no luarocks")
    return
  end

  it("installs a library that a stock lua5.4 can use", program.within(300)(function(place)
    local result = place:run({}, { timeout = 300, argv = { "sh", "-ec", [[
      cd "$(sed -n "s/^CMAKE_HOME_DIRECTORY:INTERNAL=//p" "$(dirname "$1")/CMakeCache.txt")"
      luarocks --lua-version 5.4 --tree "$2/rock" make --deps-mode none luarium-*.rockspec >&2
      eval "$(luarocks --lua-version 5.4 --tree "$2/rock" path)"
      cd "$2"
      lua5.4 -e 'local luarium = require "luarium"
        local box <close> = luarium.create("local")
        io.write(package.searchpath("luarium", package.path), " ", box:exec("printf rock").stdout)']], "sh",
      place.program, place.dir } })
    assert.equal(0, result.exit_code, result.stderr)
    assert.equal(place.dir .. "/rock/share/lua/5.4/luarium/init.lua rock", result.stdout)
  end))
end)
