--- A podman of the test's own that serves Docker's interface on a socket.
---
---   local engine = podman.start()   engine.host, engine.image   engine:stop()
local dockerd = require "spec.support.dockerd"
local http = require "luarium.http"
local scratch = require "spec.support.scratch"

local M = {}

--- Why none can be started here, or nil.
function M.missing()
  if not scratch.is_root() then
    return "a podman of one's own needs root here"
  end
  for _, program in ipairs({ "podman", "conmon", "busybox" }) do
    if scratch.sh("command -v " .. program .. " || true") == "" then
      return program .. " is not installed"
    end
  end
  if not scratch.can_mount() then
    return "containers need the right to mount"
  end
end

local KEEPER = [=[
dir=$1
export CONTAINERS_CONF=$dir/containers.conf
run() { # in a subshell: what is killed is podman itself
  exec podman --root "$dir/root" --runroot "$dir/run" --tmpdir "$dir/tmp" --cgroup-manager cgroupfs --events-backend file "$@"
}
run system service --time=0 "unix://$dir/podman.sock" >"$dir/log" 2>&1 </dev/null &
pid=$!
tries=0
while ! [ -S "$dir/podman.sock" ] && kill -0 $pid && [ $tries -lt 200 ]; do tries=$((tries + 1)); sleep 0.05; done
[ -S "$dir/podman.sock" ] && echo ready >"$dir/ready" || echo failed >"$dir/ready"
cat >/dev/null
(run rm -fa -t 0) >/dev/null 2>&1
kill $pid
wait $pid
mount | sed -n "s|.* on \($dir/[^ ]*\) type .*|\1|p" | sort -r | while read -r path; do umount -l "$path"; done
rm -rf "$dir"
]=]

local Engine = {}
Engine.__index = Engine
Engine.ask = dockerd.methods.ask
Engine.containers = dockerd.methods.containers
Engine.import = dockerd.methods.import

function Engine:stop()
  self.keeper:close()
end

--- Starts one with an image of busybox.
function M.start()
  local dir = scratch.make()
  scratch.write(dir .. "/keeper.sh", KEEPER)
  -- Its usual limits are more than a super-user without all rights may set.
  scratch.write(dir .. "/containers.conf", '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n')
  local self = setmetatable({ dir = dir, socket = dir .. "/podman.sock", host = "unix://" .. dir .. "/podman.sock",
    image = "busybox:latest" }, Engine) -- it imports under no other tag
  -- A session of its own: what ends the test's whole group must not end the keeper before its work.
  self.keeper = assert(io.popen(("setsid --wait sh %s/keeper.sh %s"):format(dir, dir), "w"))
  scratch.sh(("i=0; while ! [ -s %s/ready ] && [ $i -lt 300 ]; do i=$((i + 1)); sleep 0.05; done"):format(dir))
  if not scratch.exists(dir .. "/ready") or scratch.read(dir .. "/ready") ~= "ready\n" then
    local said = scratch.sh("tail -n 5 " .. dir .. "/log || true")
    self:stop()
    error("podman does not start: " .. said)
  end
  assert(http.request({ url = "http://podman/_ping", unix_socket = self.socket }))
  dockerd.rootfs(dir .. "/rootfs")
  self:import(dir .. "/rootfs", self.image)
  return self
end

return M
