--- Commands and files on a machine that SSH reaches: against libssh2 alone, and against ssh and sftp.
local harness = require "bench.harness"

local M = { child = {} }

local MIB = 1048576
local DELAY = 20 -- milliseconds that the proxy adds each way

local function sshd()
  return require "spec.support.sshd"
end

local server

--- Started with the first case; its watcher ends it with the runner.
local function the_server()
  server = server or sshd().start()
  return server
end

local function missing()
  if not harness.succeeds("command -v sftp && command -v ssh") then
    return "openssh-client is not installed"
  end
  return sshd().missing()
end

-- ---- ours ----

local function with_box(params, fn)
  local luarium = require "luarium"
  params.provider[1] = "ssh"
  luarium.configure { providers = { host = params.provider } }
  local box = luarium.create { provider = "host" }
  box:exec { "true" }
  local numbers = fn(box, require("luarium.native").loop)
  box:destroy()
  return numbers
end

function M.child.exec(params)
  return with_box(params, function(box, loop)
    local start = loop.monotonic()
    for _ = 1, params.count do
      assert(box:exec({ "true" }).exit_code == 0)
    end
    return { ms = (loop.monotonic() - start) / params.count * 1000 }
  end)
end

function M.child.upload(params)
  return with_box(params, function(box, loop)
    local start = loop.monotonic()
    assert(box:upload(params.file, "big").bytes == params.mib * MIB)
    return { speed = params.mib / (loop.monotonic() - start) }
  end)
end

function M.child.download(params)
  return with_box(params, function(box, loop)
    box:exec({ "ln", params.file, "big" })
    box:exec({ "sh", "-c", '[ -e big ] || cp "$1" big', "sh", params.file }, { check = true })
    local start = loop.monotonic()
    assert(box:download("big", params.target).bytes == params.mib * MIB)
    return { speed = params.mib / (loop.monotonic() - start) }
  end)
end

-- ---- both sides ----

local function provider(port)
  local options = the_server():provider()
  options.port, options.host_key = port or options.port, the_server():fingerprint()
  options[1] = nil -- it goes as JSON
  return options
end

--- Runs fn(port) with a port that leads to the server, late when it is to be.
local function with_port(delay, fn)
  if not delay then
    return fn(the_server().port)
  end
  local file = harness.fresh("proxy")
  local proxy = assert(io.popen(("'%s' %d >'%s'"):format(harness.program("proxy"), the_server().port, file), "w"))
  proxy:write(("delay %d\n"):format(delay))
  proxy:flush()
  harness.capture(("until [ -s '%s' ]; do sleep 0.01; done"):format(file))
  local ok, value = pcall(fn, tonumber(harness.read(file):match("%d+")))
  proxy:close()
  assert(ok, value)
  return value
end

local function ssh_options()
  return ("-F none -i %s/id -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"):format(
    the_server().dir)
end

local function user()
  return harness.capture("id -un"):gsub("\n", "")
end

local function big_file(context)
  local path, mib = harness.folder .. "/big-ssh", context.quick and 4 or 1024
  if not harness.exists(path) then
    harness.capture(("head -c %d /dev/urandom >'%s' && sync '%s'"):format(mib * MIB, path, path))
  end
  return path, mib
end

--- MiB a second of sftp with one line of its language.
local function sftp(port, mib, line)
  local seconds = harness.capture(("start=$(date +%%s.%%N); echo '%s' | sftp -q %s -P %d -b - %s@127.0.0.1 >/dev/null "
    .. "|| exit 1; awk \"BEGIN { print $(date +%%s.%%N) - $start }\""):format(line, ssh_options(), port, user()))
  return { speed = mib / tonumber(seconds) }
end

--- MiB a second of libssh2 alone.
local function libssh2(way, here, there)
  return { speed = harness.floor("floor_ssh", tostring(the_server().port), user(), the_server().dir .. "/id", way, here,
    there) }
end

--- The peer is sftp, or libssh2 alone: what it needs for a byte is the most that we can reach.
local function transfer_case(way, peer, delay, least)
  local bare = peer == "libssh2"
  local name = ("ssh-%s%s"):format(way, delay and "-far" or bare and "-bare" or "")
  return {
    name = name, about = ("1 GiB %s%s, against %s"):format(way, delay and ", 20 ms each way" or "",
      bare and "libssh2 alone" or peer),
    needs = missing, reps = 3,
    ours = function(context)
      local file, mib = big_file(context)
      return with_port(delay, function(port)
        local target = harness.fresh("back")
        local params = { provider = provider(port), file = file, mib = mib, target = target }
        local numbers = harness.child("ssh", way, params)
        harness.run { "rm", "-f", target }
        return numbers
      end)
    end,
    floor = function(context)
      local file, mib = big_file(context)
      return with_port(delay, function(port)
        local target = harness.fresh("peer")
        local up = way == "upload"
        local numbers = bare and libssh2(way, up and file or target, up and target or file)
          or sftp(port, mib, ("%s %s %s"):format(up and "put" or "get", file, target))
        harness.run { "rm", "-f", target }
        return numbers
      end)
    end,
    rows = { { name = name:gsub("-", " ") .. ", 1 GiB", of = "speed", unit = "MiB/s", least = least } },
  }
end

local function count(context)
  return context.quick and 5 or 300
end

local function ours_exec(context)
  return harness.child("ssh", "exec", { provider = provider(), count = count(context) })
end

M.cases = {
  {
    name = "ssh-exec", about = "`true` on an open session, against libssh2 alone", reps = 7, needs = missing,
    ours = ours_exec,
    floor = function(context)
      return { ms = harness.floor("floor_ssh", tostring(the_server().port), user(), the_server().dir .. "/id",
        "exec", tostring(count(context)), "/bin/true") }
    end,
    rows = { { name = "ssh exec true", of = "ms", unit = "ms", most = 1.2 } },
  },
  {
    name = "ssh-command", about = "`true` on an open session, against a fresh ssh", reps = 3, needs = missing,
    ours = ours_exec,
    floor = function(context)
      local times = context.quick and 1 or 10
      local line = ("ssh %s -p %d %s@127.0.0.1 true"):format(ssh_options(), the_server().port, user())
      local seconds = harness.capture(("start=$(date +%%s.%%N); for i in $(seq %d); do %s || exit 1; done; "
        .. "awk \"BEGIN { print $(date +%%s.%%N) - $start }\""):format(times, line))
      return { ms = tonumber(seconds) / times * 1000 }
    end,
    rows = { { name = "ssh exec true, against ssh", of = "ms", unit = "ms", most = 0.2 } },
  },
  transfer_case("upload", "libssh2", nil, 0.9),
  transfer_case("download", "libssh2", nil, 0.9),
  transfer_case("upload", "sftp", nil, 0.9),
  transfer_case("download", "sftp", nil, 0.9), -- one session of libssh2 is below it: 16 bytes a call of the cipher
  transfer_case("upload", "sftp", DELAY, 3),
  transfer_case("download", "sftp", DELAY, 3),
}

return M
