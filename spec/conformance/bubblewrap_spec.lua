local missing = require("spec.support.bwrap").missing()

if missing then
  describe("conformance of bubblewrap", function()
    pending(missing)
  end)
  return
end

require "spec.support.conformance"("conformance of bubblewrap", { provider = "bubblewrap" }, function(reason)
  pending(reason)
end)
