local config = require "luarium.config"
local sshd = require "spec.support.sshd"
local task = require "luarium.task"

local missing = sshd.missing()
if missing then
  describe("conformance of ssh", function()
    pending(missing)
  end)
  return
end

local server = sshd.start()

teardown(function()
  server:stop()
end)

-- A port that is forwarded stays open as long as its connection: opened here, no check is blamed for it.
before_each(function()
  for name in pairs(config.configured()) do
    local machine = config.provider(name).state.machine
    if machine then
      task.run(machine.url, machine, {}, 8080)
    end
  end
end)

require "spec.support.conformance"("conformance of ssh", { provider = server:provider() }, function(reason)
  pending(reason)
end)
