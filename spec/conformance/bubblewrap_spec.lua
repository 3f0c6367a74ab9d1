require "spec.support.conformance"("conformance of bubblewrap", { provider = "bubblewrap" })
