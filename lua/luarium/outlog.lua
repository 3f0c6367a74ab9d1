--- What sandboxes wrote and what was done to them, kept in a file for each: STATE/logs/<id>.log, without secrets.
--- Records are lines of JSON; `bytes` in one says how long the output is that follows, as it is: encoding it would cost
--- more than running the command. A file that has grown large becomes <id>.log.1, in place of the one before.
local compat = require "luarium.compat"
local config = require "luarium.config"
local errors = require "luarium.error"
local event = require "luarium.event"
local file_type = require "luarium.file_type"
local json = require "luarium.json"
local native = require "luarium.native"
local registry = require "luarium.registry"
local task = require "luarium.task"
local utf8 = require "luarium.utf8"

local await = task.await
local fs = native.fs

local M = {}

M.MAX_BYTES = 4194304 -- of one file; two are kept
local MAX_FILES, KEPT_FILES = 400, 300 -- of sandboxes that are gone
local MAX_OPEN = 32
local READ_MOST = 4 * M.MAX_BYTES -- a file that is larger was not written here
local PIECE = 65536 -- bytes of output in a record: it is one write, so that those of several processes do not mix

---@class luarium.OutlogRecord
---@field time number seconds since the epoch
---@field stream "stdout"|"stderr"|nil
---@field text string? with stream
---@field event string? such as "sandbox.exec"
---@field phase "start"|"stop"|"error"|nil
---@field command string?
---@field detail string? of an operation without a command: the address of a clone, remote and branch of a push
---@field job string? the key of the job that wrote it, or that it was done to
---@field state string? how a job was when its start was answered
---@field started boolean? false: the job was there already
---@field exit_code integer?
---@field error string?

local function folder()
  return config.state_dir() .. "/logs"
end

---@param id string
---@return string
function M.path(id)
  return folder() .. "/" .. id .. ".log"
end

-- ---- writing ----

local files, open_count = {}, 0

local function close(id)
  if files[id] then
    files[id]:close()
    files[id], open_count = nil, open_count - 1
  end
end

local function close_all()
  for id in pairs(files) do
    close(id)
  end
end

--- Opens a file, and nothing else: a FIFO in its place would be waited for.
local function open_file(path, mode)
  local kind = fs.type(path)
  return (kind == "file" or not kind) and io.open(path, mode) or nil
end

local function file_for(id)
  if not files[id] then
    if open_count >= MAX_OPEN then
      close_all()
    end
    local file = open_file(M.path(id), "a")
    if not file then
      return nil -- a full disk or a folder that is gone: the sandbox matters more than its log
    end
    file:setvbuf("full", 2 * PIECE)
    files[id], open_count = file, open_count + 1
  end
  return files[id]
end

--- The first line of a file, and the file, which the caller closes; nil when there is none.
local function first_line(path)
  local file = open_file(path, "rb")
  if file and file:seek("end") > READ_MOST then
    file:close()
    return nil
  end
  return file and file:seek("set") and file:read("*L"), file
end

local function size_of(path)
  local file = open_file(path, "rb")
  if not file then
    return nil
  end
  local size = file:seek("end")
  file:close()
  return size
end

--- The file under the name is put aside when it has grown: another writer may have done so, and ours was the old one.
local function put_aside(id)
  local path = M.path(id)
  if (size_of(path) or 0) > M.MAX_BYTES then
    if not os.rename(path, path .. ".1") then -- a folder is there: better no log than one without bounds
      os.remove(path)
    end
  end
end

local function append(id, record, output)
  local line = json.encode(record)
  local file = line and file_for(id)
  if not file then
    return
  end
  file:write(line, "\n")
  if output then
    file:write(output, "\n")
  end
  file:flush()
  if (file:seek("end") or 0) > M.MAX_BYTES then
    close(id)
    put_aside(id)
  end
end

local viewing = false

--- What is followed from now on is only looked at: shown twice, it would be in the log twice.
function M.only_view()
  viewing = true
end

local function on_output(record)
  if viewing or not registry.is_id(record.sandbox) then
    return
  end
  local at = 1
  while at <= #record.text do
    local piece = record.text:sub(at, at + PIECE - 1)
    if at + PIECE <= #record.text then
      piece = piece:sub(1, #piece - utf8.unfinished(piece)) -- a character stays in one
    end
    append(record.sandbox, { time = record.time, stream = record.stream, job = record.job, bytes = #piece }, piece)
    at = at + #piece
  end
end

--- What an operation without a command is about.
local function detail_of(record)
  local remote = record.remote and (record.ref and record.remote .. " " .. record.ref or record.remote)
  local detail = record.url or remote
  return type(detail) == "string" and detail or nil
end

local function on_operation(record)
  if not registry.is_id(record.sandbox) or not record.phase then
    return
  end
  local result = record.result or {}
  append(record.sandbox, { time = record.time, event = record.event, phase = record.phase, command = record.command,
    detail = record.phase == "start" and detail_of(record) or nil,
    name = record.phase == "start" and record.event == "sandbox.create" and record.name or nil,
    job = record.job, state = record.job and result.state, started = record.job and result.started,
    exit_code = result.exit_code, signal = result.signal, timed_out = result.timed_out or nil,
    duration = record.duration, error = record.error and record.error.message })
  if record.event == "sandbox.destroy" then
    close(record.sandbox)
  elseif record.event == "sandbox.fork" and record.phase == "stop" then -- where the copy's own log begins
    append(record.copy, { time = record.time, event = record.event, phase = record.phase, name = record.copy_name,
      duration = record.duration })
  end
end

--- Removes the oldest logs of sandboxes that are gone when there are many.
local function prune()
  local entries = await(fs.ls(folder()))
  if not entries or #entries <= MAX_FILES then
    return
  end
  table.sort(entries, function(a, b)
    return a.mtime < b.mtime
  end)
  for i = 1, #entries - KEPT_FILES do
    local id = entries[i].name:match("^(sbx_%w+)%.log")
    if id and not registry.get(id) then
      os.remove(folder() .. "/" .. entries[i].name)
    end
  end
end

--- Keeps logs from now on, as long as the process lives.
---@async
function M.start()
  for _, dir in ipairs({ config.state_dir(), folder() }) do
    if not await(fs.mkdir(dir, { parents = true, mode = 448 })) then -- 0700
      return -- nothing else can be kept there either, which says so itself
    end
  end
  prune()
  event.on("output", on_output)
  event.on("sandbox", on_operation)
end

-- ---- reading ----

--- The name that a sandbox was created with: in the first record, while that is kept.
local function name_of(id)
  for _, path in ipairs({ M.path(id) .. ".1", M.path(id) }) do
    local line, file = first_line(path)
    if file then
      file:close()
      local record = json.decode_plain(line or "")
      return type(record) == "table" and type(record.name) == "string" and record.name or nil
    end
  end
end

--- The logs there are, also of sandboxes that are gone; those that were written last at the end.
---@async
---@return {id: string, name: string?, written: number}[] written: seconds since the epoch
function M.kept()
  local list = {}
  for _, entry in ipairs(await(fs.ls(folder())) or {}) do
    local id = entry.type == "file" and entry.name:match("^(sbx_%w+)%.log$")
    list[#list + 1] = id and { id = id, name = name_of(id), written = entry.mtime } or nil
  end
  table.sort(list, function(a, b)
    return a.written < b.written
  end)
  return list
end

--- When something was last written of the sandbox.
---@async
---@param id string
---@return number? time seconds since the epoch
function M.last_active(id)
  local entry = await(fs.stat(M.path(id)))
  return entry and entry.mtime or nil
end

---@class luarium.OutlogReader
---@field current boolean the file is the one that grows
---@field first string? the file's first line, which tells it from others
---@field damaged integer places that had no record and were passed over
local Reader = {}
Reader.__index = Reader

--- What the name of a log must be: a file of a size that was written here, or nothing.
local function check_file(path)
  local kind = fs.type(path)
  if kind and kind ~= "file" then
    errors.raise("io", ("the log %s is no file but a %s: move it away"):format(path,
      kind == "dir" and "folder" or file_type[kind] or kind))
  elseif (size_of(path) or 0) > READ_MOST then
    errors.raise("io", ("the log %s is larger than any that is written here (%d bytes): move it away"):format(path,
      READ_MOST))
  end
end

--- Reads a log from its beginning. Raises when something else has its name.
---@param id string
---@return luarium.OutlogReader
function M.reader(id)
  local self = setmetatable({ path = M.path(id), current = false, damaged = 0 }, Reader)
  check_file(self.path)
  check_file(self.path .. ".1")
  if not self:open() then
    self.current = true
  end
  return self
end

--- Opens the file that is to be read now, when it is there.
function Reader:open()
  self.first, self.file = first_line(self.current and self.path or self.path .. ".1")
  if self.file then
    self.file:seek("set", 0)
  end
  return self.file
end

--- Whether the file that was read is the one before the current one. If not, another was between them.
local function is_last_but_one(self)
  local line, file = first_line(self.path .. ".1")
  if file then
    file:close()
  end
  return not file or line == self.first
end

local PHASES = { start = true, stop = true, error = true }
local MAX_TIME = 1e11 -- the year 5138

--- Fields of an operation that are there have a type of their own.
local function has_types(value)
  for key, wanted in pairs({ command = "string", detail = "string", name = "string", signal = "string",
    job = "string", state = "string", started = "boolean", error = "string", exit_code = "number",
    duration = "number", timed_out = "boolean" }) do
    if value[key] ~= nil and type(value[key]) ~= wanted then
      return false
    end
  end
  return compat.is_integer(value.exit_code or 0) and (value.duration or 0) >= 0
    and (value.phase == nil or PHASES[value.phase] == true)
end

local function is_record(value)
  if type(value) ~= "table" or type(value.time) ~= "number" or not (value.time >= 0 and value.time <= MAX_TIME) then
    return false
  elseif value.bytes then
    return (value.stream == "stdout" or value.stream == "stderr") and type(value.bytes) == "number"
      and value.bytes >= 0 and value.bytes <= PIECE and value.bytes % 1 == 0
      and (value.job == nil or type(value.job) == "string")
  end
  return type(value.event) == "string" and not value.stream and has_types(value)
end

--- The record at the place of the file, when it is whole; else the place stays. What is no record is passed over.
local function next_record(file)
  local place = file:seek("cur")
  local line = file:read("*L")
  if not line or line:sub(-1) ~= "\n" then
    file:seek("set", place)
    return nil
  end
  local record = json.decode_plain(line)
  if not is_record(record) then
    return nil, true
  end
  if record.bytes then
    local text = file:read(math.floor(record.bytes) + 1) or ""
    if #text <= record.bytes then
      file:seek("set", place)
      return nil
    elseif text:sub(-1) ~= "\n" then -- the length is wrong
      file:seek("set", place + #line)
      return nil, true
    end
    record.text, record.bytes = text:sub(1, -2), nil
  end
  return record
end

--- The file was renamed since: what comes goes into another one, which is shorter.
local function was_replaced(self)
  local size = size_of(self.path)
  return size ~= nil and size < self.file:seek("cur")
end

--- The next record that is there, or nil.
---@return luarium.OutlogRecord?
function Reader:next()
  while true do
    local record, damaged
    if self.file or self:open() then
      record, damaged = next_record(self.file)
    end
    if damaged and not self.in_damage then
      self.damaged = self.damaged + 1
    end
    self.in_damage = damaged
    if record then
      return record
    elseif not damaged and not (self.file and self:move_on()) then
      return nil
    end
  end
end

--- Counts what is left at the end of a file to which nothing more comes.
function Reader:give_up()
  local place = self.file and self.file:seek("cur")
  if place and self.file:seek("end") > place and not self.in_damage then
    self.damaged = self.damaged + 1
  end
end

--- At the end of a file: whether there is another.
function Reader:move_on()
  if not self.current then
    self.current = true
  elseif was_replaced(self) then
    self.current = is_last_but_one(self)
  else
    return false
  end
  self:give_up()
  self.file:close()
  self.file = nil
  return true
end

function Reader:close()
  if self.file then
    self.file:close()
    self.file = nil
  end
end

return M
