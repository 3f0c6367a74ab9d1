require "spec.support.conformance"("conformance of local", { provider = "local" }, function(reason)
  pending(reason)
end)
