--- Many clones of one repository at once.
local harness = require "bench.harness"

local M = { child = {} }

--- A repository with some history: 40 commits over 200 files.
local function make_repository(context)
  local path = harness.folder .. "/repository.git"
  if not harness.exists(path .. "/HEAD") then
    local work = harness.fresh("work")
    harness.capture(([[
      set -e
      export GIT_AUTHOR_NAME=bench GIT_AUTHOR_EMAIL=bench@localhost
      export GIT_COMMITTER_NAME=bench GIT_COMMITTER_EMAIL=bench@localhost
      git init -q -b main '%s'
      cd '%s'
      i=0
      while [ $i -lt 200 ]; do
        head -c 8192 /dev/urandom | od -An -tx1 >file-$i.txt
        i=$((i + 1))
      done
      git add .
      git commit -q -m start
      i=0
      while [ $i -lt %d ]; do
        echo "change $i" >>file-$i.txt
        git commit -q -a -m "change $i"
        i=$((i + 1))
      done
      git clone -q --bare . '%s'
      rm -rf '%s']]):format(work, work, context.quick and 2 or 40, path, work))
  end
  return path
end

function M.child.clones(params)
  local luarium = require "luarium"
  local loop = require("luarium.native").loop
  local numbers = {}
  for i = 1, params.count do
    numbers[i] = i
  end
  local failures, first = 0, nil
  local start = loop.monotonic()
  luarium.map(numbers, function()
    local ok, err = pcall(luarium.with, "local", function(box)
      local repo = box:clone(params.url, { path = "repo" })
      local head = repo:head()
      assert(head == params.head, "expected the commit " .. params.head .. ", got " .. tostring(head))
    end)
    if not ok then
      failures, first = failures + 1, first or tostring(err)
    end
  end, { concurrency = params.count })
  if first then
    io.stderr:write("clones: ", failures, " failed, the first with: ", first, "\n")
  end
  return { seconds = loop.monotonic() - start, failures = failures }
end

M.cases = {
  {
    name = "clones", reps = 4,
    about = "100 clones of one repository at once, 4 times; beside it, for the eye: 100 times git clone",
    needs = function()
      return not package.searchpath("luarium.git", package.path) and "there is no luarium.git" or nil
    end,
    ours = function(context)
      local path = make_repository(context)
      return harness.child("clones", "clones", {
        count = context.quick and 3 or 100, url = "file://" .. path,
        head = harness.run({ "git", "-C", path, "rev-parse", "HEAD" }):match("%x+"),
      })
    end,
    floor = function(context)
      local path, folder = make_repository(context), harness.fresh("clones")
      local line = ("mkdir '%s'; i=0; while [ $i -lt %d ]; do git clone -q 'file://%s' '%s'/$i & i=$((i + 1)); "
        .. "done; wait"):format(folder, context.quick and 3 or 100, path, folder)
      local seconds = harness.stopwatch { "sh", "-c", line }
      harness.run { "rm", "-rf", folder }
      return { seconds = seconds }
    end,
    rows = {
      { name = "100 clones at once", of = "seconds", unit = "s" },
      { name = "  failures", of = "failures", bound = 0, exact = true },
    },
  },
}

return M
