--- Sandboxes of providers that only one folder knows, used from another.
local json = require "luarium.json"
local program = require "spec.support.program"
local scratch = require "spec.support.scratch"

local ADAPTER = [[
local base = require "luarium.providers.local"
local copy = {}
for key, value in pairs(base) do copy[key] = value end
copy.name = "acme"
return require("luarium.provider").define(copy)
]]

local within = program.within(60, function(place)
  place.project, place.other = place.dir .. "/project", place.dir .. "/other"
  scratch.sh(("mkdir -m 755 %s %s; chmod 755 %s"):format(place.project, place.other, place.dir))
end)

local function make(place, provider)
  return (place:ok({ "create", "--provider", provider, "--name", "demo" }, { cwd = place.project }):match("sbx_%w+"))
end

describe("a sandbox whose provider leads to another place now", function()
  local function with_boxes(fn)
    return within(function(place)
      place:write("project/luarium.lua", [[return { default = "box", providers = { box = { "local",
        dir = os.getenv "BOXES" } } }]])
      local function at(boxes, words)
        place.env.BOXES = place.dir .. "/" .. boxes
        return place:run(words, { cwd = place.project })
      end
      local made = at("a", { "create", "--name", "mine" })
      fn(place, at, made.stdout:match("sbx_%w+"))
    end)
  end

  it("is neither lost nor said to be destroyed", with_boxes(function(place, at, id)
    for _, words in ipairs({ { "exec", "mine", "true" }, { "destroy", "mine" }, { "cp", "mine:x", "y" },
      { "destroy", "--all", "--yes" } }) do
      local said = at("b", words)
      assert.is_true(said.exit_code ~= 0)
      assert.truthy(said.stderr:find(("%s was made at %s/a, but the provider 'box' leads to %s/b now"):format(id,
        place.dir, place.dir), 1, true), said.stderr)
      assert.falsy(said.stderr:find("destroyed " .. id, 1, true), said.stderr)
      assert.equal(1, place:records())
    end
    assert.equal("here\n", at("a", { "exec", "mine", "echo here" }).stdout)
    assert.equal("destroyed " .. id .. "\n", at("a", { "destroy", "mine" }).stderr)
    assert.equal(0, place:records())
  end))

  it("keeps its record when it was never finished", with_boxes(function(place, at, id)
    local path = ".state/sandboxes/" .. id .. ".json"
    local record = json.decode(place:read(path))
    record.status, record.external_id = "creating", nil
    place:write(path, json.encode(record))
    assert.equal(1, at("b", { "destroy", "mine" }).exit_code)
    assert.equal(1, place:records())
    assert.equal(0, at("a", { "destroy", "mine" }).exit_code)
    assert.equal(0, place:records())
  end))

  it("goes on where that is the same place by another name, and is gone with it", with_boxes(function(place, at, id)
    place:run({}, { argv = { "ln", "-s", "a", "b" } })
    assert.equal("here\n", at("b", { "exec", "mine", "echo here" }).stdout)
    place:run({}, { argv = { "rm", "-r", "a" } })
    assert.truthy(at("b", { "exec", id, "true" }).stderr:find("no longer exists", 1, true))
    assert.equal(0, place:records())
  end))
end)

describe("a sandbox whose adapter is in the folder where it was made", function()
  it("is used and destroyed from everywhere", within(function(place)
    place:write("project/providers/acme.lua", ADAPTER)
    local id = make(place, "acme")
    assert.equal("hi\n", place:ok({ "exec", "demo", "echo hi" }, { cwd = place.other }))
    assert.equal("acme", json.decode(place:ok({ "ls", "--json" }, { cwd = place.other }))[1].provider)
    place:ok({ "destroy", id }, { cwd = place.other })
    assert.equal(0, place:records())
  end))

  it("is not taken for one of another adapter of the same name", within(function(place)
    place:write("project/providers/acme.lua", ADAPTER)
    place:write("other/providers/acme.lua", "error('the wrong adapter')")
    make(place, "acme")
    assert.equal("hi\n", place:ok({ "exec", "demo", "echo hi" }, { cwd = place.other }))
    place:ok({ "destroy", "demo" }, { cwd = place.other })
  end))

  it("runs no code that others can change, and says what to do", within(function(place)
    place:write("project/providers/acme.lua", ADAPTER)
    local id = make(place, "acme")
    for _, path in ipairs({ "/providers/acme.lua", "/providers", "" }) do
      scratch.sh(("chmod o+w %s%s"):format(place.project, path))
      local result = place:run({ "exec", "demo", "true" }, { cwd = place.other })
      assert.equal(125, result.exit_code)
      assert.truthy(result.stderr:find(("the adapter of %s is %s/providers/acme.lua, and others than you can change %s%s: "
        .. "run this in %s, or let only you change it\n"):format(id, place.project, place.project, path, place.project),
        1, true), result.stderr)
      assert.equal("", place:ok({ "exec", "demo", "true" }, { cwd = place.project }))
      scratch.sh(("chmod o-w %s%s"):format(place.project, path))
    end
    assert.equal("", place:ok({ "exec", "demo", "true" }, { cwd = place.other }))
  end))

  it("whose adapter is gone can be forgotten", within(function(place)
    local path = place:write("project/providers/acme.lua", ADAPTER)
    local id = make(place, "acme")
    os.remove(path)
    local result = place:run({ "exec", "demo", "true" }, { cwd = place.other })
    assert.truthy(result.stderr:find(("the adapter of %s was %s, which is gone: put it back, or forget the sandbox with "
      .. "`luarium destroy --forget %s`\n"):format(id, path, id), 1, true), result.stderr)
    place:ok({ "destroy", "--forget", id }, { cwd = place.other })
    assert.equal(0, place:records())
  end))
end)

describe("a sandbox whose provider is configured in the folder where it was made", function()
  local CONFIGURATION = "return { providers = { away = { 'local', dir = %q } } }"

  it("is left alone elsewhere, also where another has the name", within(function(place)
    local file = place:write("project/luarium.lua", CONFIGURATION:format(place.dir .. "/one"))
    local id = make(place, "away")
    local advice = ("%s was made with the provider 'away' of %s, which is not in force here: run this in %s\n"):format(id,
      file, place.project)
    for _, words in ipairs({ { "exec", "demo", "true" }, { "destroy", "demo" } }) do
      local result = place:run(words, { cwd = place.other })
      assert.truthy(result.stderr:find(advice, 1, true), result.stderr)
    end
    place:write("other/luarium.lua", CONFIGURATION:format(place.dir .. "/two"))
    for _, words in ipairs({ { "exec", "demo", "true" }, { "destroy", "demo" } }) do
      local result = place:run(words, { cwd = place.other })
      assert.truthy(result.stderr:find(advice, 1, true), result.stderr)
    end
    assert.equal(1, place:records()) -- asked of the other one, it would have been taken for gone
    assert.equal("", place:ok({ "--config", file, "exec", "demo", "true" }, { cwd = place.other }))
    place:ok({ "destroy", "demo" }, { cwd = place.project })
    assert.equal(0, place:records())
  end))

  it("follows its folder", within(function(place)
    place:write("project/luarium.lua", CONFIGURATION:format(place.dir .. "/one"))
    make(place, "away")
    scratch.sh(("mv %s %s/moved"):format(place.project, place.dir))
    place:ok({ "destroy", "demo" }, { cwd = place.dir .. "/moved" })
    assert.equal(0, place:records())
  end))
end)
