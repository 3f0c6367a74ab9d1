--- Brings the results of a sandbox home: the patch, chosen files, logs, and a report that says what there is. What
--- cannot be had is listed in the report, and the rest is kept.
local changes = require "luarium.git.changes"
local check = require "luarium.check"
local errors = require "luarium.error"
local event = require "luarium.event"
local json = require "luarium.json"
local names = require "luarium.collect.names"
local native = require "luarium.native"
local repo = require "luarium.git.repo"
local secret = require "luarium.secret"
local task = require "luarium.task"

local await, fs = task.await, native.fs

local M = {}

--- Bytes that one collection may bring, and the largest single file; the end of a log that is longer is kept.
M.max_bytes = 268435456
M.max_file = 67108864
M.max_log = 16777216

--- Files that one collection may bring.
M.max_files = 10000

--- Seconds for everything, unless the caller says otherwise.
M.timeout = 900

local PRIVATE_FILE, PRIVATE_FOLDER = 384, 448 -- 0600, 0700
local LISTING_LIMIT = 16777216

-- ---- one collection ----

local function now()
  return native.loop.monotonic()
end

local function note(job, what, err)
  err = errors.from(err)
  job.report.errors[#job.report.errors + 1] = { what = what, kind = err.kind, message = tostring(err) }
end

--- Runs one part; its failure goes into the report, unless the whole task is to end.
local function part(job, what, fn, ...)
  local began = now()
  local seconds = job.deadline - began
  if seconds <= 0 then
    note(job, what, errors.new("timeout", "there was no time left"))
    return nil
  end
  local ok, value = pcall(task.timeout, seconds, fn, ...)
  if not ok then
    local why = task.cancel_reason()
    if why then
      error(why, 0)
    end
    note(job, what, value)
    return nil
  end
  return value
end

local function refuse(kind, ...)
  errors.raise(kind, string.format(...))
end

local function take(job, bytes)
  if job.used + bytes > job.max_bytes then
    refuse("quota", "%d bytes more would be over the limit of %d for one collection (max_bytes)", bytes, job.max_bytes)
  end
  job.used = job.used + bytes
end

--- Writes one file of the collection without any known secret.
local function store(job, path, bytes)
  if job.taken[path] then
    refuse("conflict", "%s is there already", path)
  end
  job.taken[path] = true
  take(job, #bytes)
  local clean = secret.redact(bytes)
  if clean ~= bytes then
    table.insert(job.report.redacted, path)
  end
  local ok, err = await(fs.write_file(job.folder .. "/" .. path, clean,
    { mode = PRIVATE_FILE, atomic = true, parents = true }))
  if not ok then
    job.taken[path] = nil
    error(err, 0)
  end
  return clean
end

-- ---- the folder ----

local OURS = { "diff.patch", "diff.stat", "files", "logs", "report.json" }

local function owner_of(folder)
  local text = await(fs.read_file(folder .. "/report.json", { max = LISTING_LIMIT }))
  local report = text and json.decode_plain(text)
  return type(report) == "table" and type(report.sandbox) == "table" and report.sandbox.id or nil
end

local function claim(folder, box)
  local ok, err = await(fs.mkdir(folder, { mode = PRIVATE_FOLDER }))
  if ok then
    return true
  elseif err.kind ~= "conflict" then
    error(err, 0)
  elseif owner_of(folder) ~= box.id then
    return false
  end
  for _, name in ipairs(OURS) do -- an earlier collection of the same sandbox
    local removed, problem = await(fs.remove(folder .. "/" .. name, { recursive = true }))
    if not removed and problem.kind ~= "not_found" then
      error(problem, 0)
    end
  end
  return true
end

--- dir/<name or id>; when another sandbox of that name was collected there, dir/<name>-<id>.
local function make_folder(dir, box)
  local ok, err = await(fs.mkdir(dir, { parents = true, mode = PRIVATE_FOLDER }))
  if not ok then
    error(err, 0)
  end
  local name = box.name and names.component((box.name:gsub("/", "_")))
  local folder = dir .. "/" .. (name or box.id)
  if claim(folder, box) then
    return folder
  end
  folder = folder .. "-" .. box.id
  if not name or not claim(folder, box) then
    refuse("conflict", "%s exists and is no collection of this sandbox", folder)
  end
  return folder
end

-- ---- the patch ----

local function collect_changes(job, base)
  local repository, report = job.repo, job.report
  local found = changes.read(job.box, repository.path, "collect", {
    base = base or repository.base, max_bytes = math.min(job.max_bytes, changes.max_bytes),
    timeout = math.max(0.001, job.deadline - now()),
  })
  report.base, report.head, report.branch = found.base, found.head, found.branch
  report.changed, report.commits = found.files, found.commits
  report.totals = { files = #found.files, added = 0, deleted = 0, commits = #found.commits }
  for _, file in ipairs(found.files) do
    report.totals.added = report.totals.added + (file.added or 0)
    report.totals.deleted = report.totals.deleted + (file.deleted or 0)
    if file.mode == "160000" then
      note(job, file.path, errors.new("unsupported", "a repository inside the repository: only its commit is in the "
        .. "patch, collect it by itself"))
    end
  end
  for _, warning in ipairs(found.warnings) do
    note(job, "changes", errors.new("io", warning))
  end
  store(job, "diff.stat", found.stat)
  if not found.patch then
    refuse("quota", "the patch has %d bytes and was left out: raise max_bytes", found.patch_bytes)
  end
  local clean = store(job, "diff.patch", found.patch)
  report.diff = { path = "diff.patch", bytes = #clean, sha256 = native.crypto.sha256(clean),
    complete = clean == found.patch }
end

-- ---- files ----

-- Prints one letter and a path for each thing found: f file, l link, o anything else, m nothing there.
local FIND = [[
cd -- "$1" || exit 66
shift
for root in "$@"; do
  if [ -h "$root" ]; then printf 'l%s\0' "$root"
  elif [ -d "$root" ]; then
    find "$root" -name .git -prune -o -type f -exec sh -c 'for f; do printf "f%s\0" "$f"; done' sh {} +
  elif [ -f "$root" ]; then printf 'f%s\0' "$root"
  elif [ -e "$root" ]; then printf 'o%s\0' "$root"
  else printf 'm%s\0' "$root"
  fi
done]]

local function search(job, folder, patterns)
  local argv, seen = { "/bin/sh", "-c", FIND, "luarium", folder }, {}
  for _, pattern in ipairs(patterns) do
    local root = pattern.root:sub(1, 1) == "/" and pattern.root or "./" .. pattern.root
    if not seen[root] then
      seen[root] = true
      argv[#argv + 1] = root
    end
  end
  local result = job.box:exec(argv, { max_output = LISTING_LIMIT, timeout = math.max(0.001, job.deadline - now()),
    env = { LC_ALL = "C" } })
  if result.timed_out then
    refuse("timeout", "looking for files took too long")
  elseif result.exit_code == 66 then
    refuse("not_found", "there is no folder %s", folder)
  elseif result.truncated then
    refuse("quota", "there are too many files below the folders of the patterns: choose narrower ones")
  end
  local found = {}
  for letter, path in result.stdout:gmatch("([flom])([^%z]*)%z") do
    found[#found + 1] = { kind = letter, path = (path:gsub("^%./", ""):gsub("^%./", "")) }
  end
  return found
end

--- What the patterns choose, each once, sorted; what is not there or no file goes into the report.
local function choose(job, found, patterns)
  local chosen, seen, used = {}, {}, {}
  for _, item in ipairs(found) do
    for _, pattern in ipairs(patterns) do
      if item.kind == "f" and pattern.matches(item.path) then
        used[pattern] = true
        if not seen[item.path] then
          seen[item.path] = true
          chosen[#chosen + 1] = item.path
        end
      elseif item.path == pattern.root and (item.kind == "l" or item.kind == "o") then
        used[pattern] = true
        note(job, pattern.text, errors.new("unsupported", item.kind == "l" and "a link: name the file it leads to"
          or "neither a file nor a folder"))
      end
    end
  end
  for _, pattern in ipairs(patterns) do
    if not used[pattern] then
      note(job, pattern.text, errors.new("not_found", "no file is there or matches"))
    end
  end
  table.sort(chosen)
  return chosen
end

local function collect_file(job, folder, path)
  local absolute = path:sub(1, 1) == "/"
  local safe = names.safe(absolute and path:sub(2) or path)
  if not safe then
    refuse("invalid", "this name cannot be stored")
  end
  local bytes = job.box:read_file(absolute and path or folder .. "/" .. path,
    { max = math.min(M.max_file, job.max_bytes - job.used) })
  local stored = (absolute and "files/absolute/" or "files/") .. safe
  local clean = store(job, stored, bytes)
  table.insert(job.report.files, { path = path, stored = stored, bytes = #clean,
    sha256 = native.crypto.sha256(clean), complete = clean == bytes })
end

local function collect_files(job, list)
  local patterns = {}
  for _, text in ipairs(list) do
    patterns[#patterns + 1] = names.pattern(text)
  end
  local folder = job.repo and job.repo.path or job.box.cwd
  local found = part(job, "files", search, job, folder, patterns)
  local chosen = found and choose(job, found, patterns) or {}
  if #chosen > M.max_files then
    note(job, "files", errors.new("quota", ("%d files match, the first %d are taken"):format(#chosen, M.max_files)))
  end
  for i = 1, math.min(#chosen, M.max_files) do
    part(job, chosen[i], collect_file, job, folder, chosen[i])
  end
end

-- ---- logs ----

local function read_end(job, path)
  local size = job.box:stat(path).size
  local limit = math.min(M.max_log, job.max_bytes - job.used)
  local offset = math.max(0, size - limit)
  return job.box:read_file(path, { offset = offset, length = limit, max = limit }), offset
end

local function store_log(job, name, bytes, dropped)
  local safe = names.component((name:gsub("/", "_")))
  if not safe then
    refuse("invalid", "this name cannot be stored")
  elseif #bytes > M.max_log then
    dropped = (dropped or 0) + #bytes - M.max_log
    bytes = bytes:sub(-M.max_log)
  end
  local stored = "logs/" .. safe
  local clean = store(job, stored, bytes)
  table.insert(job.report.logs, { name = name, stored = stored, bytes = #clean,
    dropped = dropped and dropped > 0 and dropped or nil })
end

local function collect_log(job, name, value)
  if type(value) == "string" then
    store_log(job, name, value)
  elseif value.path then
    store_log(job, name, read_end(job, value.path))
  else
    for _, stream in ipairs({ "stdout", "stderr" }) do
      local text = value[stream]
      if type(text) == "string" and text ~= "" then
        store_log(job, name .. "." .. stream, text, math.max(0, (value[stream .. "_bytes"] or 0) - #text))
      end
    end
  end
end

local function collect_logs(job, logs)
  for _, path in ipairs(logs) do
    part(job, path, collect_log, job, path:match("([^/]+)/*$") or path, { path = path })
  end
  for _, name in ipairs(check.keys(logs)) do
    if logs[name] ~= nil then -- list entries have numbers for keys
      part(job, name, collect_log, job, name, logs[name])
    end
  end
end

-- ---- the report ----

local LISTS = { changed = true, commits = true, files = true, logs = true, redacted = true, errors = true }

local function printable(value)
  if type(value) == "string" then
    return names.printable(value)
  elseif type(value) ~= "table" then
    return value
  end
  local copy = {}
  for key, item in pairs(value) do
    copy[type(key) == "string" and names.printable(key) or key] = printable(item)
  end
  return copy
end

local function encode(value)
  local text, err = json.encode(value)
  if not text then
    error(err, 0)
  end
  return text
end

--- One field, and in lists one entry, a line: an empty list stays a list, and a person can read it.
local function report_text(report)
  local lines = {}
  for _, key in ipairs(check.keys(report)) do
    local value = printable(report[key])
    local text
    if LISTS[key] then
      local items = {}
      for i, item in ipairs(value) do
        items[i] = "\n    " .. encode(item)
      end
      text = "[" .. table.concat(items, ",") .. (#items > 0 and "\n  ]" or "]")
    else
      text = encode(value)
    end
    lines[#lines + 1] = ("  %s: %s"):format(encode(key), text)
  end
  return "{\n" .. table.concat(lines, ",\n") .. "\n}\n"
end

local function exit_codes(results)
  local codes = {}
  for name, result in pairs(results or {}) do
    if type(result) == "table" then
      codes[name] = { exit_code = result.exit_code, signal = result.signal, timed_out = result.timed_out or nil,
        duration = result.duration, stdout_bytes = result.stdout_bytes, stderr_bytes = result.stderr_bytes }
    else
      codes[name] = { exit_code = result }
    end
  end
  return codes
end

local function collect(job, options)
  local report, began = job.report, now()
  if job.repo then
    part(job, "changes", collect_changes, job, options.base)
  end
  report.durations.changes = now() - began
  began = now()
  collect_files(job, options.files or {})
  report.durations.files = now() - began
  began = now()
  collect_logs(job, options.logs or {})
  report.durations.logs = now() - began
  report.complete = #report.errors == 0
  report = secret.redact_value(report)
  local ok, err = await(fs.write_file(job.folder .. "/report.json", report_text(report),
    { mode = PRIVATE_FILE, atomic = true }))
  if not ok then
    error(err:wrap("collect"), 0)
  end
  report.dir = job.folder
  return report
end

local template = {
  dir = { type = "text", required = true }, repo = "text|table", base = "text", files = "strings", logs = "table",
  max_bytes = "size", results = "table", durations = "table", timeout = "seconds",
}

local function check_more(options)
  local faults = {}
  for key, value in pairs(options.logs or {}) do
    local fine = type(value) == "string" or type(key) == "string" and type(value) == "table"
      and (type(value.path) == "string" or type(value.stdout) == "string" or type(value.stderr) == "string")
    if not fine then
      faults[#faults + 1] = ("logs.%s: expected text, { path = in the sandbox } or a result of exec")
        :format(tostring(key))
    end
  end
  for name, value in pairs(options.results or {}) do
    if type(name) ~= "string" or type(value) ~= "number" and type(value) ~= "table" then
      faults[#faults + 1] = ("results.%s: expected an exit code or a result of exec"):format(tostring(name))
    end
  end
  for name, value in pairs(options.durations or {}) do
    if type(name) ~= "string" or type(value) ~= "number" then
      faults[#faults + 1] = ("durations.%s: expected seconds"):format(tostring(name))
    end
  end
  for _, text in ipairs(options.files or {}) do
    if text == "" or text:find("\0", 1, true) or ("/" .. text .. "/"):find("/../", 1, true) then
      faults[#faults + 1] = ("files: %q: expected a path or pattern without '..'"):format(text)
    end
  end
  if type(options.repo) == "table" and not repo.is(options.repo) then
    faults[#faults + 1] = "repo: expected a path or what box:clone or box:git returned"
  elseif options.base and not options.repo then
    faults[#faults + 1] = "base: there is no repo that it could belong to"
  elseif options.base and (options.base == "" or options.base:sub(1, 1) == "-" or options.base:find("[%c%s]")) then
    faults[#faults + 1] = "base: this cannot be the name of a branch, tag or commit"
  end
  if #faults > 0 then
    table.sort(faults)
    errors.raise("invalid", "collect: " .. table.concat(faults, "; "))
  end
end

---@class luarium.CollectOptions
---@field dir string the run's folder on this machine; the results go to <dir>/<name or id of the sandbox>
---@field repo string|luarium.GitRepo|nil the repository whose changes are wanted
---@field base string? what to compare with; default see luarium.GitRepo.changes
---@field files string[]? paths and globs, relative to the repository (without one: to the working directory); kept with
---  their paths below files/
---@field logs table? a list of paths in the sandbox, and name -> text, { path = in the sandbox } or a result of exec
---@field results table<string, integer|luarium.ExecResult>? exit codes for the report
---@field durations table<string, number>? seconds for the report
---@field max_bytes integer? for everything together; default 256 MiB
---@field timeout number? seconds for everything; default 900

---@class luarium.CollectReport
---@field dir string the folder that was written
---@field complete boolean nothing failed
---@field sandbox {id: string, name: string?, external_id: string}
---@field provider string
---@field repo {path: string, url: string?}?
---@field base string?
---@field head string?
---@field branch string?
---@field changed luarium.GitChange[]
---@field totals {files: integer, added: integer, deleted: integer, commits: integer}?
---@field commits luarium.GitCommit[]
---@field diff {path: string, bytes: integer, sha256: string, complete: boolean}? complete = false: a secret was taken
---  out, so that the patch may not apply
---@field files {path: string, stored: string, bytes: integer, sha256: string, complete: boolean}[]
---@field logs {name: string, stored: string, bytes: integer, dropped: integer?}[]
---@field exit_codes table<string, table>
---@field durations table<string, number>
---@field redacted string[] files out of which a known secret was taken
---@field errors {what: string, kind: string, message: string}[]

--- Writes diff.patch (untracked files included), diff.stat, files/, logs/ and report.json. A part that fails is listed
--- in the report's errors. Raises `invalid`, or `io` and `conflict` when the folder cannot be written.
---@async
---@param box luarium.Sandbox
---@param options luarium.CollectOptions
---@return luarium.CollectReport
function M.collect(box, options)
  options = check.options(options, template, "collect")
  check_more(options)
  local repository = type(options.repo) == "string" and repo.new(box, options.repo) or options.repo
  local job = {
    box = box, repo = repository, used = 0, max_bytes = options.max_bytes or M.max_bytes, taken = {},
    deadline = now() + (options.timeout or M.timeout),
  }
  job.report = {
    sandbox = { id = box.id, name = box.name, external_id = box.external_id }, provider = box.provider,
    collected_at = native.loop.realtime(), changed = {}, commits = {}, files = {}, logs = {}, redacted = {},
    errors = {}, repo = repository and { path = repository.path, url = repository.url } or nil, durations = {},
    exit_codes = exit_codes(options.results),
  }
  for name, seconds in pairs(options.durations or {}) do
    job.report.durations[name] = seconds
  end
  return event.span("sandbox.collect", { sandbox = box.id, name = box.name, provider = box.provider,
    dir = options.dir }, function()
    job.folder = make_folder(options.dir, box)
    return collect(job, options)
  end)
end

return M
