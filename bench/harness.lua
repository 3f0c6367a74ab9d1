--- What every benchmark needs: where things are, a stopwatch, fresh processes for both sides, medians, /proc.
---
--- Our side of a benchmark always runs in a process of its own (`lua5.4 bench/run.lua --child FILE NAME JSON`), so
--- that neither the heap nor the page tables of an earlier one are carried into the next.
local cjson = require "cjson"

local M = {}

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

function M.command(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = quote(word)
  end
  return table.concat(quoted, " ")
end

--- Runs a shell command line and returns what it printed. Raises when it fails, with what it said about that.
function M.capture(line)
  local complaints = os.tmpname()
  local pipe = assert(io.popen("{ " .. line .. "\n} 2>" .. quote(complaints), "r"))
  local text = pipe:read("a")
  local ok, how, code = pipe:close()
  local said = M.read(complaints)
  os.remove(complaints)
  if not ok then
    error(said ~= "" and said:gsub("%s+$", "") or code == 124 and "no result within its time"
      or ("%s\n%s: %s %d"):format(text, line, how, code), 0)
  end
  io.stderr:write(said)
  return text
end

function M.run(words)
  return M.capture(M.command(words))
end

function M.succeeds(line)
  return (os.execute("{ " .. line .. "; } >/dev/null 2>&1")) == true
end

function M.exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

function M.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("a")
  file:close()
  return text
end

function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  assert(file:close())
end

-- ---- where things are ----

--- The source tree and the build folder. `build` is given, or that of the module that `require` would load.
function M.locate(root, build)
  root = M.capture("cd " .. quote(root) .. " && pwd"):gsub("\n$", "")
  M.root = root
  local module = package.searchpath("luarium.native", package.cpath)
  M.build = build or module and module:match("^(.*)/[^/]+/luarium/native%.so$") or root .. "/build"
  package.path = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;%s"):format(root, root, root, package.path)
  package.cpath = M.build .. "/lua5.4/?.so;" .. package.cpath
end

function M.program(name)
  return M.build .. "/bench/" .. name
end

--- Builds the C programs we compare against.
function M.build_floors()
  M.capture(M.command { "cmake", "--build", M.build, "--target", "bench_floors" } .. " 2>&1")
end

function M.make_folder()
  local parent = os.getenv("LUARIUM_BENCH_DIR") or os.getenv("TMPDIR") or "/tmp"
  M.folder = M.capture("mktemp -d " .. quote(parent .. "/luarium-bench-XXXXXX")):gsub("\n$", "")
  return M.folder
end

function M.remove_folder()
  if M.folder then
    M.run { "rm", "-rf", "--", M.folder }
  end
end

local counter = 0

--- A path in the run's own folder that nobody has used yet.
function M.fresh(name)
  counter = counter + 1
  return ("%s/%s-%d"):format(M.folder, name, counter)
end

-- ---- both sides ----

--- Seconds that a program takes from start to end, measured by floor_spawn.
function M.stopwatch(words, options)
  options = options or {}
  local line = { "env", "LUARIUM_STATE_DIR=" .. M.folder .. "/state", M.program("floor_spawn") }
  for _, option in ipairs(options) do
    line[#line + 1] = option
  end
  line[#line + 1] = tostring(options.count or 1)
  table.move(words, 1, #words, #line + 1, line)
  return tonumber(M.run(line))
end

--- Runs one of our C programs, which prints one number.
function M.floor(name, ...)
  return tonumber(M.run { M.program(name), ... })
end

--- Seconds after which a repetition counts as hanging.
M.patience = 180

local function child_command(file, name, params, state)
  return M.command {
    "env", "LUA_PATH=" .. package.path, "LUA_CPATH=" .. package.cpath, "LUARIUM_STATE_DIR=" .. state,
    "LUARIUM_CACHE_DIR=" .. M.folder .. "/cache", "timeout", "-k", "5", tostring(M.patience), "lua5.4",
    M.root .. "/bench/run.lua", "--build", M.build, "--child", file, name, cjson.encode(params or {}),
  }
end

--- Runs the child function `name` of a benchmark file in a process of its own and returns its table.
function M.child(file, name, params)
  return M.children(file, name, params, 1)[1]
end

--- The same in several processes at once, which share nothing but the cache folder.
function M.children(file, name, params, count)
  local lines, outputs, state = {}, {}, M.fresh("state")
  M.run { "mkdir", state }
  for i = 1, count do
    outputs[i] = ("%s/%d.json"):format(state, i)
    lines[i] = ("%s >%s & p%d=$!"):format(child_command(file, name, params, ("%s/%d"):format(state, i)),
      quote(outputs[i]), i)
  end
  for i = 1, count do
    lines[#lines + 1] = ("wait $p%d || status=$?"):format(i)
  end
  M.capture("status=0\n" .. table.concat(lines, "\n") .. "\n(exit $status)")
  local results = {}
  for i, output in ipairs(outputs) do
    results[i] = cjson.decode(M.read(output))
  end
  M.run { "rm", "-rf", "--", state }
  return results
end

--- The other end of M.child.
function M.serve_child(file, name, params)
  local bench = require("bench." .. file)
  local task = require "luarium.task"
  io.write(cjson.encode(task.run(bench.child[name], cjson.decode(params))))
end

-- ---- numbers ----

function M.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local n = #sorted
  return n % 2 == 1 and sorted[(n + 1) // 2] or (sorted[n // 2] + sorted[n // 2 + 1]) / 2
end

local function status_field(name)
  return tonumber(M.read("/proc/self/status"):match(name .. ":%s*(%d+) kB")) * 1024
end

--- Bytes resident now, and at most since the last M.reset_peak.
function M.resident()
  return status_field("VmRSS")
end

function M.peak()
  return status_field("VmHWM")
end

function M.reset_peak()
  local file = io.open("/proc/self/clear_refs", "wb")
  if file then
    file:write("5")
    file:close()
  end
end

function M.memory_available()
  return tonumber(M.read("/proc/meminfo"):match("MemAvailable:%s*(%d+) kB")) * 1024
end

function M.disk_available()
  return tonumber(M.capture("df -Pk " .. quote(M.folder) .. " | awk 'NR == 2 { print $4 }'")) * 1024
end

return M
