--- A folder of its own for a test, and the shell commands that tests look at it with.
local M = {}

--- Quotes a text for sh.
function M.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- Runs a shell command to its end; returns its output without the last newline. Raises when it fails.
function M.sh(command)
  -- A sanitizer is for our own code; curl, for one, never gets further than setlocale with it.
  local pipe = assert(io.popen("{ unset LD_PRELOAD; " .. command .. "\n} 2>&1; echo \"|$?\""))
  local out = pipe:read("*a")
  pipe:close()
  local text, code = out:match("^(.*)|(%d+)\n$")
  if code ~= "0" then
    error(command .. ": exit code " .. tostring(code) .. ": " .. tostring(text), 2)
  end
  return (text:gsub("\n$", ""))
end

--- A shell function: `gone PID` waits until a process has ended. One that its new parent has not collected yet counts as
--- ended: the init of some machines collects only every other second.
M.GONE = [[
gone() { while grep -qs '^State:.[^ZX]' "/proc/$1/status"; do sleep 0.01; done; }
]]

--- Makes a folder; remove it with M.drop.
function M.make()
  return M.sh("mktemp -d /tmp/luarium-spec.XXXXXX")
end

function M.drop(dir)
  assert(dir:match("^/tmp/luarium%-spec%."), dir)
  M.sh("chmod -R u+rwx " .. dir .. "; rm -rf " .. dir)
end

function M.write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

function M.read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function M.exists(path)
  return os.execute("test -e " .. M.quote(path) .. " -o -L " .. M.quote(path)) == (_VERSION == "Lua 5.4" or 0)
end

function M.is_root()
  return M.sh("id -u") == "0"
end

--- Whether this is root with the right to mount, which root in a container often is not.
function M.can_mount()
  local dir = M.make()
  local ok = M.is_root() and pcall(M.sh, ("mount -t tmpfs none %s && umount %s"):format(dir, dir))
  M.drop(dir)
  return ok
end

--- `it` where the condition holds, else a pending test that says why. Busted gives both only to spec files.
function M.it_if(it, pending, condition, reason)
  return condition and it or function(name) pending(name .. ": needs " .. reason) end
end

return M
