--- A host whose memory runs short while tasks work: each must end, nothing may stay behind.
local async = require "spec.support.async"
local embedding = require "spec.support.embedding"
local lfs = require "lfs"
local luarium = require "luarium"
local native = require "luarium.native"
local nginx = require "spec.support.nginx"
local state = require "spec.support.state"
local task = require "luarium.task"

local ROUNDS = 36

local function run(url, folder, every, length, when)
  local options = embedding.options(folder, "embedding_memory", { timeout = 100 })
  options.argv = { options.argv[1], lfs.currentdir() .. "/spec/support/embedding_memory.lua", tostring(every),
    tostring(length), tostring(ROUNDS), when }
  table.insert(options.env, "URL=" .. url)
  local result = assert(task.await(native.process.run(options)))
  local told = ("every %d fail %d: %s%s"):format(every, length, result.stdout, result.stderr)
  assert.equal(0, result.exit_code, told)
  local failures, good, failed =
    result.stdout:match("^failures: (%d+)\nlive: 0\ngood: (%d+)\nfailed: (%d+)\nleft: 0\nmemory: 0\n$")
  assert(failures, told)
  assert(tonumber(failures) >= length, told)
  return tonumber(good), tonumber(failed), told
end

--- What could not be cleaned up for want of memory has a record, and nothing of it runs.
local function clear()
  for _, record in ipairs(luarium.list()) do
    assert.same({}, (task.await(native.process.find("LUARIUM_SANDBOX=" .. record.id))))
    assert.is_true(luarium.destroy(record.id))
  end
end

describe("a host whose memory runs short", function()
  local server
  setup(function()
    local missing = nginx.missing()
    assert(not missing, missing)
    server = nginx.start({})
  end)
  teardown(function()
    server:stop()
  end)

  local function within(fn)
    return async(170, function()
      state.with(fn)
    end)
  end

  it("notices nothing when Lua's collector can make room", within(function(folder)
    local good = run(server.url "/hello", folder, 50, 1, "late")
    assert.equal(ROUNDS, good)
    assert.same({}, luarium.list())
  end))

  for _, length in ipairs({ 2, 5, 20, 50 }) do
    it(("loses no task to runs of %d failures"):format(length), within(function(folder)
      for _, every in ipairs({ 37, 211, 557 }) do
        local good, failed, told = run(server.url "/hello", folder, every, length, "late")
        assert(good + failed > 0 or every < 50, told)
        clear()
      end
    end))
  end

  it("can load everything all the same", within(function(folder)
    local good, _, told = run(server.url "/hello", folder, 4001, 20, "early")
    assert(good > 0, told)
    clear()
  end))
end)
