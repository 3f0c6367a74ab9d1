--- Another process that works with a sandbox of a check.
local config = require "luarium.config"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local secret = require "luarium.secret"

local fs = native.fs

local PROGRAM = [==[
local luarium = require "luarium"
for _, module in ipairs(%s) do
  require(module)
end
luarium.configure(%s)
luarium.run(function()
  local box = luarium.reconnect(%q)
%s
end)
]==]

local function literal(value)
  local kind = type(value)
  if kind == "table" and not secret.is(value) then
    local parts = {}
    for key, item in pairs(value) do
      parts[#parts + 1] = ("[%s] = %s"):format(literal(key), literal(item))
    end
    return "{" .. table.concat(parts, ", ") .. "}"
  elseif kind == "string" then
    return ("%q"):format(value):gsub("\\\n", "\\n")
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif secret.is(value) then
    return ("luarium.env(%q)"):format(value.name)
  end
  error("a configuration with a " .. kind)
end

local function environment()
  local file = io.open("/proc/self/environ", "rb")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  local list = {}
  for entry in text:gmatch("[^%z]+") do
    list[#list + 1] = entry
  end
  return list
end

--- Runs Lua code with `box` being the sandbox, in a process that knows nothing but the state folder.
---@param c luarium.ConformanceContext
---@param box luarium.Sandbox
---@param code string
---@return string stdout
return function(c, box, code)
  local interpreter = c:host(fs.readlink("/proc/self/exe"))
  local settings = { state_dir = config.state_dir() }
  if type(c.session.config) == "table" then
    settings.providers = { [c.provider] = c.session.config }
  end
  local path = c:host_dir() .. "/elsewhere.lua"
  local text = PROGRAM:format(literal(c.session.require), literal(settings), box.id, code)
  c:host(fs.write_file(path, text))
  local argv = { interpreter, path }
  if not interpreter:match("lua[%w%.%-]*$") or interpreter:match("luarium") then
    argv = { interpreter, "run", path }
  end
  local result = c:host(native.process.run({ argv = argv, env = environment(), timeout = 60 }))
  if result.exit_code ~= 0 then
    expect.fail(("the other process failed: %s %s"):format(expect.show(result.stdout), expect.show(result.stderr)), 2)
  end
  return result.stdout
end
