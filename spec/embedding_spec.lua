local async = require "spec.support.async"
local embedding = require "spec.support.embedding"
local luarium = require "luarium"
local native = require "luarium.native"
local state = require "spec.support.state"
local task = require "luarium.task"

local host, process = embedding.options, native.process

local function within(fn)
  return async(120, function()
    state.with(fn)
  end)
end

describe("the embeddable library", function()
  it("lives in a foreign host: several states, a frame loop, a close with work in flight", within(function(folder)
    local result = assert(task.await(process.run(host(folder, "embedding_host"))))
    assert.equal("", result.stderr)
    assert.equal(0, result.exit_code)
    local id = result.stdout:match("^nothing loaded: 0\none\n\ntwo\n\nmany frames\nclosed cleanly: 0 left\n(sbx_%w+)\n"
      .. "error: .*step.*\nmemory: 0\nclosed\n$")
    assert(id, result.stdout)
    assert.same({}, (task.await(process.find("LUARIUM_SANDBOX=" .. id))))
    assert.is_true(luarium.destroy(id))
    assert.same({}, luarium.list()) -- what was closed cleanly has left nothing
  end))

  it("keeps a frame loop going while ten sandboxes work", within(function(folder)
    local result = assert(task.await(process.run(host(folder, "frame_loop"))))
    assert.equal("", result.stderr)
    assert.equal(0, result.exit_code)
    local frames = tonumber(result.stdout:match("^(%d+) frames, step at most [%d.]+ ms, a frame at most [%d.]+ ms late\n$"))
    assert(frames and frames > 60, result.stdout) -- the sandboxes work for a second
    assert.same({}, luarium.list())
  end))

  it("wakes a host that sleeps in poll, and lets it sleep when nothing happens", within(function(folder)
    local host_process = assert(process.spawn(host(folder, "poll_loop")))
    assert(task.await(host_process:write("sleep 1; echo slept\n")))
    local out, err = "", ""
    local function read()
      local chunk, stream = task.await(host_process:read())
      if stream == "stderr" then
        err = err .. (chunk or "")
      else
        out = out .. (chunk or "")
      end
      return chunk
    end
    host_process:close_stdin()
    while read() do end -- luacheck: ignore 542
    assert.equal("sleep 1; echo slept -> slept\n", out)
    local wakeups = tonumber(err:match("^(%d+) wake%-ups\n$"))
    assert(wakeups and wakeups < 200, err) -- a host that spins would count thousands in a second
    assert.equal(0, task.await(host_process:wait()).exit_code)
    host_process:close()
    assert.same({}, luarium.list())
  end))

  it("reads lines as they end, however a pipe cuts them", within(function(folder)
    local host_process = assert(process.spawn(host(folder, "poll_loop")))
    assert(task.await(host_process:write("echo first\necho sec")))
    local out = ""
    repeat -- so much was read, and the second line has not ended
      local chunk, stream = task.await(host_process:read())
      out = out .. (stream == "stdout" and chunk or "")
    until not chunk or out:find("first\n$")
    assert(task.await(host_process:write("ond\necho last")))
    host_process:close_stdin()
    local chunk, stream
    repeat
      chunk, stream = task.await(host_process:read())
      out = out .. (stream == "stdout" and chunk or "")
    until not chunk
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    table.sort(lines)
    assert.same({ "echo first -> first", "echo last -> last", "echo second -> second" }, lines)
    assert.equal(0, task.await(host_process:wait()).exit_code)
    host_process:close()
    assert.same({}, luarium.list())
  end))

  it("refuses to work in a fork of the host, which leaves what the parent has alone", within(function(folder)
    local result = assert(task.await(process.run(host(folder, "forking_host"))))
    assert.equal("", result.stderr)
    local refusal = "luarium: this process is a fork of the one that this Lua state belongs to: "
      .. "make a new state after the fork"
    local error_line = "error: [^\n]*" .. refusal
    for i, expected in ipairs({
      "ready in process 1", "step %-1", refusal, "fd %-1", "wakeup %-1", error_line, error_line,
      "false\t" .. refusal, "close %-1", "child: mine", "", "close 0", "the child ended with 0", "only in the parent",
      "got here", "", "done", "", "true", "close 0",
    }) do
      local line = result.stdout:match(("[^\n]*\n"):rep(i - 1) .. "([^\n]*)\n")
      assert.truthy(line and line:find("^" .. expected .. "$"), ("line %d: expected %s in\n%s"):format(i, expected,
        result.stdout))
    end
    assert.equal(0, result.exit_code)
    assert.same({}, luarium.list())
  end))
end)
