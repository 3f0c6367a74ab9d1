--- Running our own small scripts in a sandbox: POSIX sh and the tools that GNU and busybox share, nothing else.
---
--- A script gets its values as arguments, so that nothing needs quoting and every name works. It ends with one of the
--- codes below when it knows what is wrong; otherwise the text of the tool that failed tells.
local ascii = require "luarium.ascii"
local errors = require "luarium.error"
local log = require "luarium.log"
local task = require "luarium.task"
local trim_end = require("luarium.text").trim_end

local M = {}

local OUTPUT_LIMIT = 65536 -- bytes of text that a script is expected to say at most

--- What the scripts may use: `need` ends the script when a tool is missing, before a pipe could hide that.
local prelude = [[
LC_ALL=C; export LC_ALL
exists() { [ -e "$1" ] || [ -L "$1" ]; }
need() {
  for tool do
    command -v "$tool" >/dev/null 2>&1 || { echo "$tool: not found" >&2; exit 127; }
  done
}
]]

--- The codes that scripts end with.
local codes = {
  [42] = { "conflict", "EISDIR", "it is a folder" },
  [43] = { "conflict", "EEXIST", "there is something of this name already" },
  [45] = { "not_found", "ENOTDIR", "not a folder" },
  [46] = { "quota", "EFBIG", "too big" },
  [47] = { "io", "EACCES", "permission denied" },
  [48] = { "io", "EPIPE", "the data ended too early" },
  [49] = { "invalid", "EINVAL", "not a regular file" },
}

--- How error lines end, as the C libraries and shells spell it.
local endings = {
  { "no such file or directory", "not_found", "ENOENT" },
  { "no such file", "not_found", "ENOENT" },
  { "directory nonexistent", "not_found", "ENOENT" },
  { "nonexistent directory", "not_found", "ENOENT" },
  { "not a directory", "not_found", "ENOTDIR" },
  { "permission denied", "io", "EACCES" },
  { "operation not permitted", "io", "EPERM" },
  { "no space left on device", "io", "ENOSPC" },
  { "quota exceeded", "io", "EDQUOT" },
  { "read-only file system", "io", "EROFS" },
  { "file name too long", "invalid", "ENAMETOOLONG" },
  { "filename too long", "invalid", "ENAMETOOLONG" },
  { "is a directory", "conflict", "EISDIR" },
  { "file exists", "conflict", "EEXIST" },
  { "directory not empty", "conflict", "ENOTEMPTY" },
  { "too many levels of symbolic links", "io", "ELOOP" },
  { "symbolic link loop", "io", "ELOOP" },
  { "resource busy", "io", "EBUSY" },
  { "text file busy", "io", "ETXTBSY" },
  { "file too large", "io", "EFBIG" },
  { "input/output error", "io", "EIO" },
  { "i/o error", "io", "EIO" },
  { "argument list too long", "invalid", "E2BIG" },
  { "invalid argument", "invalid", "EINVAL" },
}

local function ending_of(line)
  local lower = ascii.lower(line):gsub("[%s%.]+$", "")
  for _, row in ipairs(endings) do
    if lower:sub(-#row[1]) == row[1] then
      return row
    end
  end
end

--- The lines of what a tool said.
---@param text string
---@return string[]
local function lines_of(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line
  end
  return lines
end

--- Whether every line of the text ends like one of these errors.
---@param text string what the tools said
---@param names table<string, boolean> symbolic names such as ENOENT
---@return boolean
function M.only(text, names)
  for _, line in ipairs(lines_of(text)) do
    local row = ending_of(line)
    if not row or not names[row[3]] then
      return false
    end
  end
  return true
end

--- A path for a message: bounded, without control characters.
---@param path string
---@return string
function M.show(path)
  if #path > 200 then
    path = path:sub(1, 120) .. "..." .. path:sub(-70)
  end
  return log.neutral(path)
end

local function missing_tool(what, text)
  local tool = text:match("([%w%._+-]+): not found") or text:match("([%w%._+-]+): command not found") or "a tool"
  local message = "%s: the sandbox has no '%s', which is needed for this: install it in the image"
  return errors.new("unsupported", message:format(what, tool), { name = "ENOENT", data = { tool = tool } })
end

local function from_text(what, result)
  for _, line in ipairs(lines_of(result.stderr)) do
    local row = ending_of(line)
    if row then
      return errors.new(row[2], what .. ": " .. row[1], { name = row[3] })
    elseif line:find("Wrote only %d+ of %d+ bytes") then -- so GNU tar puts it
      return errors.new("io", what .. ": no space left on device", { name = "ENOSPC" })
    elseif line:find("to a subdirectory of itself", 1, true) then
      return errors.new("invalid", what .. ": a folder cannot move into itself", { name = "EINVAL" })
    end
  end
  local said = M.show(trim_end(result.stderr))
  return errors.new("io", ("%s: failed with exit code %s%s"):format(what, tostring(result.exit_code),
    said ~= "" and ": " .. said or ""))
end

--- What went wrong with a script, or nil when it went well.
---@param what string "read /etc/passwd", for the message
---@param result table of exec
---@return luarium.Error?
function M.failure(what, result)
  if result.exit_code == 0 then
    return nil
  elseif result.timed_out then
    return errors.new("timeout", what .. ": the command in the sandbox took too long", { retryable = true })
  elseif result.signal then
    return errors.new("io", ("%s: the command in the sandbox was killed (%s%s)"):format(what, result.signal,
      result.oom and ", out of memory" or ""))
  elseif result.exit_code == 127 then
    return missing_tool(what, result.stderr)
  end
  local row = codes[result.exit_code]
  if row then
    return errors.new(row[1], what .. ": " .. row[3], { name = row[2] })
  end
  return from_text(what, result)
end

--- Checks a path and takes trailing slashes off it.
---@param path any
---@return string? path
---@return luarium.Error? err
function M.path(path)
  if type(path) ~= "string" or path:sub(1, 1) ~= "/" then
    return nil, errors.new("invalid", ("expected an absolute path in the sandbox, got %s"):format(
      type(path) == "string" and M.show(path) or type(path)))
  elseif path:find("\0", 1, true) then
    return nil, errors.new("invalid", "the path contains a NUL byte: " .. M.show(path))
  end
  return (path:gsub("(.)/+$", "%1"))
end

--- A whole number as the shell wants it.
---@param n number
---@return string
function M.number(n)
  return ("%.0f"):format(n)
end

---@class luarium.ShellOptions
---@field stdin string|function|nil
---@field on_stdout fun(chunk: string)?
---@field sink {writer: (fun(): userdata?), poured: fun(count: integer)}? a file that a process which can do so writes
---  its stdout to by itself
---@field max_output integer? bytes; default 64 KiB

--- A script with its arguments as a command.
---@param script string
---@param args string[]
---@return string[] argv
function M.argv(script, args)
  local argv = { "sh", "-c", prelude .. script, "luarium" }
  for _, arg in ipairs(args) do
    argv[#argv + 1] = arg
  end
  return argv
end

--- Runs a script and returns the result of exec, whatever its exit code.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param script string
---@param args string[]
---@param options luarium.ShellOptions?
---@return table? result
---@return luarium.Error? err
function M.exec(self, box, script, args, options)
  options = options or {}
  return self:call("exec", box, { argv = M.argv(script, args) }, {
    cwd = "/", stdin = options.stdin, on_stdout = options.on_stdout, sink = options.sink,
    max_output = options.max_output or OUTPUT_LIMIT,
  })
end

--- Runs a script that must end well.
---@async
---@param what string "read /etc/passwd", for messages
---@return table? result
---@return luarium.Error? err
function M.run(self, box, what, script, args, options)
  local result, err = M.exec(self, box, script, args, options)
  if not result then
    return nil, err
  end
  err = M.failure(what, result)
  if err then
    return nil, err
  end
  return result
end

--- Calls fn; when it fails or is cancelled, calls undo, which may wait, before the failure goes on. An error raised
--- by a callback of ours comes back as `nil, err`; a cancellation is raised again.
---@async
---@param fn fun(): any, luarium.Error?
---@param undo fun()
---@return any value
---@return luarium.Error? err
function M.guarded(fn, undo)
  local ok, value, err = pcall(fn)
  if ok and value ~= nil then
    return value
  end
  pcall(task.shield, 30, undo)
  local reason = task.cancel_reason()
  if not ok and (reason or not errors.is(value)) then
    error(reason or value, 0)
  end
  return nil, ok and err or value
end

return M
