--- What `luarium provider new` writes: a small adapter that works, with comments on what to replace, and its spec.
local M = {}

local adapter = [==[
--- The provider @NAME@. A sandbox is a folder on this machine, so that everything works from the first minute; put
--- your vendor's calls where the comments say so. Whatever is not here (files, transfers, git) is emulated over exec.
local await = require("luarium.task").await
local config = require "luarium.config"
local errors = require "luarium.error"
local json = require "luarium.json"
local native = require "luarium.native"
local provider = require "luarium.provider"

local fs, process = native.fs, native.process

local function folder(self)
  return self.config.dir or config.state_dir() .. "/@NAME@"
end

local function path_of(self, external_id)
  return folder(self) .. "/" .. external_id
end

local function gone(external_id)
  return nil, errors.new("sandbox_gone", ("the sandbox %s no longer exists"):format(external_id))
end

-- Looks one up. From a vendor: local found, err = client:get("/sandboxes/" .. external_id), where 404 is the kind
-- sandbox_gone. The result has external_id and status, and what is known of name, labels, created_at, expires_at.
local function get(self, external_id)
  if not external_id:match("^sbx_%w+$") then
    return gone(external_id)
  end
  local text, err = await(fs.read_file(path_of(self, external_id) .. ".json"))
  if not text then
    if err.kind == "not_found" then
      return gone(external_id)
    end
    return nil, err
  end
  return json.decode_plain(text)
end

-- A live process. A vendor's would be a connection; every method returns a value, or nil and an error.
local Process = {}
Process.__index = Process

for _, name in ipairs({ "read", "write", "wait" }) do -- these wait
  Process[name] = function(self, ...)
    return await(self.native[name](self.native, ...))
  end
end

for _, name in ipairs({ "close_stdin", "kill", "resize", "close" }) do
  Process[name] = function(self, ...)
    return self.native[name](self.native, ...)
  end
end

return provider.define {
  name = "@NAME@",
  summary = "one line for `luarium providers`",
  docs = "https://example.com/docs", -- the vendor's description of its interface

  -- What a user sets in luarium.lua. An API key looks like this:
  --   api_key = { secret = true, env = "@UPPER@_API_KEY", required = true, about = "from the vendor's console" },
  config = {
    dir = { about = "where the sandboxes are kept; default: the state folder" },
  },

  -- Options of luarium.create that have no meaning here; any other is refused.
  ignores = { "image", "cpu", "memory", "disk" },

  -- Makes a sandbox. spec has id (ours: give it to the vendor as name or label, so that `list` finds it again after a
  -- crash), name, image, env, labels, timeout. `data` may hold plain values that reconnecting needs.
  create = function(self, spec)
    local path, ok, err = path_of(self, spec.id)
    for _, name in ipairs({ "work", "home", "tmp" }) do
      ok, err = await(fs.mkdir(path .. "/" .. name, { parents = true, mode = 448 })) -- 0700
      if not ok then
        return nil, err
      end
    end
    local facts = { external_id = spec.id, status = "running", name = spec.name, labels = spec.labels }
    ok, err = await(fs.write_file(path .. ".json", json.encode(facts), { mode = 384, atomic = true })) -- 0600
    if not ok then
      return nil, err
    end
    return { external_id = spec.id, status = "running", cwd = path .. "/work", data = {} }
  end,

  get = get,

  -- All sandboxes that Luarium made in this account.
  list = function(self)
    local entries, err = await(fs.ls(folder(self)))
    if not entries then
      return err.kind == "not_found" and {} or nil, err
    end
    local found = {}
    for _, entry in ipairs(entries) do
      local id = entry.name:match("^(sbx_%w+)%.json$")
      found[#found + 1] = id and get(self, id)
    end
    return found
  end,

  -- Ends one and everything in it; one that is gone already is a success.
  destroy = function(self, box)
    local ok, err = await(process.sweep("LUARIUM_SANDBOX=" .. box.external_id))
    if not ok then
      return nil, err
    end
    for _, path in ipairs({ path_of(self, box.external_id), path_of(self, box.external_id) .. ".json" }) do
      ok, err = await(fs.remove(path, { recursive = true }))
      if not ok and err.kind ~= "not_found" then
        return nil, err
      end
    end
    return true
  end,

  -- Starts a command. command.argv is always there; options has cwd (absolute), env, timeout (seconds), merge, pty,
  -- cols, rows. exec is built from this. A vendor that only runs commands to their end brings `exec` instead, with
  -- stdin and max_output among the options; it returns { exit_code =, signal =, stdout =, stderr =, stdout_bytes =,
  -- stderr_bytes =, truncated =, timed_out =, duration = }.
  spawn = function(self, box, command, options)
    local path = path_of(self, box.external_id)
    if not fs.exists(path) then
      return gone(box.external_id)
    end
    if options.user then
      return nil, errors.new("unsupported", "@NAME@ runs everything as one user: leave out `user`")
    end
    local variables = { PATH = os.getenv("PATH") or "/usr/bin:/bin", HOME = path .. "/home", TMPDIR = path .. "/tmp" }
    for key, value in pairs(options.env or {}) do
      variables[key] = value
    end
    local env = { "LUARIUM_SANDBOX=" .. box.external_id } -- how destroy finds what is still running
    for key, value in pairs(variables) do
      env[#env + 1] = key .. "=" .. value
    end
    local handle, err = process.spawn({
      argv = command.argv, env = env, cwd = options.cwd or box.cwd, timeout = options.timeout, merge = options.merge,
      pty = options.pty, cols = options.cols, rows = options.rows,
      cookie = "LUARIUM_EXEC=" .. native.crypto.hex_encode(native.crypto.random(8)),
    })
    if not handle then
      return nil, err
    end
    return setmetatable({ native = handle, pid = handle:pid() }, Process)
  end,
  pty = true,
}
]==]

local spec = [==[
--- The first spec of the provider @NAME@. `luarium provider test @NAME@` runs the whole conformance suite.
local luarium = require "luarium"
local provider = require "luarium.provider"

provider.path = { "@DIR@" }

describe("provider @NAME@", function()
  local box

  before_each(function()
    box = luarium.create({ provider = "@NAME@", env = { GREETING = "hello" } })
  end)

  after_each(function()
    box:destroy()
  end)

  it("runs commands", function()
    local result = box:exec("echo $GREETING; echo oops >&2; exit 3")
    assert.same({ "hello\n", "oops\n", 3 }, { result.stdout, result.stderr, result.exit_code })
  end)

  it("stops a command in time", function()
    local result = box:exec("echo begun; sleep 60", { timeout = 0.3 })
    assert.is_true(result.timed_out)
    assert.equal("begun\n", result.stdout)
  end)

  it("keeps files", function()
    box:write_file("folder/a file.txt", "one\0two")
    assert.equal("one\0two", box:read_file("folder/a file.txt"))
    assert.equal("a file.txt", box:ls("folder")[1].name)
  end)

  it("is found again by its id, and gone after destroy", function()
    assert.equal(box.external_id, luarium.reconnect(box.id).external_id)
    box:destroy()
    local found, err = luarium.try(luarium.reconnect, box.id)
    assert.is_nil(found)
    assert.equal("sandbox_gone", err.kind)
  end)
end)
]==]

--- The texts for a provider of this name.
---@param name string
---@param dir string the folder of the adapter
---@return {adapter: string, spec: string}
function M.files(name, dir)
  local function fill(text)
    return (text:gsub("@(%u+)@", { NAME = name, UPPER = name:upper(), DIR = dir }))
  end
  return { adapter = fill(adapter), spec = fill(spec) }
end

return M
