--- Machines that SSH reaches, for adapters: sandboxes on them, commands, ports, unix sockets.
---
---   local host, err = ssh.open { host = "build.example.com", user = "deploy" }
---   local socket, err = host:forward { socket = "/var/run/docker.sock" }   -- socket.path is a socket here
local login = require "luarium.ssh.login"
local machine = require "luarium.ssh.machine"
local target = require "luarium.ssh.target"

local M = {}

--- The options that say how to reach a host, as rows of a provider's `config`.
M.options = target.options

--- Finds out how to reach a host. Nothing is connected yet.
---@async
---@param options table<string, any> see docs/ssh.md
---@param root string? where sandboxes are kept there; default: ~/.luarium/sandboxes
---@return luarium.ssh.Machine? machine close it
---@return luarium.Error? err
function M.open(options, root)
  local found, err = target.resolve(options)
  if not found then
    return nil, err
  end
  return machine.new(found, root)
end

--- Whether a host lets us in.
---@async
---@param options table<string, any>
---@return boolean? ok
---@return luarium.Error? err
function M.try(options)
  local found, err = target.resolve(options)
  if not found then
    return nil, err
  end
  local sessions
  sessions, err = login.connect(found)
  for _, session in ipairs(sessions or {}) do
    session:close()
  end
  if not sessions then
    return nil, err
  end
  return true
end

return M
