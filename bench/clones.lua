--- Many clones of one repository at once, from a real git server.
local harness = require "bench.harness"

local M = { child = {} }

local PROCESSES = 4

--- 40 commits over 100 files.
local HISTORY = [[
  i=0
  while [ $i -lt 100 ]; do head -c 4096 /dev/urandom | od -An -tx1 >file-$i.txt; i=$((i + 1)); done
  git add .; git commit -q -m start
  i=0
  while [ $i -lt 40 ]; do echo "change $i" >>file-$i.txt; git commit -q -a -m "change $i"; i=$((i + 1)); done]]

--- Runs fn(url, head, server) beside a git server that has the repository.
local function with_server(fn)
  local server = require("spec.support.git_server").start()
  local ok, result = pcall(function()
    local path = server:make("bench.git", HISTORY)
    local head = harness.run({ "git", "-C", path, "rev-parse", "main" }):match("%x+")
    return fn(server:url("open", "bench.git"), head, server)
  end)
  server:stop()
  if not ok then
    error(result, 0)
  end
  return result
end

function M.child.clones(params)
  local luarium = require "luarium"
  local numbers = {}
  for i = 1, params.count do
    numbers[i] = i
  end
  local failures, first = 0, nil
  luarium.map(numbers, function()
    local ok, err = pcall(luarium.with, "local", function(box)
      local head = box:clone(params.url, { path = "repo" }):head()
      assert(head == params.head, "expected the commit " .. params.head .. ", got " .. tostring(head))
    end)
    if not ok then
      failures, first = failures + 1, first or tostring(err)
    end
  end, { concurrency = params.count })
  if first then
    io.stderr:write("clones: ", failures, " failed, the first with: ", first, "\n")
  end
  return { failures = failures }
end

M.cases = {
  {
    name = "clones", reps = 1,
    about = "4 processes clone one repository 100 times each, all at once; beside it: git clone, two at a time",
    needs = function()
      return require("spec.support.git_server").missing()
    end,
    ours = function(context)
      return with_server(function(url, head, server)
        local loop = require("luarium.native").loop
        local start = loop.monotonic()
        local results = harness.children("clones", "clones",
          { count = context.quick and 2 or 100, url = url, head = head }, PROCESSES)
        local failures = 0
        for _, result in ipairs(results) do
          failures = failures + result.failures
        end
        return { seconds = loop.monotonic() - start, failures = failures,
          requests = server:requests("^POST .*git%-upload%-pack") }
      end)
    end,
    floor = function(context)
      return with_server(function(url, _, server)
        local folder = harness.fresh("clones")
        local line = ("mkdir '%s'; seq %d | xargs -P 2 -I {} git clone -q '%s' '%s/{}'"):format(folder,
          PROCESSES * (context.quick and 2 or 100), url, folder)
        local seconds = harness.stopwatch { "sh", "-c", line }
        harness.run { "rm", "-rf", folder }
        return { seconds = seconds, requests = server:requests("^POST .*git%-upload%-pack") }
      end)
    end,
    rows = {
      { name = "4 x 100 clones at once", of = "seconds", unit = "s" },
      { name = "  failures", of = "failures", bound = 0, exact = true },
      { name = "  requests at the server", of = "requests" },
    },
  },
}

return M
