require "spec.support.conformance"("conformance of local", { provider = "local" })
