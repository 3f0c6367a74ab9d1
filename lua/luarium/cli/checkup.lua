--- The checks of `luarium doctor`: each returns "ok", "warn" or "fail", what was found, and what to do about it.
local check = require "luarium.check"
local errors = require "luarium.error"
local format = require "luarium.cli.format"
local native = require "luarium.native"
local task = require "luarium.task"

local await, fs, process = task.await, native.fs, native.process

local M = {}

--- A program's first line of output, or nil and why.
local function output_of(...)
  local result, err = await(process.run({ argv = { ... }, timeout = 10 }))
  if not result then
    return nil, err.message
  elseif result.exit_code ~= 0 then
    return nil, (result.stderr .. result.stdout):match("[^\n]+") or "it failed"
  end
  return result.stdout:match("[^\n]*")
end

local function read(path)
  return await(fs.read_file(path, { max = 1048576 }))
end

local function kernel()
  local release = output_of("uname", "-r") or "unknown"
  local major, minor = release:match("^(%d+)%.(%d+)")
  local number = (tonumber(major) or 0) * 100 + (tonumber(minor) or 0)
  if number >= 506 then
    return "ok", "Linux " .. release .. " (has pidfd_open and openat2)"
  end
  return "fail", "Linux " .. release, "Luarium needs Linux 5.6 for pidfd_open and openat2: use a newer kernel"
end

local function git()
  local version, why = output_of("git", "--version")
  if not version then
    return "warn", "git is not usable: " .. why, "install the package git to clone on this machine"
  end
  return "ok", version
end

local function bubblewrap()
  local version = output_of("bwrap", "--version")
  if not version then
    return "warn", "bwrap is not installed", "install the package bubblewrap for the provider bubblewrap"
  end
  local ran, why = output_of("bwrap", "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "echo", "ok")
  if ran ~= "ok" then
    return "warn", version .. ", but user namespaces do not work: " .. tostring(why),
      "allow them (sysctl kernel.unprivileged_userns_clone=1), or use another provider"
  end
  return "ok", version .. ", user namespaces work"
end

--- The agent, and whether each configured host lets us in.
local function ssh(config)
  local bad, fine = {}, {}
  local names = config.configured()
  for _, name in ipairs(check.keys(names)) do
    local usable, instance = pcall(config.provider, name) -- one that is not is a finding of "providers"
    if names[name] == "ssh" and usable then
      local called, ok, err = pcall(require("luarium.ssh").try, instance.config)
      if not called and errors.is(ok, "cancelled") then
        error(ok, 0)
      elseif called and ok then
        fine[#fine + 1] = name
      else
        bad[#bad + 1] = name .. ": " .. errors.from(called and err or ok).message
      end
    end
  end
  if #bad > 0 then
    return "warn", table.concat(bad, "; ") .. (#fine > 0 and "; we can log in to " .. table.concat(fine, ", ") or ""),
      "docs/ssh.md says how hosts are accepted and keys are found"
  elseif #fine > 0 then
    return "ok", "we can log in to " .. table.concat(fine, ", ")
  end
  local socket = os.getenv("SSH_AUTH_SOCK")
  local keys = socket and socket ~= "" and await(native.ssh.agent_keys(socket))
  return "ok", keys and ("no host is configured; the agent has %d keys"):format(#keys)
    or "no host is configured, no agent is running"
end

--- The names under which engines of Docker are configured; the adapter's own where one seems to be here.
local function engine_names(config)
  local names = {}
  for name, adapter in pairs(config.configured()) do
    names[#names + 1] = adapter == "docker" and name or nil
  end
  table.sort(names)
  if #names == 0 and ((os.getenv("DOCKER_HOST") or "") ~= "" or fs.exists("/var/run/docker.sock")) then
    names[1] = "docker"
  end
  return names
end

local function docker(config)
  local found = {}
  for _, name in ipairs(engine_names(config)) do
    local instance = config.provider(name)
    local engine, err = require("luarium.docker.container").engine(instance)
    local facts
    if engine then
      facts, err = engine:request("GET", "/version")
    end
    if not facts then
      return "warn", ("%s: %s"):format(name, err.message),
        "start the engine, join the group docker, or correct its host"
    end
    found[#found + 1] = ("%s: %s %s (interface %s) at %s"):format(name, engine.podman and "Podman" or "Docker",
      tostring(facts.Version), tostring(facts.ApiVersion), engine.name)
  end
  return "ok", #found > 0 and table.concat(found, ", ") or "no engine is configured or found; local works without"
end

local function state_folder(config)
  local path = config.state_dir()
  local made, err = await(fs.mkdir(path, { parents = true, mode = 448 })) -- 0700
  if not made then
    return "fail", err.message, "choose another folder with LUARIUM_STATE_DIR or --state-dir"
  end
  local probe = path .. "/.doctor"
  local written
  written, err = await(fs.write_file(probe, "x", { mode = 384 }))
  if not written then
    await(fs.remove(probe)) -- a full disk may have room for its name
    return "fail", err.message, "make it writable, or choose another folder with LUARIUM_STATE_DIR"
  end
  await(fs.remove(probe))
  local facts = await(fs.stat(path))
  if facts and facts.mode % 64 ~= 0 then
    return "warn", ("%s has mode %04o: others can read the records"):format(path, facts.mode),
      "chmod 700 " .. path
  end
  return "ok", path .. " is private and writable"
end

local function disk(config)
  local path = config.state_dir()
  local facts, err = fs.disk(path)
  if not facts then
    return "warn", err.message
  end
  local text = ("%s free of %s"):format(format.size(facts.free), format.size(facts.total))
  if facts.free < 104857600 then
    return "fail", text, "free some space: `luarium ls` shows the sandboxes, `luarium destroy` removes them"
  elseif facts.free < 1073741824 then
    return "warn", text, "a clone or two may fill it: free some space"
  end
  return "ok", text
end

local function file_limit()
  local soft, hard = (read("/proc/self/limits") or ""):match("Max open files%s+(%d+)%s+(%S+)")
  soft = tonumber(soft)
  if not soft then
    return "warn", "the limit of open files cannot be read"
  elseif soft < 1024 then
    return "warn", ("%d open files (hard limit %s)"):format(soft, hard),
      "each running command takes about four: raise it with `ulimit -n 8192`"
  end
  return "ok", ("%d open files (hard limit %s)"):format(soft, hard)
end

local function clock(config)
  local path = config.state_dir() .. "/.doctor"
  local now = native.loop.realtime()
  if now < 1704067200 then -- 2024
    return "fail", os.date("it is %Y-%m-%d here"), "set the clock: certificates and lifetimes depend on it"
  end
  local written = await(fs.write_file(path, "x", { mode = 384 }))
  local facts = written and await(fs.stat(path))
  await(fs.remove(path))
  if written then
    local skew = facts and math.abs(facts.mtime - now) or 0
    if skew > 5 then
      return "warn", ("the file system's clock is %.0f s away from ours"):format(skew),
        "synchronise the clocks of this machine and its file server"
    end
  end
  return "ok", os.date("!%Y-%m-%d %H:%M:%S UTC")
end

local function libraries()
  local parts = { "luarium " .. native.version, (_VERSION:gsub("^Lua", "lua")) }
  for _, library in ipairs(native.libraries()) do
    parts[#parts + 1] = library.name .. " " .. library.version
  end
  return "ok", table.concat(parts, ", ")
end

local function configuration(config, context)
  local files = context.config_file and { context.config_file } or config.files()
  if #files == 0 then
    return "ok", "no luarium.lua here or in the user's configuration folder: the defaults count"
  end
  for _, path in ipairs(files) do
    local ok, err = pcall(config.load_file, path)
    if not ok then
      return "fail", tostring(err), "correct the file"
    end
  end
  return "ok", table.concat(files, ", ")
end

local function providers(config)
  local usable, fault = pcall(config.provider)
  if not usable then
    return "fail", tostring(fault), "`luarium create` needs it: correct it, or choose another default"
  end
  local names = check.keys(config.configured())
  if #names == 0 then
    return "ok", "none configured; local works without"
  end
  local bad
  for _, name in ipairs(names) do
    local ok, err = pcall(config.provider, name)
    bad = bad or not ok and err
  end
  if bad then
    return "warn", tostring(bad), "set what is missing, or take the provider out of the configuration"
  end
  return "ok", table.concat(names, ", ")
end

local function sandboxes()
  local now = native.loop.realtime()
  local records = require("luarium.registry").list()
  local expired, unfinished, in_work = {}, {}, 0
  for _, record in ipairs(records) do
    if record.fault then
      return "warn", ("the record %s is broken: %s"):format(record.path, record.fault), "luarium destroy " .. record.id
    elseif record.expires_at and record.expires_at <= now then
      expired[#expired + 1] = record.id
    elseif record.status ~= "running" and record.status ~= "stopped" and record.status ~= "paused" then
      if now - (record.created_at or now) > 3600 then
        unfinished[#unfinished + 1] = record.id
      else
        in_work = in_work + 1
      end
    end
  end
  if #expired + #unfinished == 0 then
    return "ok", ("%d known, none past its end%s"):format(#records,
      in_work > 0 and (", %d being made or removed (see luarium ls)"):format(in_work) or "")
  end
  local advice = { #expired > 0 and "luarium destroy --expired" or nil }
  if #unfinished > 0 then
    advice[#advice + 1] = "luarium destroy " .. table.concat(unfinished, " ", 1, math.min(#unfinished, 5))
      .. (#unfinished > 5 and " ..." or "")
  end
  return "warn", ("%d of %d are past their end or were never finished"):format(#expired + #unfinished, #records),
    table.concat(advice, "; ")
end

--- Name, check, what it is for.
local checks = {
  { "kernel", kernel, "whole process trees are killed by pidfd, and archives unpacked by openat2: Linux 5.6" },
  { "libraries", libraries, "the libraries in use and their versions, for bug reports" },
  { "clock", clock, "certificates, lifetimes of sandboxes and file times need a right clock" },
  { "files", file_limit, "each running command takes about four descriptors" },
  { "git", git, "clones are served from a mirror on this machine" },
  { "bubblewrap", bubblewrap, "the provider bubblewrap isolates sandboxes with user namespaces" },
  { "ssh", ssh, "the provider ssh logs in to other machines with your keys or your agent" },
  { "docker", docker, "the provider docker asks an engine of Docker or Podman for containers" },
  { "config", configuration, "luarium.lua here and in the user's configuration folder must load" },
  { "providers", providers, "every configured provider must have its adapter and its keys" },
  { "state", state_folder, "the records that keep sandboxes from being forgotten; private to you" },
  { "disk", disk, "records, logs and local sandboxes live on the disk of the state folder" },
  { "sandboxes", sandboxes, "sandboxes past their end or never finished may still cost money" },
}

--- Runs every check; one that breaks is a failure of its own line only.
---@async
---@param context luarium.cli.Context
---@return {name: string, status: "ok"|"warn"|"fail", message: string, advice: string?,
---  about: string}[]
function M.run(context)
  local config = require "luarium.config"
  pcall(context.api, context) -- a broken configuration is one of the findings
  local results = {}
  for _, row in ipairs(checks) do
    local name, fn, about = row[1], row[2], row[3]
    local ok, status, message, advice = pcall(fn, config, context)
    if not ok then
      if errors.is(status, "cancelled") then
        error(status, 0)
      end
      status, message, advice = "fail", tostring(status), nil
    end
    results[#results + 1] = { name = name, status = status, message = message, advice = advice,
      about = about }
  end
  return results
end

--- What each check is for.
---@return string[][] rows name and explanation
function M.explain()
  local rows = {}
  for i, row in ipairs(checks) do
    rows[i] = { row[1], row[3] }
  end
  return rows
end

return M
