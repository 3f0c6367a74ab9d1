--- Files and trees by the engine's archives: no command runs for them, the image needs no tar, and bytes go as fast as
--- the engine takes them. What archives do not show as commands see it (links, memory file systems, other users'
--- rights) is left to the emulation over exec; so is saying what was wrong.
local container = require "luarium.docker.container"
local emulate = require "luarium.provider.emulate"
local errors = require "luarium.error"
local http = require "luarium.http"
local json = require "luarium.json"
local native = require "luarium.native"
local run = require "luarium.docker.run"
local shell = require "luarium.provider.emulate.shell"
local tar = require "luarium.docker.tar"
local task = require "luarium.task"

local M = {}

local await, archive, fs = task.await, native.archive, native.fs
local IDLE = 120 -- seconds without a byte
local SPECIAL = { "/proc", "/sys", "/dev", "/run/secrets" }

local function no_progress() end

local function must(value, err)
  if value == nil then
    error(err, 0)
  end
  return value
end

-- ---- what can be done by an archive ----

local function is_below(path, folder)
  return path == folder or path:sub(1, #folder + 1) == folder .. "/"
end

--- Whether an archive shows the path as commands see it.
local function is_plain(box, path)
  local data = box.data or {}
  if not data.archives or path:find("\0", 1, true) or path:find("/../", 1, true) or path:sub(1, 1) ~= "/" then
    return false
  end
  for _, list in ipairs({ SPECIAL, data.memory or {} }) do
    for _, folder in ipairs(list) do
      if is_below(path, folder) or is_below(folder, path) or path == "/" then
        return false
      end
    end
  end
  return true
end

local function archive_path(box, path)
  return "/containers/" .. box.external_id .. "/archive?" .. http.encode_query({ path = path })
end

local TYPES = { [8] = "dir", [134217728] = "link" }

--- Facts from the engine's header: {type, size, mode, mtime}; a type that is neither file, folder nor link has none.
local function parse_facts(text)
  local plain = text and native.crypto.base64_decode(text)
  local facts = plain and json.decode_plain(plain)
  local bits = type(facts) == "table" and facts.mode
  if type(bits) ~= "number" or bits % 1 ~= 0 or bits < 0 or bits > 4294967295 then
    return nil
  end
  local permissions = bits % 512
  local high = math.floor(bits / 4096) -- Go's own bits for types and set-uid begin here
  if bits >= 2147483648 then
    return { type = "dir", size = facts.size, mode = permissions, special = bits % 2147483648 >= 512 }
  elseif high == 0 and bits < 512 then
    return { type = "file", size = facts.size, mode = permissions }
  end
  return { type = TYPES[high] or "other", size = facts.size, mode = permissions, special = true }
end

--- What is at a path, as an archive would show it; nil when that is not known this way.
local function look(self, box, path)
  local engine, err = container.engine(self)
  if not engine then
    return nil, nil, err
  end
  local ok
  ok, err = engine:negotiate()
  if not ok then
    return nil, engine, err
  end
  local answer = engine.client:request({ method = "HEAD", path = engine.prefix .. archive_path(box, path), raw = true })
  return answer and parse_facts(answer.headers["x-docker-container-path-stat"]), engine
end

-- ---- down ----

local function reader_of(stream)
  return function()
    local bytes, err = stream:read()
    if err then
      error(err, 0)
    end
    return bytes
  end
end

local function make_parent(path)
  local parent = path:match("^(.*)/[^/]*$")
  if parent and parent ~= "" then
    must(await(fs.mkdir(parent, { parents = true })))
  end
end

local function receive_file(stream, to, facts, on_progress)
  local next_bytes, size = tar.single_file(reader_of(stream))
  if not next_bytes then
    return nil
  end
  make_parent(to)
  local writer = must(await(fs.writer(to, { atomic = true, mode = facts.mode })))
  local done = 0
  return shell.guarded(function()
    for bytes in next_bytes do
      must(await(writer:write(bytes)))
      done = done + #bytes
      on_progress(done, size)
    end
    on_progress(done, size)
    must(await(writer:close()))
    return { files = 1, bytes = size, skipped = {} }
  end, function()
    writer:abort()
  end)
end

local function receive_tree(stream, to, exclude, on_progress)
  make_parent(to)
  local unpacker = must(archive.unpack({ dest = to, links = "skip", exclude = exclude }))
  local done = 0
  return shell.guarded(function()
    while true do
      local bytes, err = stream:read()
      if err then
        return nil, err
      elseif not bytes then
        break
      end
      must(await(unpacker:write(bytes)))
      done = done + #bytes
      on_progress(done, 0)
    end
    local result, err = await(unpacker:finish())
    unpacker:abort()
    for _, entry in ipairs(result and result.skipped or {}) do
      entry.path = entry.path:gsub("^%./", "")
    end
    return result, err
  end, function()
    await(unpacker:abort())
  end)
end

local function receive(self, engine, box, path, facts, fn)
  local is_dir = facts.type == "dir"
  local stream, err = engine:open("GET", archive_path(box, is_dir and path .. "/." or path), { idle_timeout = IDLE })
  if not stream then
    return nil, err
  end
  local ok, value, fault = pcall(fn, stream)
  stream:close()
  if not ok then
    local reason = task.cancel_reason()
    if reason or not errors.is(value) then
      error(reason or value, 0)
    end
    value, fault = nil, value
  end
  if value == nil and fault and fault.kind == "unavailable" then -- the stream was cut: is there still somebody?
    fault = container.explain(self, engine, box.external_id) or fault
  end
  return value, fault
end

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param from string absolute in the container
---@param to string local
---@param options luarium.TransferOptions
---@return {files: integer, bytes: integer, skipped: table}? result
---@return luarium.Error? err
function M.download(self, box, from, to, options)
  local path = shell.path(from)
  local facts, engine
  if path and is_plain(box, path) then
    facts, engine = look(self, box, path)
  end
  if not facts or facts.type ~= "dir" and facts.type ~= "file" then
    return emulate.download(self, box, from, to, options)
  end
  local on_progress = options.on_progress or no_progress
  to = to:gsub("(.)/+$", "%1")
  local what = ("download %s to %s"):format(shell.show(from), shell.show(to))
  local result, err = receive(self, engine, box, path, facts, function(stream)
    if facts.type == "dir" then
      return receive_tree(stream, to, options.exclude, on_progress)
    end
    return receive_file(stream, to, facts, on_progress)
  end)
  if not result and (not err or err.status) then
    return emulate.download(self, box, from, to, options)
  end
  return result, err and err:wrap(what)
end

-- ---- up ----

--- Sends an archive into a folder of the container: a list of texts and functions that give bytes.
local function put(engine, box, folder, parts, replace)
  local path = archive_path(box, folder) .. (replace and "" or "&noOverwriteDirNonDir=1")
  local stream, err = engine:open("PUT", path, {
    body = true, headers = { ["Content-Type"] = "application/x-tar" }, idle_timeout = IDLE,
  })
  if not stream then
    return nil, err
  end
  local function send()
    for _, part in ipairs(parts) do
      local source = part
      if type(part) == "string" then
        local given = false
        source = function()
          local bytes = not given and part or nil
          given = true
          return bytes
        end
      end
      for bytes in source do
        local ok, fault = stream:write(bytes)
        if not ok then
          return nil, fault
        end
      end
    end
    return stream:finish_write()
  end
  local function converse()
    local sent, send_error = send()
    local answer, fault = stream:response()
    if not answer then
      return nil, send_error or fault
    elseif answer.status >= 400 then
      return nil, engine:refusal(stream, "PUT", path:match("^[^?]*"))
    elseif not sent then
      return nil, send_error
    end
    return true
  end
  local ok, value, fault = pcall(converse)
  stream:close()
  if not ok then
    error(value, 0)
  end
  return value, fault
end

--- The bytes of a reader or packer, counted.
local function chunks(source, total, on_progress)
  local done = 0
  return function()
    local bytes, err = await(source:read())
    if err then
      error(err, 0)
    elseif bytes then
      done = done + #bytes
      on_progress(done, total)
    end
    return bytes
  end
end

-- Moves what came into place. $1 where it lies, $2 where it belongs, $3 "dir" or "file".
local FINISH = [[
if [ "$3" = dir ]; then
  [ -e "$2" ] || [ -L "$2" ] && { rm -rf "$1"; exit 43; }
else
  [ -d "$2" ] && { rm -rf "$1"; exit 42; }
  [ ! -f "$2" ] || { owner=$(stat -c %u:%g "$2") && chown "$owner" "$1"; } 2>/dev/null
fi
mv -f "$1" "$2" || { rm -rf "$1"; exit 1; }
]]

local function finish(self, box, what, temp, to, kind)
  local result, err = shell.exec(self, box, FINISH, { temp, to, kind })
  if not result then
    return nil, err
  end
  err = shell.failure(what, result)
  return not err or nil, err
end

local function discard(engine, box, temp)
  run.run(engine, box.external_id, { "/bin/sh", "-c", 'rm -rf "$1"', "sh", temp })
end

--- Where the pieces lie until they are complete.
local function temporary(to)
  local folder = to:match("^(.*)/[^/]*$")
  return folder .. "/.luarium-" .. native.crypto.ulid()
end

local function upload_file(self, engine, box, what, from, to, stat, on_progress)
  local temp = temporary(to)
  local head = tar.entry(temp:sub(2), stat.mode % 512, stat.size, "file")
  local reader = must(await(fs.reader(from, { length = stat.size })))
  return shell.guarded(function()
    local sent = 0
    local bytes = chunks(reader, stat.size, function(done, total)
      sent = done
      on_progress(done, total)
    end)
    local function exact()
      local piece = bytes()
      if not piece and sent < stat.size then
        errors.raise("io", what .. ": the file became shorter while it was sent", { name = "EPIPE" })
      end
      return piece
    end
    local ok, err = put(engine, box, "/", { head, exact, tar.finish(stat.size) }, true)
    reader:close()
    if not ok then
      return nil, err
    end
    ok, err = finish(self, box, what, temp, to, "file")
    return ok and { files = 1, bytes = stat.size, skipped = {} }, err
  end, function()
    reader:close()
    discard(engine, box, temp)
  end)
end

local function upload_tree(self, engine, box, what, from, to, facts, options)
  local packer, err = archive.pack({ root = from, format = "tar", exclude = options.exclude })
  if not packer then
    return nil, err
  end
  local temp = not facts and temporary(to)
  return shell.guarded(function()
    local ok, fault = true, nil
    if temp then
      ok, fault = put(engine, box, "/", { tar.entry(temp:sub(2), 493, 0, "dir"), tar.finish(0) }, true)
    end
    if ok then
      ok, fault = put(engine, box, temp or to, { chunks(packer, 0, options.on_progress or no_progress) })
    end
    local stats = ok and packer:stats()
    packer:close()
    if ok and temp then
      ok, fault = finish(self, box, what, temp, to, "dir")
    end
    return ok and { files = stats.files, dirs = stats.dirs, links = stats.links, bytes = stats.bytes, skipped = {},
      skipped_count = stats.skipped } or nil, fault
  end, function()
    packer:close()
    if temp then
      discard(engine, box, temp)
    end
  end)
end

--- Whether the target is one that an archive may fill: not there, or of the same kind.
local function fits(facts, kind)
  return not facts or facts.type == kind and not facts.special
end

---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param from string local
---@param to string absolute in the container
---@param options luarium.TransferOptions
---@return {files: integer, bytes: integer, skipped: table}? result
---@return luarium.Error? err
function M.upload(self, box, from, to, options)
  local path = shell.path(to)
  local stat = await(fs.stat(from))
  local kind = stat and stat.type
  if not path or not is_plain(box, path) or path == "/" or kind ~= "dir" and kind ~= "file"
    or kind == "file" and (stat.size == 0 or stat.size > 8589934591) then
    return emulate.upload(self, box, from, to, options)
  end
  local facts, engine, err = look(self, box, path)
  if not engine then
    return nil, err
  elseif not fits(facts, kind) then
    return emulate.upload(self, box, from, to, options)
  end
  local what = ("upload %s to %s"):format(shell.show(from), shell.show(to))
  local result
  if kind == "dir" then
    result, err = upload_tree(self, engine, box, what, from, path, facts, options)
  else
    result, err = upload_file(self, engine, box, what, from, path, stat, options.on_progress or no_progress)
  end
  if not result and err.status and err.status < 500 then -- what an archive cannot do; or the emulation says it better
    return emulate.upload(self, box, from, to, options)
  elseif not result and (err.status or err.kind == "unavailable") then
    return nil, container.explain(self, engine, box.external_id) or err
  end
  return result, err
end

return M
