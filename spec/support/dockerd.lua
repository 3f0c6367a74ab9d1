--- A real dockerd of the test's own: its data, its containerd and its bridge are all in, or named after, a folder that
--- goes with it. It ends when it is stopped or the test does, whatever happens to that.
---
---   local engine = dockerd.start()
---   engine.host, engine.socket, engine.image   engine:restart(), engine:kill(), engine:stop()
local http = require "luarium.http"
local scratch = require "spec.support.scratch"

local sh, quote = scratch.sh, scratch.quote

local M = {}

local tried, failure, spare = false, nil, nil

--- Starts one, once in a process, to see whether it can be. The next start() takes it.
local function try()
  if not tried then
    tried = true
    local ok, engine = pcall(M.start)
    if ok then
      spare = engine
    else
      failure = tostring(engine):gsub("%s+", " "):sub(1, 300)
    end
  end
  return failure
end

--- Why none can be started here, or nil.
function M.missing()
  if not scratch.is_root() then
    return "a dockerd of one's own needs root"
  end
  for _, program in ipairs({ "dockerd", "containerd", "runc", "ip", "busybox" }) do
    if sh("PATH=$PATH:/usr/sbin:/sbin command -v " .. program .. " || true") == "" then
      return program .. " is not installed"
    end
  end
  if not scratch.can_mount() then
    return "containers need the right to mount"
  end
  return try()
end

-- Starts dockerd, says so, and ends it with everything that belongs to it when its input ends. A line "kill" kills it,
-- "stop" stops it, "start" starts it again. $1 folder, $2 bridge, $3 its address, $4 size of a file system in memory
-- for its data or nothing, the rest: options of dockerd.
local KEEPER = [=[
dir=$1 bridge=$2 address=$3 size=$4
shift 4
mkdir -p "$dir/data"
[ -z "$size" ] || mount -t tmpfs -o "size=$size" none "$dir/data"
export PATH=$PATH:/usr/sbin:/sbin
if ip link add "$bridge" type bridge 2>/dev/null && ip addr add "$address" dev "$bridge" && ip link set "$bridge" up; then
  network=$bridge
else
  network=none
fi
launch() {
  setsid dockerd --host "unix://$dir/docker.sock" --data-root "$dir/data" --exec-root "$dir/exec" \
    --pidfile "$dir/pid" --iptables=false --ip6tables=false --bridge="$network" --storage-driver="$driver" "$@" \
    >>"$dir/log" 2>&1 </dev/null &
  pid=$!
  tries=0
  while [ $tries -lt 300 ]; do
    grep -q "API listen on $dir/docker.sock" "$dir/log" && return 0
    kill -0 $pid 2>/dev/null || return 1
    tries=$((tries + 1))
    sleep 0.1
  done
  return 1
}
ours() { # processes that have the folder among their arguments, but this one
  for entry in /proc/[0-9]*; do
    number=${entry#/proc/}
    [ "$number" != $$ ] && tr '\0' ' ' 2>/dev/null <"$entry/cmdline" | grep -qF -- "$dir/" && echo "$number"
  done 2>/dev/null
}
end() {
  kill "-$1" $pid 2>/dev/null
  tries=0
  while kill -0 $pid 2>/dev/null && [ $tries -lt 200 ]; do tries=$((tries + 1)); sleep 0.05; done
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
}
: >"$dir/log"
driver=overlay2
launch "$@" || { end KILL; driver=vfs; : >"$dir/log"; rm -rf "$dir/data/"*; launch "$@"; }
if [ $? = 0 ]; then echo "ready $network $driver" >"$dir/ready"; else echo failed >"$dir/ready"; fi
while read -r word; do
  case $word in
    kill)
      end KILL
      kill -9 "$(cat "$dir/exec/containerd/containerd.pid")"
      rm -f "$dir/exec/containerd/containerd.pid" "$dir"/exec/containerd/*.sock
      echo done >"$dir/answer" ;;
    stop) end TERM; echo done >"$dir/answer" ;;
    start) : >"$dir/log"; rm -f "$dir/pid"; launch "$@" && echo done >"$dir/answer" || echo failed >"$dir/answer" ;;
  esac
done
end TERM
for number in $(ours); do kill -9 "$number" 2>/dev/null; done
sleep 0.1
mount | sed -n "s|.* on \($dir/[^ ]*\) type .*|\1|p" | sort -r | while read -r path; do umount -l "$path"; done
ip link del "$bridge" 2>/dev/null
rm -rf "$dir"
]=]

local function wait_for(path, seconds)
  sh(("i=0; while ! [ -s %s ] && [ $i -lt %d ]; do i=$((i + 1)); sleep 0.05; done"):format(quote(path), seconds * 20))
  return scratch.exists(path) and scratch.read(path):gsub("%s+$", "") or "no answer"
end

local Engine = {}
M.methods = Engine -- podman speaks the same
Engine.__index = Engine

local function order(self, word)
  os.remove(self.dir .. "/answer")
  self.keeper:write(word, "\n")
  self.keeper:flush()
  local answer = wait_for(self.dir .. "/answer", 60)
  assert(answer == "done", word .. ": " .. answer .. ": " .. sh("tail -n 3 " .. self.dir .. "/log"))
end

--- Kills it with a signal that it cannot see; its containers go on for a while.
function Engine:kill()
  order(self, "kill")
end

--- Starts it again.
function Engine:launch()
  order(self, "start")
end

--- Stops it, with all containers, and starts it again.
function Engine:restart()
  order(self, "stop")
  order(self, "start")
end

--- A request of the test's own; the decoded answer and its status.
function Engine:ask(method, path, value)
  local answer = assert(http.request({ method = method, url = "http://docker" .. path, unix_socket = self.socket,
    json = value, body = not value and method == "POST" and "" or nil, timeout = 60 }))
  return answer.body ~= "" and answer:json() or nil, answer.status
end

--- The ids of all containers that it has.
function Engine:containers()
  local list = {}
  for i, facts in ipairs((self:ask("GET", "/containers/json?all=1"))) do
    list[i] = facts.Id
  end
  return list
end

--- Makes an image of a folder.
function Engine:import(folder, name)
  local file = self.dir .. "/image.tar"
  sh(("tar -C %s -cf %s ."):format(quote(folder), file))
  local repo, tag = name:match("^(.*):(.*)$")
  local answer = assert(http.request({ url = "http://docker/images/create?fromSrc=-&repo=" .. repo .. "&tag=" .. tag,
    unix_socket = self.socket, body_file = file, headers = { ["Content-Type"] = "application/x-tar" }, timeout = 120 }))
  assert(answer.status == 200 and not answer.body:find('"error"', 1, true), answer.body)
  os.remove(file)
end

--- The folder of a small system: busybox, with two users.
function M.rootfs(dir)
  sh(([[
    mkdir -p DIR/bin DIR/tmp DIR/root DIR/etc && chmod 1777 DIR/tmp && cp "$(command -v busybox)" DIR/bin/busybox
    for name in $(busybox --list | grep -vx busybox); do ln -s busybox "DIR/bin/$name"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/sh\n' >DIR/etc/passwd
    printf 'root:x:0:\nnogroup:x:65534:\n' >DIR/etc/group]]):gsub("DIR", dir))
end

--- Ends it and everything that it runs.
function Engine:stop()
  self.keeper:close()
end

--- Starts one with an image of busybox.
---@param options {args?: string[], data_size?: string}? options of dockerd; a bound for all that it stores, such as "64m"
---@return table engine
function M.start(options)
  local ready = spare
  spare = nil
  if ready and not options then
    return ready
  elseif ready then
    ready:stop()
  end
  options = options or {}
  local dir = scratch.make()
  scratch.write(dir .. "/keeper.sh", KEEPER)
  math.randomseed(os.time() + tonumber(dir:sub(-6), 36) % 100000)
  -- A session of its own: what ends the test's whole group must not end the keeper before its work.
  local words = { "setsid", "--wait", "sh", dir .. "/keeper.sh", dir, "lum" .. dir:sub(-6),
    ("10.%d.%d.1/24"):format(math.random(200, 249), math.random(0, 255)), options.data_size or "" }
  for _, word in ipairs(options.args or {}) do
    words[#words + 1] = word:gsub("DIR", dir)
  end
  for i, word in ipairs(words) do
    words[i] = quote(word)
  end
  local self = setmetatable({ dir = dir, socket = dir .. "/docker.sock", host = "unix://" .. dir .. "/docker.sock",
    image = "busybox:spec" }, Engine)
  self.keeper = assert(io.popen(table.concat(words, " "), "w"))
  local state = wait_for(dir .. "/ready", 90)
  self.network, self.driver = state:match("^ready (%S+) (%S+)")
  if not self.network then
    local said = sh("grep -vE 'level=(debug|info|warning)' " .. dir .. "/log | tail -n 5 || true")
    self:stop()
    error("dockerd does not start: " .. state .. ": " .. said)
  end
  M.rootfs(dir .. "/rootfs")
  self:import(dir .. "/rootfs", self.image)
  return self
end

return M
