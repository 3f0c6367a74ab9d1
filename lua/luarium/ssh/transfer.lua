--- Large files over long ways. A channel holds 2 MiB that the other side has not asked for yet, so that a stream
--- carries no more than that in the time of a round trip. A file goes up in several streams at once, each with a part
--- of it; what comes down gets a larger window, which is ours to choose.
local errors = require "luarium.error"
local files = require "luarium.provider.emulate.files"
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

-- Makes the file that the parts are written to, beside the target, and prints its path.
local BEGIN = files.RESOLVE .. [[
need dd stat chmod mv rm mkdir
[ ! -d "$1" ] || exit 42
resolve "$1" || exit 1
[ -d "$folder" ] || mkdir -p "$folder" || exit 1
exists "$path" && [ ! -f "$path" ] && exit 49
temp=$folder/.luarium-$2
(umask 077; : >"$temp") || exit 1
printf %s "$temp"
]]

local PART = [[
said=$(dd of="$1" bs=1048576 seek="$2" conv=notrunc 2>&1) || { echo "$said" >&2; exit 1; }
]]

-- The whole file, put into place.
local FINISH = files.RESOLVE .. [[
resolve "$1" || exit 1
temp=$folder/.luarium-$2
[ "$(stat -c %s "$temp")" = "$3" ] || exit 48
if [ -f "$path" ]; then
  facts=$(stat -c '%u:%g' "$path") && chown "$facts" "$temp" 2>/dev/null
fi
chmod "$4" "$temp" && mv -f "$temp" "$path"
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
  local ok, result, fault = pcall(shell.exec, self, box, PART, { part.temp, shell.number(part.offset / MIB) }, {
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
  if result and sent < part.length then
    return nil, errors.new("io", ("%s: the file has become shorter meanwhile"):format(what), { name = "EPIPE" })
  end
  return result, err
end

local function send_parts(self, box, what, from, temp, size, on_progress)
  local each = math.ceil(size / STREAMS / MIB) * MIB
  local parts, done = {}, 0
  for offset = 0, size - 1, each do
    parts[#parts + 1] = { from = from, temp = temp, offset = offset, length = math.min(each, size - offset) }
  end
  local function tell(count)
    done = done + count
    if on_progress then
      on_progress(done, size)
    end
  end
  task.map(parts, function(part)
    local ok, err = send_part(self, box, what, part, tell)
    if not ok then
      error(err, 0)
    end
  end, { concurrency = STREAMS })
  return true
end

local function upload_parts(self, box, from, to, stat, options)
  local clean, err = shell.path(to)
  if not clean then
    return nil, err
  end
  local what = ("upload %s to %s"):format(shell.show(from), shell.show(to))
  local token = native.crypto.ulid()
  local ended = false
  return shell.guarded(function()
    local begun
    begun, err = check(what, shell.exec(self, box, BEGIN, { clean, token }))
    if not begun then
      return nil, err
    end
    send_parts(self, box, what, from, begun.stdout, stat.size, options.on_progress)
    local finished, fault = check(what, shell.exec(self, box, FINISH, {
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
end

--- As upload of the contract.
---@async
---@param self luarium.ProviderInstance
---@param machine luarium.ssh.Machine
---@param box luarium.BoxRecord
---@return table? result
---@return luarium.Error? err
function M.upload(self, machine, box, from, to, options)
  if machine.pool.quickest > FAR then
    local stat = await(fs.stat(from))
    if stat and stat.type == "file" and stat.size >= LARGE then
      return upload_parts(self, box, from, to, stat, options or {})
    end
  end
  return transfer.upload(self, box, from, to, options)
end

--- As download of the contract.
---@async
---@param self luarium.ProviderInstance
---@param machine luarium.ssh.Machine
---@param box luarium.BoxRecord
---@return table? result
---@return luarium.Error? err
function M.download(self, machine, box, from, to, options)
  local wide = setmetatable({ call = function(_, _, _, command, given)
    return machine:exec(box, command, given, machine.pool.quickest > FAR and WINDOW or nil)
  end }, { __index = self })
  return transfer.download(wide, box, from, to, options)
end

return M
