require "spec.support.conformance"("conformance of bubblewrap", { provider = "bubblewrap" }, function(reason)
  pending(reason)
end)
