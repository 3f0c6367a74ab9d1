--- What listens like a Docker engine and answers what a test wants, byte for byte: a server on a unix socket.
---
---   local fake = fakes.start()
---   fake:answer("GET /v1.41/containers/json*", fakes.json(200, "[]"))   fake:hang("POST *", "HTTP/1.1 101 ...")
---   fake.host   fake:asked()   fake:stop()
local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local scratch = require "spec.support.scratch"

local M = {}

--- Why it cannot be started here, or nil.
function M.missing()
  if scratch.sh("command -v socat || true") == "" then
    return "socat is not installed"
  end
end

-- Rules: a pattern of sh for "METHOD PATH", the file to send, whether the connection then stays open.
local SCRIPT = [=[
read -r method path version
size=0
while read -r line; do
  line=$(printf '%s' "$line" | tr -d '\r')
  [ -n "$line" ] || break
  case "$line" in [Cc]ontent-[Ll]ength:*) size=${line#*: } ;; esac
done
[ "$size" = 0 ] || head -c "$size" >/dev/null
echo "$method $path" >>asked
while IFS='	' read -r pattern file stays <&3; do
  case "$method $path" in
    $pattern) cat "$file"; [ -z "$stays" ] || cat >/dev/null; exit ;;
  esac
done 3<rules
printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 27\r\nConnection: close\r\n\r\n{"message":"no such thing"}'
]=]

--- An answer with a JSON body.
function M.json(status, body, headers)
  return ("HTTP/1.1 %d Text\r\nContent-Type: application/json\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s")
    :format(status, headers or "", #body, body)
end

local Fake = {}
Fake.__index = Fake

local function add(self, pattern, bytes, stays)
  self.count = self.count + 1
  local file = ("%s/answer%d"):format(self.dir, self.count)
  scratch.write(file, bytes)
  self.rules = ("%s\t%s\t%s\n"):format(pattern, file, stays) .. self.rules -- the latest counts
  scratch.write(self.dir .. "/rules", self.rules)
end

--- What is answered to requests that fit.
function Fake:answer(pattern, bytes)
  add(self, pattern, bytes, "")
end

--- The same; then nothing more comes, and the connection stays open.
function Fake:hang(pattern, bytes)
  add(self, pattern, bytes, "stays")
end

--- The requests so far, one a line.
function Fake:asked()
  return scratch.exists(self.dir .. "/asked") and scratch.read(self.dir .. "/asked") or ""
end

function Fake:stop()
  self.keeper:close()
  scratch.drop(self.dir)
end

--- Starts one that says of itself that it is an engine, of a version.
---@param version string?
function M.start(version)
  local dir = scratch.make()
  local self = setmetatable({ dir = dir, host = "unix://" .. dir .. "/socket", rules = "", count = 0 }, Fake)
  scratch.write(dir .. "/script.sh", SCRIPT)
  self:answer("GET /_ping", M.json(200, "OK", ("Api-Version: %s\r\n"):format(version or "1.41")))
  self.keeper = assert(io.popen(([[cd %s
    setsid socat UNIX-LISTEN:socket,fork,backlog=200 EXEC:"sh script.sh" >log 2>&1 & pid=$!
    cat >/dev/null; kill -KILL -$pid; wait $pid 2>/dev/null
    while kill -0 -$pid 2>/dev/null; do sleep 0.01; done # those that answer write into the folder]]):format(dir), "w"))
  scratch.sh(("i=0; while ! [ -S %s/socket ] && [ $i -lt 500 ]; do i=$((i + 1)); sleep 0.01; done"):format(dir))
  return self
end

--- A test with such an engine, in a task with a limit: fn(fake), with the provider `docker` leading to it.
---@param version string?
---@param fn fun(fake: table)
function M.test(version, fn)
  return function()
    local fake = M.start(version)
    local finish = boxes.configure({ host = fake.host, image = "image:1" })
    local ok, err = pcall(async(60, function()
      fn(fake)
      config.provider("docker"):close()
    end))
    finish()
    fake:stop()
    if not ok then
      error(err, 0)
    end
  end
end

return M
