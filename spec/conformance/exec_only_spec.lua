require "spec.support.exec_only"
require "spec.support.conformance"("conformance of a provider with nothing but exec", {
  provider = "exec_only", require = { "spec.support.exec_only" },
}, function(reason)
  pending(reason)
end)
