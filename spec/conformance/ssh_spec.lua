local config = require "luarium.config"
local peer = require "spec.support.peer"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"

local server = peer("conformance of ssh", sshd)
if not server then
  return
end

-- A port that is forwarded stays open as long as its connection: opened here, no check is blamed for it.
before_each(function()
  for name in pairs(config.configured()) do
    local machine = config.provider(name).state.machine
    if machine then
      task.run(machine.url, machine, {}, 8080)
    end
  end
end)

require "spec.support.conformance"("conformance of ssh", function()
  return { provider = server:provider() }
end, function(reason)
  pending(reason)
end)
