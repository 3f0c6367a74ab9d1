--- What the specs of git share: a server with a password, repositories on it, and two more faces of the local provider.
local async = require "spec.support.async"
local git_server = require "spec.support.git_server"
local state = require "spec.support.state"
local errors = require "luarium.error"
local event = require "luarium.event"
local assert = require "luassert"
local luarium = require "luarium"
local provider = require "luarium.provider"

local sh = git_server.sh

local M = {}

--- Why no server can be had here, or nil.
M.missing = git_server.missing()

--- The folder with the tools of spec_bare.
M.bare_tools = nil

--- The local provider as one that does not share files with this machine.
local base = provider.load("local")
local apart = { name = "spec_apart" }
for key, value in pairs(base) do
  if key ~= "name" and key ~= "host_path" then
    apart[key] = value
  end
end
provider.register(provider.define(apart))

--- And as one that can only run commands, with nothing but busybox and git; a token must reach it all the same.
local bare = { name = "spec_bare", create = base.create, get = base.get, list = base.list, destroy = base.destroy }
bare.spawn = function(self, box, cmd, options)
  local argv, env = {}, {}
  for i, word in ipairs(cmd.argv) do
    argv[i] = word == "/bin/sh" and i == 1 and M.bare_tools .. "/sh" or word
  end
  for key, value in pairs(options.env or {}) do
    env[key] = value
  end
  env.PATH = M.bare_tools
  local own = {}
  for key, value in pairs(options) do
    own[key] = value
  end
  own.env = env
  return base.spawn(self, box, { argv = argv }, own)
end
provider.register(provider.define(bare))

function M.fails(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "expected an error of kind " .. kind)
  assert(errors.is(err, kind), ("expected kind %s, got %s"):format(kind, errors.is(err) and err:trace() or tostring(err)))
  return err
end

--- A repository name that no other test uses.
local serial, server = 0, nil
function M.fresh(script)
  serial = serial + 1
  local name = ("r%d.git"):format(serial)
  server:make(name, script)
  return name
end

function M.token()
  return { token = server.password, username = server.user }
end

function M.with(options, more)
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return options
end

--- it() with a private state and cache, and a sandbox. A warning fails it: one is given when a mirror was of no use.
function M.it_in(it, name, options, fn)
  if not fn then
    options, fn = {}, options
  end
  it(name, async(options.limit or 30, function()
    local warnings = {}
    local off = event.on("log", function(record)
      warnings[#warnings + 1] = record.message
    end)
    state.with(function(folder)
      luarium.with({ provider = options.provider or "local", env = options.env }, function(box)
        fn(box, folder)
      end)
    end)
    off()
    assert.same({}, options.warns and {} or warnings)
  end))
end

function M.generations(folder)
  local found = {}
  for path in sh("ls -d " .. folder .. "/cache/git/*/g-* 2>/dev/null || true"):gmatch("[^\n]+") do
    found[#found + 1] = path
  end
  return found
end

M.odd_names = [[
  mkdir -p 'dir with blank'; echo a >'dir with blank/ü-ñ-日本'; printf 'x' >"new
line"; printf 'y' >'-dash'; printf '\0\1\2\377' >bin; ln -s bin link; printf '#!/bin/sh\n' >run; chmod +x run
  printf '%s' "$(printf 'latin\351')" >"$(printf 'latin\351')"]]

--- Starts the server for a file of specs.
function M.start()
  server = git_server.start()
  return server
end

function M.stop()
  server:stop()
end

return M
