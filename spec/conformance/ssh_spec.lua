local sshd = require "spec.support.sshd"

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

require "spec.support.conformance"("conformance of ssh", { provider = server:provider() }, function(reason)
  pending(reason)
end)
