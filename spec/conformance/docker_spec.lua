local dockerd = require "spec.support.dockerd"

local missing = dockerd.missing()
if missing then
  describe("conformance of docker", function()
    pending(missing)
  end)
  return
end

local engine = dockerd.start()

require "spec.support.conformance"("conformance of docker", {
  provider = { "docker", host = engine.host, image = engine.image },
}, function(reason)
  pending(reason)
end)

describe("conformance of docker", function()
  teardown(function()
    engine:stop()
  end)

  it("leaves no container", function()
    assert.same({}, engine:containers())
  end)
end)
