--- Hosts that give the library little: closed standard streams, few descriptors.
local async = require "spec.support.async"
local embedding = require "spec.support.embedding"

local WORK = [[
local luarium = require "luarium"
luarium.with({}, function(box)
  local result = box:exec("cat; echo to stderr >&2", { stdin = "to stdin" })
  assert(result.stdout == "to stdin" and result.stderr == "to stderr\n")
  box:write_file("file", "text")
  assert(box:read_file("file") == "text")
end)]]

local function within(fn)
  return async(120, fn)
end

describe("a host with closed standard streams", function()
  local names = { [0] = "input", "output", "error" }
  for _, closed in ipairs({ "<&-", ">&-", "2>&-", "<&- >&- 2>&-" }) do
    it("is told so (" .. closed .. ") and goes on", within(function()
      local report, result = embedding.script(WORK, "exec " .. closed)
      assert.equal(0, result.exit_code, result.stderr)
      local first = closed:find("^>") and 1 or closed:find("^2") and 2 or 0
      assert.truthy(report:find(("error: luarium: standard %s (descriptor %d) is closed"):format(names[first], first), 1,
        true), report)
      assert.truthy(report:find("\n0 left\n", 1, true), report)
    end))
  end

  it("may close them later, as a daemon does", within(function()
    local report, result = embedding.script([[require("luarium").task.step(0)
      host.close_standard_streams()
      for _ = 1, 3 do
    ]] .. WORK .. " end")
    assert.equal(0, result.exit_code)
    assert.equal("0 is closed\n1 is closed\n2 is closed\n0 left\n", report)
  end))
end)

describe("a host with few descriptors", function()
  for _, limit in ipairs({ 5, 6, 8, 10, 16, 32 }) do
    it(("gets an error and no abort with %d"):format(limit), within(function()
      local report, result = embedding.script(WORK, "ulimit -n " .. limit)
      assert.equal(0, result.exit_code, result.stderr)
      assert.truthy(report:find("0 left\n", 1, true), report)
      if limit < 16 then
        assert.truthy(report:find("^error: [^\n]*: Too many open files\n"), report)
      elseif limit == 32 then
        assert.equal("0 left\n", report)
      end
    end))
  end
end)
