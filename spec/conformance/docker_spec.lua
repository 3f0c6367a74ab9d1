local dockerd = require "spec.support.dockerd"
local peer = require "spec.support.peer"

local engine = peer("conformance of docker", dockerd)
if not engine then
  return
end

require "spec.support.conformance"("conformance of docker", function()
  return { provider = { "docker", host = engine.host, image = engine.image } }
end, function(reason)
  pending(reason)
end)

describe("conformance of docker", function()
  it("leaves no container", function()
    assert.same({}, engine:containers())
  end)
end)
