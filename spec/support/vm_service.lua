--- The vendor of spec/support/vm_vendor.lua: a small HTTP service that starts a real sshd for each machine, in a
--- namespace of its own for processes, with a throw-away host key. Ends with its machines, at the latest with the test.
local scratch = require "spec.support.scratch"

local M = {}

local service = [==[
#!/bin/sh
# One request on stdin and stdout. A machine is a folder: machines/ID with its facts, its keys and its processes.
cd DIR
GONE
read -r method path version
size=0 token=
while read -r line; do
  line=$(printf '%s' "$line" | tr -d '\r')
  [ -n "$line" ] || break
  case "$line" in
    [Cc]ontent-[Ll]ength:*) size=${line#*: } ;;
    [Aa]uthorization:*) token=${line#*: } ;;
  esac
done
body=$(head -c "$size")

answer() {
  printf 'HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
    "$1" "$(printf %s "$2" | wc -c)" "$2"
  exit 0
}

start() { # id
  m=DIR/machines/$1
  i=0
  while [ $i -lt 50 ]; do
    i=$((i + 1))
    port=$(($(od -An -N2 -tu2 /dev/urandom) % 20000 + 10000))
    cat >$m/config <<E
ListenAddress 127.0.0.1
Port $port
HostKey $m/host_key
AuthorizedKeysFile DIR/id.pub
UsePAM no
StrictModes no
MaxStartups 100
PermitRootLogin yes
PasswordAuthentication no
PidFile none
Subsystem sftp internal-sftp
SetEnv HOME=$m/home
E
    : >$m/log
    setsid unshare --pid --fork --kill-child --mount-proc /usr/sbin/sshd -D -e -f $m/config >>$m/log 2>&1 </dev/null &
    echo $! >$m/pid
    until grep -q -e "Server listening" -e "Cannot bind" $m/log; do sleep 0.02; done
    if ! grep -q "Cannot bind" $m/log; then
      echo $port >$m/port
      return
    fi
  done
}

stop() { # id; the first process of a namespace ends when all others have, and unshare after it
  outside=$(cat machines/$1/pid)
  kill -KILL $(cat /proc/$outside/task/$outside/children) 2>/dev/null
  gone $outside
  rm -rf machines/$1
}

id=${path#/machines/}
[ "$token" = "Bearer the key of the test" ] || answer "401 Unauthorized" '{"message":"who are you?"}'
case "$method $path" in
  "POST /machines")
    id=vm-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    mkdir -p machines/$id/home
    ssh-keygen -q -t ed25519 -N '' -f machines/$id/host_key
    start $id
    print=$(ssh-keygen -l -f machines/$id/host_key.pub | cut -d ' ' -f 2)
    printf '{"id":"%s","status":"running","port":%s,"fingerprint":"%s",%s' $id $(cat machines/$id/port) "$print" \
      "${body#?}" >machines/$id/facts.new
    mv machines/$id/facts.new machines/$id/facts
    answer "201 Created" "$(cat machines/$id/facts)" ;;
  "GET /machines")
    list=
    for facts in machines/*/facts; do
      [ ! -e "$facts" ] || list=$list${list:+,}$(cat "$facts" 2>/dev/null)
    done
    answer "200 OK" "[$list]" ;;
  "GET /machines/"*)
    [ -e machines/$id/facts ] || answer "404 Not Found" '{"message":"no such machine"}'
    answer "200 OK" "$(cat machines/$id/facts)" ;;
  "DELETE /machines/"*)
    [ -e machines/$id/pid ] || answer "404 Not Found" '{"message":"no such machine"}'
    stop $id
    answer "200 OK" '{}' ;;
  *) answer "404 Not Found" '{"message":"no such path"}' ;;
esac
]==]

local starter = [[
cd DIR
mkdir -p machines /run/sshd
ssh-keygen -q -t ed25519 -N '' -f id
cat >watch <<'E'
socat TCP-LISTEN:PORT,bind=127.0.0.1,fork,reuseaddr,backlog=128 EXEC:"sh DIR/service" >log 2>&1 </dev/null &
pid=$!
echo $pid >DIR/pid
while kill -0 TEST 2>/dev/null && kill -0 $pid 2>/dev/null; do sleep 0.5; done
kill $pid 2>/dev/null
for m in DIR/machines/*/pid; do kill -KILL "$(cat $m)" 2>/dev/null; done
E
setsid sh watch >/dev/null 2>&1 </dev/null &
i=0
until curl -s -o /dev/null http://127.0.0.1:PORT/; do
  i=$((i+1)); [ $i -lt 250 ] || { cat log; exit 1; }
  sleep 0.02
done
]]

--- Why it cannot be started here, or nil.
function M.missing()
  for _, program in ipairs({ "/usr/sbin/sshd", "ssh-keygen", "socat", "unshare", "curl" }) do
    if scratch.sh("command -v " .. program .. " || true") == "" then
      return program .. " is not installed"
    end
  end
  if not scratch.is_root() or not pcall(scratch.sh, "unshare --pid --fork --mount-proc true") then
    return "no right to make namespaces"
  end
end

local Service = {}
Service.__index = Service

--- What the adapter is configured with.
function Service:provider()
  return { "vm_vendor", url = self.url, api_key = "the key of the test", key = self.dir .. "/id" }
end

--- How many machines there are.
function Service:machines()
  return tonumber(scratch.sh("ls " .. self.dir .. "/machines | wc -l"))
end

function Service:stop()
  scratch.sh(([[
    cd DIR
    for m in machines/*/pid; do [ ! -e $m ] || kill -KILL "$(cat $m)" 2>/dev/null || true; done
    kill "$(cat pid)" || true]]):gsub("DIR", self.dir))
  scratch.drop(self.dir)
end

--- Starts it.
---@return table service {url, dir}
function M.start()
  local dir = scratch.make()
  local port = tonumber(scratch.sh("echo $(($(od -An -N2 -tu2 /dev/urandom) % 2000 + 30000))"))
  scratch.write(dir .. "/service", (service:gsub("DIR", dir):gsub("GONE\n", scratch.GONE)))
  local test = scratch.read("/proc/self/stat"):match("^%d+")
  scratch.sh((starter:gsub("DIR", dir):gsub("PORT", tostring(port)):gsub("TEST", test)))
  return setmetatable({ dir = dir, port = port, url = "http://127.0.0.1:" .. port }, Service)
end

return M
