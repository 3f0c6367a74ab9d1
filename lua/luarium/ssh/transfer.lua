--- Large files. Over long ways: a channel holds 2 MiB that the other side has not asked for yet, so that a stream
--- carries no more than that in the time of a round trip. A file goes up in several streams at once, each with a part
--- of it; what comes down gets a larger window, which is ours to choose. Over short ways ciphering is what takes long:
--- the parts go over connections of their own (luarium.ssh.lanes).
local errors = require "luarium.error"
local files = require "luarium.provider.emulate.files"
local lanes = require "luarium.ssh.lanes"
local native = require "luarium.native"
local shell = require "luarium.provider.emulate.shell"
local task = require "luarium.task"
local transfer = require "luarium.provider.emulate.transfer"

local await = task.await
local fs = native.fs

local M = {}

local MIB = 1048576
local FAR = 0.008 -- seconds for starting a command, from where several streams are worth their start
local LARGE = 8 * MIB -- bytes of a file that is sent in parts
local STREAMS = 8
local WINDOW = 32 * MIB
local BLOCK = 131072 -- bytes that dd writes at a time; parts begin at a multiple of it

-- Makes the file that the parts are written to, beside the target, and prints its path.
local BEGIN = files.RESOLVE .. [[
need cat dd stat chmod mv rm mkdir
[ ! -d "$1" ] || exit 42
resolve "$1" || exit 1
[ -d "$folder" ] || mkdir -p "$folder" || exit 1
exists "$path" && [ ! -f "$path" ] && exit 49
temp=$folder/.luarium-$2
(umask 077; : >"$temp") || exit 1
dd iflag=fullblock </dev/null >>"$temp" 2>/dev/null || { rm -f "$temp"; exit 1; }
printf %s "$temp"
]]

-- What dd says first tells whether all of it came. When not, the connection was lost, perhaps for ever, and nobody else
-- will remove the file.
local PART = [[
[ -f "$1" ] || exit 48
said=$(dd of="$1" bs=131072 seek="$2" iflag=fullblock conv=notrunc 2>&1) || { echo "$said" >&2; exit 1; }
case $said in
  "$3 records in"*) ;;
  *) rm -f "$1"; exit 48 ;;
esac
]]

--- The arguments of PART.
local function part_args(temp, part)
  local whole = math.floor(part.length / BLOCK)
  local records = ("%s+%d"):format(shell.number(whole), part.length > whole * BLOCK and 1 or 0)
  return { temp, shell.number(part.offset / BLOCK), records }
end

-- The whole file, put into place.
local FINISH = files.RESOLVE .. [[
resolve "$1" || exit 1
temp=$folder/.luarium-$2
[ "$(stat -c %s "$temp")" = "$3" ] || exit 48
if [ -f "$path" ]; then
  facts=$(stat -c '%u:%g' "$path") && chown "$facts" "$temp" 2>/dev/null
fi
chmod "$4" "$temp" || exit 1
if ! mv -f "$temp" "$path"; then
  [ -f "$path" ] && cat "$temp" >"$path" || exit 1
  rm -f "$temp"
fi
]]

local DROP = files.RESOLVE .. [[
resolve "$1" && rm -f "$folder/.luarium-$2"
]]

local function check(what, result, err)
  if not result then
    return nil, err
  end
  err = shell.failure(what, result)
  if err then
    return nil, err
  end
  return result
end

local function send_part(self, box, what, part, tell)
  local reader, err = await(fs.reader(part.from, { offset = part.offset, length = part.length }))
  if not reader then
    return nil, err
  end
  local sent = 0
  local ok, result, fault = pcall(shell.exec, self, box, PART, part_args(part.temp, part), {
    stdin = function()
      local bytes, failure = await(reader:read())
      if failure then
        error(failure, 0)
      end
      if bytes then
        sent = sent + #bytes
        tell(#bytes)
      end
      return bytes
    end,
  })
  reader:close()
  if not ok then
    error(result, 0)
  end
  result, err = check(what, result, fault)
  if sent < part.length and (result or err.name == "EPIPE") then
    return nil, errors.new("io", ("%s: the file has become shorter meanwhile"):format(what), { name = "EPIPE" })
  end
  return result, err
end

--- Tells how much there is of a file whose parts are counted.
local function counter(size, on_progress)
  local done = 0
  return function(count)
    done = done + count
    if on_progress then
      on_progress(done, size)
    end
  end
end

local function send_streams(self, box, what, from, temp, size, tell)
  local each = math.ceil(size / STREAMS / MIB) * MIB
  local parts = {}
  for offset = 0, size - 1, each do
    parts[#parts + 1] = { from = from, temp = temp, offset = offset, length = math.min(each, size - offset) }
  end
  task.map(parts, function(part)
    local ok, err = send_part(self, box, what, part, tell)
    if not ok then
      error(err, 0)
    end
  end, { concurrency = STREAMS })
  return true
end

local function send_lanes(machine, box, what, from, temp, size, tell)
  local reader, err = await(fs.reader(from))
  if not reader then
    return nil, err
  end
  local ok, done = pcall(lanes.send, machine, what, {
    box = box, file = reader, script = PART, tell = tell, args = function(part)
      return part_args(temp, part)
    end,
  }, size)
  reader:close()
  if not ok then
    error(done, 0)
  end
  return done
end

--- Sends a file in parts. False: that is not possible here, and nothing is left of it.
---@param send fun(what: string, temp: string, tell: fun(count: integer)): boolean?, luarium.Error? false: as above
---@return table|false|nil result
---@return luarium.Error? err
local function upload_parts(self, box, from, to, stat, options, send)
  local clean, err = shell.path(to)
  if not clean then
    return nil, err
  end
  local what = ("upload %s to %s"):format(shell.show(from), shell.show(to))
  local token = native.crypto.ulid()
  local ended, declined = false, false
  local result, failure = shell.guarded(function()
    local begun
    begun, err = shell.exec(self, box, BEGIN, { clean, token })
    if not begun then
      return nil, err
    elseif begun.exit_code ~= 0 then
      declined = true -- the usual way finds another one, or tells what is wrong
      return nil
    end
    local sent, fault = send(what, begun.stdout, counter(stat.size, options.on_progress))
    if not sent then
      declined = sent == false
      return nil, fault
    end
    local finished
    finished, fault = check(what, shell.exec(self, box, FINISH, {
      clean, token, shell.number(stat.size), ("%o"):format(stat.mode % 512),
    }))
    if not finished then
      return nil, fault
    end
    ended = true
    return { files = 1, bytes = stat.size, skipped = {} }
  end, function()
    if not ended then
      shell.exec(self, box, DROP, { clean, token })
    end
  end)
  if declined then
    return false
  end
  return result, failure
end

--- As upload of the contract.
---@async
---@param self luarium.ProviderInstance
---@param machine luarium.ssh.Machine
---@param box luarium.BoxRecord
---@return table? result
---@return luarium.Error? err
function M.upload(self, machine, box, from, to, options)
  local far = machine.pool.quickest > FAR
  local stat = (far or lanes.wanted(machine)) and await(fs.stat(from))
  local result, err = false, nil
  if stat and stat.type == "file" and stat.size >= (far and LARGE or lanes.LEAST) then
    result, err = upload_parts(self, box, from, to, stat, options or {}, function(what, temp, tell)
      if far then
        return send_streams(self, box, what, from, temp, stat.size, tell)
      end
      return send_lanes(machine, box, what, from, temp, stat.size, tell)
    end)
  end
  if result == false then
    return transfer.upload(self, box, from, to, options)
  end
  return result, err
end

--- As download of the contract.
---@async
---@param self luarium.ProviderInstance
---@param machine luarium.ssh.Machine
---@param box luarium.BoxRecord
---@return table? result
---@return luarium.Error? err
function M.download(self, machine, box, from, to, options)
  local far = machine.pool.quickest > FAR
  local wide = setmetatable({ call = function(_, _, _, command, given)
    return machine:exec(box, command, given, far and WINDOW or nil)
  end }, { __index = self })
  local large = not far and lanes.wanted(machine) and {
    least = lanes.LEAST,
    fetch = function(_, path, sink)
      return lanes.fetch(self, machine, box, path, sink)
    end,
  } or nil
  return transfer.download(wide, box, from, to, options, large)
end

return M
