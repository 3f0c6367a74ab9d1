--- A real sshd for specs, on a free loopback port, with throw-away keys and a home of its own; it dies with the test.
---
---   local server = sshd.start { config = "MaxSessions 2" }
---   luarium.configure { providers = { box = server.provider() } }
---   server:stop()
local scratch = require "spec.support.scratch"

local sh, quote = scratch.sh, scratch.quote

local M = {}

--- Why none can be started here, or nil.
function M.missing()
  for _, program in ipairs({ "/usr/sbin/sshd", "ssh-keygen" }) do
    if sh("command -v " .. program .. " || true") == "" then
      return program .. " is not installed"
    end
  end
end

local configuration = [[
ListenAddress 127.0.0.1
Port PORT
PidFile DIR/pid
HostKey DIR/host_key
AuthorizedKeysFile DIR/authorized
UsePAM no
StrictModes no
LogLevel VERBOSE
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
SetEnv HOME=DIR/home
PrintMotd no
]]

local SFTP = "Subsystem sftp internal-sftp\n"

-- The watcher ends sshd, and the connections it has, when the test is gone.
local starter = [[
cd DIR
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
/usr/sbin/sshd -t -f DIR/config 2>&1 || exit 1
cat >watch <<'E'
/usr/sbin/sshd -D -e -f DIR/config >>DIR/log 2>&1 </dev/null &
pid=$!
while kill -0 TEST 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.5; done
kill -KILL $(cat /proc/$pid/task/$pid/children) 2>/dev/null
kill $pid 2>/dev/null
E
setsid sh watch >/dev/null 2>&1 </dev/null &
i=0
until grep -q "Server listening" log 2>/dev/null; do
  i=$((i+1)); [ $i -lt 250 ] || { cat log; exit 1; }
  if grep -q "Cannot bind" log 2>/dev/null; then cat log; exit 1; fi
  sleep 0.02
done
]]

local function test_pid()
  return scratch.read("/proc/self/stat"):match("^%d+")
end

local Server = {}
Server.__index = Server

--- Makes a key pair in the server's folder; returns its path.
function Server:key(name, kind, options)
  options = options or {}
  local path = self.dir .. "/" .. name
  sh(("ssh-keygen -q -t %s -N %s -f %s %s"):format(kind, quote(options.passphrase or ""), path, options.more or ""))
  if options.authorize ~= false then
    sh(("cat %s.pub >>%s/authorized"):format(path, self.dir))
  end
  return path
end

--- Connects a native session and logs in with the key that every server takes.
---@async
---@param session userdata
---@return userdata session
function Server:log_in(session)
  local await = require("luarium.task").await
  local user = sh("id -un")
  assert(await(session:connect()))
  assert(await(session:methods(user)))
  assert(await(session:key(user, scratch.read(self.dir .. "/id"))))
  return session
end

--- The fingerprint of its host key.
function Server:fingerprint()
  return sh("ssh-keygen -l -f " .. self.dir .. "/host_key.pub"):match("SHA256:%S+")
end

--- Puts the host key into known_hosts; returns the path.
function Server:know(hashed)
  local key = scratch.read(self.dir .. "/host_key.pub"):match("^(%S+ %S+)")
  scratch.write(self.dir .. "/known_hosts", ("[127.0.0.1]:%d %s\n"):format(self.port, key))
  if hashed then
    sh(("ssh-keygen -q -H -f %s/known_hosts && rm -f %s/known_hosts.old"):format(self.dir, self.dir))
  end
  return self.dir .. "/known_hosts"
end

--- A provider's configuration that reaches it; more options may be given.
function Server:provider(more)
  local options = {
    "ssh", host = "127.0.0.1", port = self.port, key = self.dir .. "/id", known_hosts = self.dir .. "/known_hosts",
    agent = false, ssh_config = false,
  }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options
end

--- What it wrote to its log so far.
function Server:log()
  return scratch.read(self.dir .. "/log")
end

--- Cuts every connection, as a broken cable would in the end.
function Server:cut()
  sh(("pid=$(cat %s/pid); kill -KILL $(cat /proc/$pid/task/$pid/children) 2>/dev/null || true"):format(self.dir))
end

--- Goes on with another host key than before, and back at the next call; every connection is cut.
function Server:rekey()
  sh(([[cd DIR
    [ -f other_key ] || ssh-keygen -q -t ed25519 -N '' -f other_key
    for end in "" .pub; do mv host_key$end swap$end && mv other_key$end host_key$end && mv swap$end other_key$end; done
    pid=$(cat pid)
    before=$(grep -c "Server listening" log)
    kill -HUP "$pid"
    until [ "$(grep -c "Server listening" log)" -gt "$before" ]; do sleep 0.02; done
    kill -KILL $(cat /proc/$pid/task/$pid/children) 2>/dev/null || true]]):gsub("DIR", self.dir))
end

--- Ends it and removes its folder.
function Server:stop()
  sh(scratch.GONE .. ([[pid=$(cat DIR/pid 2>/dev/null) || exit 0
    kill -KILL $(cat /proc/$pid/task/$pid/children) 2>/dev/null
    kill "$pid"; gone "$pid"]]):gsub("DIR", self.dir))
  scratch.drop(self.dir)
end

local function try_start(self, options)
  self.port = math.random(10000, 32000) -- below those that the system hands out by itself
  local text = table.concat({
    configuration, options.second and "HostKey DIR/second_key\n" or "", options.sftp == false and "" or SFTP,
    options.config or "", "\n",
  })
  scratch.write(self.dir .. "/config", (text:gsub("DIR", self.dir):gsub("PORT", tostring(self.port))))
  os.remove(self.dir .. "/log")
  local ok, err = pcall(sh, (starter:gsub("DIR", self.dir):gsub("TEST", test_pid())))
  return ok, err
end

local seeded = false

--- Starts it.
---@param options {config: string?, sftp: boolean?, kind: string?, second: string?, prepare: fun(server)?}? config: more
---  lines, DIR is replaced; kind of the host key, default ed25519, and of a second one
---@return table server {port, dir}
function M.start(options)
  options = options or {}
  local self = setmetatable({ dir = scratch.make() }, Server)
  if not seeded then
    math.randomseed(os.time() + tonumber(self.dir:sub(-6), 36) % 100000)
    seeded = true
  end
  sh(("mkdir %s/home && ssh-keygen -q -t %s -N '' -f %s/host_key"):format(self.dir, options.kind or "ed25519", self.dir))
  if options.second then
    sh(("ssh-keygen -q -t %s -N '' -f %s/second_key"):format(options.second, self.dir))
  end
  self:key("id", "ed25519")
  if options.prepare then
    options.prepare(self)
  end
  local ok, err
  for _ = 1, 20 do
    ok, err = try_start(self, options)
    if ok then
      break
    end
  end
  assert(ok, err)
  self:know()
  return self
end

return M
