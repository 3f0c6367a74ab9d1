--- A registry on loopback (Debian's docker-registry) that asks for a name and a password.
---
---   local registry = registries.start()   registry.host "127.0.0.1:PORT"   registry:push(engine, "name:tag")
local http = require "luarium.http"
local native = require "luarium.native"
local scratch = require "spec.support.scratch"

local M = { username = "reader", password = "s3cret word" }

--- Why none can be started here, or nil.
function M.missing()
  for _, program in ipairs({ "docker-registry", "perl" }) do
    if scratch.sh("command -v " .. program .. " || true") == "" then
      return program .. " is not installed"
    end
  end
end

local CONFIG = [[
version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: DIR/data } }
http: { addr: "127.0.0.1:PORT" }
auth: { htpasswd: { realm: spec, path: DIR/htpasswd } }
]]

local Registry = {}
Registry.__index = Registry

local function header(username, password, host)
  return native.crypto.base64_encode(('{"username":"%s","password":"%s","serveraddress":"%s"}'):format(username, password,
    host)):gsub("+", "-"):gsub("/", "_")
end

--- Puts an image of an engine into it; returns its name here.
function Registry:push(engine, image)
  local name = self.host .. "/private/" .. image:match("^[^:]+")
  local ask = function(path, headers)
    return assert(http.request({ method = "POST", url = "http://docker" .. path, unix_socket = engine.socket, body = "",
      headers = headers, timeout = 60 }))
  end
  assert(ask("/images/" .. image .. "/tag?repo=" .. name .. "&tag=1").status == 201)
  local answer = ask("/images/" .. name .. "/push?tag=1",
    { ["X-Registry-Auth"] = header(M.username, M.password, self.host) })
  assert(answer.status == 200 and not answer.body:find('"error"', 1, true), answer.body)
  engine:ask("DELETE", "/images/" .. name .. ":1")
  return name .. ":1"
end

function Registry:stop()
  self.keeper:close()
  scratch.drop(self.dir)
end

function M.start()
  local dir = scratch.make()
  math.randomseed(os.time() + tonumber(dir:sub(-6), 36) % 100000)
  local port = math.random(10000, 32000)
  scratch.write(dir .. "/config.yml", (CONFIG:gsub("DIR", dir):gsub("PORT", tostring(port))))
  scratch.sh(([[perl -e 'print "%s:", crypt("%s", q($2y$05$abcdefghijklmnopqrstuu)), "\n"' >%s/htpasswd]]):format(
    M.username, M.password, dir))
  local self = setmetatable({ dir = dir, host = "127.0.0.1:" .. port }, Registry)
  self.keeper = assert(io.popen(([[docker-registry serve DIR/config.yml >DIR/log 2>&1 & pid=$!
    i=0; while ! grep -qi ":$(printf %%04X PORT) " /proc/net/tcp && kill -0 $pid && [ $i -lt 200 ]; do
      i=$((i + 1)); sleep 0.05; done
    kill -0 $pid && echo ready >DIR/ready
    cat >/dev/null; kill $pid]]):gsub("DIR", dir):gsub("PORT", port):gsub("%%%%", "%%"), "w"))
  scratch.sh(("i=0; while ! [ -s %s/ready ] && [ $i -lt 300 ]; do i=$((i + 1)); sleep 0.05; done"):format(dir))
  assert(scratch.exists(dir .. "/ready"), "docker-registry does not start: " .. scratch.read(dir .. "/log"))
  return self
end

return M
