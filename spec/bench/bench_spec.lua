--- The benchmarks still run. Nothing here looks at time.
local cjson = require "cjson"
local native_path = assert(package.searchpath("luarium.native", package.cpath))
local build = native_path:match("^(.*)/[^/]+/luarium/native%.so$")

local function run(arguments)
  local pipe = assert(io.popen("env -u LUA_PATH -u LUA_CPATH lua5.4 bench/run.lua --build '" .. build .. "' "
    .. arguments .. " 2>&1; echo \"exit $?\""))
  local text = pipe:read("*a")
  pipe:close()
  return text:match("^(.*)exit (%d+)\n$")
end

describe("bench", function()
  if not build then
    pending("the module was not loaded from a build folder")
    return
  end

  it("runs every benchmark with small counts", function()
    local text, code = run("--quick --json")
    local results = cjson.decode(text)
    assert.is_true(#results >= 8)
    for _, result in ipairs(results) do
      assert.is_true(result.verdict == "ok" or result.verdict == "quick" or result.verdict == "skipped",
        result.name .. ": " .. result.verdict .. ": " .. tostring(result.reason))
    end
    assert.equal("0", code)
  end)

  it("prints one line per row", function()
    local text, code = run("--quick tasks")
    assert.matches("10,000 waiting tasks, each +%d+ B +%d+ B +[%d.]+x +<= %+4096 +quick", text)
    assert.equal("0", code)
  end)

  it("refuses what it does not know", function()
    local text, code = run("--quick nonsense")
    assert.matches("there is no benchmark nonsense", text)
    assert.equal("2", code)
    text, code = run("--fast")
    assert.matches("there is no option %-%-fast", text)
    assert.equal("2", code)
  end)
end)
