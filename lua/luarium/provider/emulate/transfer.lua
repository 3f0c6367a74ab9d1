--- Files and trees into a sandbox and out of it, streamed through the stdin and stdout of a command.
local errors = require "luarium.error"
local file_type = require "luarium.file_type"
local files = require "luarium.provider.emulate.files"
local native = require "luarium.native"
local shell = require "luarium.provider.emulate.shell"
local task = require "luarium.task"

local archive, fs = native.archive, native.fs
local await = task.await

local M = {}

local function must(value, err)
  if value == nil then
    error(err, 0)
  end
  return value
end

local function no_progress() end

-- ---- up ----

--- The chunks of a reader or packer, counted on the way.
local function chunks(source, total, on_progress)
  local done = 0
  return function()
    local bytes, err = await(source:read())
    if bytes == nil then
      if err then
        error(err, 0)
      end
      return nil
    end
    done = done + #bytes
    on_progress(done, total)
    return bytes
  end
end

local function upload_file(self, box, what, from, to, stat, options)
  -- Files of /proc say that they are empty; any other must arrive with the size it has now.
  local sized = stat.size > 0
  local reader, err = await(fs.reader(from, { length = sized and stat.size or nil }))
  if not reader then
    return nil, err
  end
  local sent = 0
  local function on_progress(done, total)
    sent = done;
    (options.on_progress or no_progress)(done, total)
  end
  local ok, value, failure = pcall(files.store, self, box, what, to, chunks(reader, stat.size, on_progress), {
    mode = stat.mode % 512, size = sized and stat.size or nil,
  })
  reader:close()
  if not ok then
    error(value, 0)
  elseif not value then
    return nil, failure
  end
  return { files = 1, bytes = sent, skipped = {} }
end

-- A tree goes into an existing folder at once; a folder that is made for it appears when it is complete. tar does not
-- notice when the stream is cut between two files, so that the last one is a mark.
local UNPACK = [[
need tar mkdir mv rm
unpack() {
  tar -xpof - -C "$1" || exit 1
  exists "$1/.luarium-$2" || exit 48
  rm -f "$1/.luarium-$2" || exit 1
}
if [ -d "$1" ]; then
  unpack "$1" "$2"
  exit
fi
exists "$1" && exit 43
folder=${1%/*}
folder=${folder:-/}
[ -d "$folder" ] || mkdir -p "$folder" || exit 1
temp=$folder/.luarium-$2
mkdir "$temp" || exit 1
trap 'rm -rf "$temp"' EXIT
trap 'exit 1' HUP INT TERM
unpack "$temp" "$2"
mv "$temp" "$1" || exit 1
trap - EXIT
]]

--- What is there after an upload whose end nobody could see.
local function tell_rest(err, to)
  if err.kind == "unavailable" then
    err.message = ("%s; %s was not made, or is complete; where it was there before, some files may be new"):format(
      err.message, shell.show(to))
  end
  return err
end

local function upload_tree(self, box, what, from, to, options)
  local token = native.crypto.ulid()
  -- GNU headers: busybox tar ignores the extended ones of pax and would cut long names.
  local packer, err = archive.pack({
    root = from, format = "tar", exclude = options.exclude, mark = ".luarium-" .. token,
  })
  if not packer then
    return nil, err
  end
  local ok, value, failure = pcall(files.beside, self, box, what, to, token, function()
    return shell.exec(self, box, UNPACK, { to, token }, {
      stdin = chunks(packer, 0, options.on_progress or no_progress),
    })
  end)
  local stats = ok and value and packer:stats()
  packer:close()
  if not ok then
    error(value, 0)
  elseif not value then
    return nil, tell_rest(failure, to)
  end
  return { files = stats.files, dirs = stats.dirs, links = stats.links, bytes = stats.bytes, skipped = {},
    skipped_count = stats.skipped }
end

---@class luarium.TransferOptions
---@field exclude string[]? globs of what to leave out of a tree
---@field on_progress fun(done: integer, total: integer)? bytes; total is 0 while unknown

--- Copies a local file or tree to exactly this path. A tree merges into an existing folder.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param from string local path
---@param to string absolute in the sandbox
---@param options luarium.TransferOptions?
---@return {files: integer, bytes: integer, skipped: table}? result
---@return luarium.Error? err
function M.upload(self, box, from, to, options)
  local clean, err = shell.path(to)
  if not clean then
    return nil, err
  end
  local stat
  stat, err = await(fs.stat(from))
  if not stat then
    return nil, err
  end
  local what = ("upload %s to %s"):format(shell.show(from), shell.show(to))
  if stat.type == "dir" then
    return upload_tree(self, box, what, from, clean, options or {})
  elseif stat.type ~= "file" then
    return nil, errors.new("invalid", ("%s: not a regular file or folder but a %s"):format(what,
      file_type[stat.type] or stat.type))
  end
  return upload_file(self, box, what, from, clean, stat, options or {})
end

-- ---- down ----

-- The first line says what follows: the bytes of a file, or a tar of a folder. A file that is larger than $1 is left to
-- somebody else.
local PACK = [[
need stat
most=$1
shift
facts=$(stat -L -c '%f %s' "$1") || exit 1
echo "$facts"
if [ -d "$1" ]; then
  need tar
  path=$1
  shift
  if [ $# -gt 0 ] && tar --no-wildcards-match-slash --version >/dev/null 2>&1; then
    set -- --no-wildcards-match-slash "$@"
  fi
  exec tar -cf - -C "$path" "$@" .
fi
[ -f "$1" ] || exit 49
[ -z "$most" ] || [ "${facts#* }" -lt "$most" ] || exit 0
need cat
exec cat <"$1"
]]

local ANNOUNCEMENT = 256 -- bytes that its line may have at most

--- The globs for tar, in the way of the packer: one with a slash means the whole path, any other each name in it.
local function exclusions(globs)
  local list = {}
  for _, glob in ipairs(globs or {}) do
    list[#list + 1] = "--exclude=" .. (glob:find("/", 1, true) and "./" or "") .. glob
  end
  return list
end

local function make_parent(path)
  local parent = path:match("^(.*)/[^/]*$")
  if parent and parent ~= "" then
    must(await(fs.mkdir(parent, { parents = true })))
  end
end

--- Where the bytes of a file go: beside the target, and in its place when all have come.
local function file_sink(what, path, mode, size)
  make_parent(path)
  local writer, count = must(await(fs.writer(path, { atomic = true, mode = mode % 512 }))), 0
  return {
    total = size,
    writer = writer,
    poured = function(bytes)
      count = count + bytes
    end,
    write = function(bytes)
      count = count + #bytes
      must(await(writer:write(bytes)))
    end,
    finish = function()
      if count < size then
        return nil, errors.new("io", ("%s: only %d of %d bytes came"):format(what, count, size), { name = "EPIPE" })
      end
      local ok, err = await(writer:close())
      if not ok then
        return nil, err
      end
      return { files = 1, bytes = count, skipped = {} }
    end,
    abort = function()
      writer:abort()
    end,
  }
end

local function tree_sink(path)
  make_parent(path)
  local unpacker = must(archive.unpack({ dest = path, links = "skip" }))
  return {
    total = 0,
    write = function(bytes)
      must(await(unpacker:write(bytes)))
    end,
    finish = function()
      local result, err = await(unpacker:finish())
      unpacker:abort() -- releases it now: compiled code may keep it from the collector
      for _, entry in ipairs(result and result.skipped or {}) do
        entry.path = entry.path:gsub("^%./", "") -- tar was given "."
      end
      return result, err
    end,
    abort = function()
      await(unpacker:abort())
    end,
  }
end

--- Splits the announcement off the stream and hands the rest to the sink that it asks for.
local function receiver(what, path, options)
  local self, head, done = {}, "", 0
  local function tell(count)
    done = done + count;
    (options.on_progress or no_progress)(done, self.sink.total)
  end
  local function open(line)
    local hex, size = line:match("^(%x+) (%d+)$")
    if not hex then
      errors.raise("protocol", what .. ": the sandbox gave an answer that makes no sense")
    end
    local kind, mode = files.mode(hex)
    if kind == "dir" then
      self.sink = tree_sink(path)
    elseif kind == "file" then
      self.sink = file_sink(what, path, mode, tonumber(size))
    end
  end
  function self.on_stdout(bytes)
    if not self.sink then
      local before = #head
      head = head .. bytes:sub(1, ANNOUNCEMENT)
      local stop = head:find("\n", 1, true)
      if not stop and #head < ANNOUNCEMENT then
        return
      end
      bytes = bytes:sub((stop or 0) - before + 1)
      open(head:sub(1, (stop or 1) - 1))
    end
    if bytes ~= "" and self.sink then
      self.sink.write(bytes)
      tell(#bytes)
    end
  end
  --- What takes the bytes of stdout without us, once it is known.
  function self.writer()
    return self.sink and self.sink.writer
  end
  function self.poured(count)
    self.sink.poured(count)
    tell(count)
  end
  return self
end

--- tar says 1 when a file changed under its eyes; what it read of it is complete all the same.
local function only_changes(result)
  if result.exit_code ~= 1 then
    return false
  end
  for line in result.stderr:gmatch("[^\n]+") do
    if not line:find("changed as we read it", 1, true) and not line:find("removed before we read it", 1, true)
      and not line:find("socket ignored", 1, true) then
      return false
    end
  end
  return result.stderr ~= ""
end

local function download_failure(what, result)
  if result.stderr:find("unrecognized option.*%-%-exclude") then
    return errors.new("unsupported", what .. ": the tar in the sandbox knows no --exclude: install GNU tar in the "
      .. "image, or leave out `exclude`")
  end
  return shell.failure(what, result)
end

--- Another way for large files.
---@class luarium.LargeFiles
---@field least integer bytes from where it is taken
---@field fetch fun(what: string, from: string, sink: {writer: userdata, total: integer, poured: fun(count: integer)}):
---  boolean? ok, luarium.Error? err false: it cannot be done that way

--- Copies a file or tree of the sandbox to exactly this local path, where it appears when it is complete. Links that
--- lead out of the tree are left out and listed in `skipped`.
---@async
---@param self luarium.ProviderInstance
---@param box luarium.BoxRecord
---@param from string absolute in the sandbox
---@param to string local path
---@param options luarium.TransferOptions?
---@param large luarium.LargeFiles?
---@return {files: integer, bytes: integer, skipped: table}? result
---@return luarium.Error? err
function M.download(self, box, from, to, options, large)
  local clean, err = shell.path(from)
  if not clean then
    return nil, err
  end
  local what = ("download %s to %s"):format(shell.show(from), shell.show(to))
  options = options or {}
  local into, args = receiver(what, (to:gsub("(.)/+$", "%1")), options),
    { large and shell.number(large.least) or "", clean }
  for _, arg in ipairs(exclusions(options.exclude)) do
    args[#args + 1] = arg
  end
  local declined = false
  local done, failure = shell.guarded(function()
    local result, fault = shell.exec(self, box, PACK, args, { on_stdout = into.on_stdout, sink = into })
    if not result then
      return nil, fault
    end
    fault = not (into.sink and only_changes(result)) and download_failure(what, result)
    if fault then
      return nil, fault
    elseif not into.sink then
      return nil, errors.new("protocol", what .. ": the sandbox sent nothing")
    elseif large and into.sink.writer and into.sink.total >= large.least then
      local ok
      ok, fault = large.fetch(what, clean, { writer = into.sink.writer, total = into.sink.total, poured = into.poured })
      if not ok then
        declined = ok == false
        return nil, fault
      end
    end
    return into.sink.finish()
  end, function()
    if into.sink then
      into.sink.abort()
    end
  end)
  if declined then
    return M.download(self, box, from, to, options)
  end
  return done, failure
end

return M
