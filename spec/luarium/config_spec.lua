local config = require "luarium.config"
local errors = require "luarium.error"
local provider = require "luarium.provider"

local function file_with(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

local function message_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert(errors.is(err), tostring(err))
  return err.message, err.kind
end

describe("config", function()
  before_each(config.reset)
  after_each(config.reset)

  it("merges providers by name, the later settings win", function()
    config.configure({ default = "a", providers = { a = { "local" }, b = { "local" } } })
    config.configure({ default = "b", providers = { a = { "local", dir = "/x" } } })
    assert.equal("b", config.provider_name())
    assert.equal("a", config.provider_name("a"))
    assert.same({ a = "local", b = "local" }, config.configured())
    assert.equal("/x", config.provider("a").config.dir)
    assert.is_nil(config.provider("b").config.dir)
  end)

  it("lists all that is wrong", function()
    local text, kind = message_of(config.configure, { defalt = "x" })
    assert.equal("invalid", kind)
    assert.truthy(text:find("did you mean 'default'", 1, true))
    text = message_of(config.configure, { providers = { a = "local", ["b c"] = { "local" }, c = {} } })
    assert.truthy(text:find("providers.a: expected", 1, true))
    assert.truthy(text:find("providers.b c: a name has", 1, true))
    assert.truthy(text:find("providers.c: expected", 1, true))
  end)

  it("reads a file that configures or returns a table", function()
    local path = file_with('local luarium = require "luarium"\nluarium.configure { default = "box", providers = '
      .. '{ box = { "local" } } }')
    config.load_file(path)
    assert.equal("box", config.provider_name())
    os.remove(path)
    path = file_with('return { default = "other" }')
    config.load_file(path)
    assert.equal("other", config.provider_name())
    os.remove(path)
  end)

  it("gives a file tables of Lua of its own", function()
    local path = file_with('string.kept, table.kept, math.kept = 1, 1, 1 return { default = "box" }')
    config.load_file(path)
    os.remove(path)
    assert.same({}, { rawget(string, "kept"), rawget(table, "kept"), rawget(math, "kept") })
  end)

  it("names file and line of a broken file", function()
    for text, part in pairs({
      ["return {"] = ":1:", ["\n\nerror('oops')"] = ":3: oops", ["return 5"] = "expected a call of luarium.configure",
      ["os.execute('true')"] = ":1:", ["require 'socket'"] = "may require only", ["\27Lua"] = "chunk",
      ["return { default = 5 }"] = "option 'default'",
    }) do
      local path = file_with(text)
      local message, kind = message_of(config.load_file, path)
      os.remove(path)
      assert.equal("invalid", kind)
      assert.truthy(message:find(part, 1, true), message)
    end
    local _, kind = message_of(config.load_file, "/no/such/file")
    assert.equal("not_found", kind)
  end)

  it("knows no provider by a mistyped name, and says which there are", function()
    local text = message_of(config.provider, "locol")
    assert.truthy(text:find("did you mean 'local'", 1, true))
    assert.truthy(text:find("bubblewrap", 1, true))
    message_of(config.provider, "../../etc/passwd")
  end)

  it("reports every missing key of a provider with its variable", function()
    provider.register(provider.define {
      name = "spec_keys", config = {
        key = { secret = true, env = "LUARIUM_SPEC_KEY", required = true, about = "from the dashboard" },
        region = { required = true }, size = { type = "integer", default = 3 },
      },
      create = print, get = print, list = print, destroy = print, exec = print,
    })
    local text, kind = message_of(config.provider, "spec_keys")
    assert.equal("auth", kind)
    assert.truthy(text:find("key (set the variable LUARIUM_SPEC_KEY, from the dashboard)", 1, true))
    assert.truthy(text:find("region", 1, true))
    config.configure({ providers = { mine = { "spec_keys", key = "plain-text-secret", region = "eu" } } })
    local instance = config.provider("mine")
    assert.equal(3, instance.config.size)
    assert.equal("[secret LUARIUM_SPEC_KEY]", tostring(instance.config.key))
    config.configure({ providers = { wrong = { "spec_keys", key = "k", region = "eu", zone = 1 } } })
    text = message_of(config.provider, "wrong")
    assert.truthy(text:find("unknown option 'zone'", 1, true))
  end)
end)

describe("provider.define", function()
  it("reports all faults at once", function()
    local text = message_of(provider.define, { name = "Bad Name", crate = print, exec = 5, summary = 1, pty = true,
      unsupported = { flying = "no" }, config = { key = "text" } })
    for _, part in ipairs({
      "name: expected a word", "crate: no operation of the contract: did you mean create?", "exec: expected a function",
      "summary: expected a string", "create: this operation is required", "destroy: this operation is required",
      "pty: a provider with pty needs spawn", "unsupported.flying: no operation", "config.key: expected a table",
    }) do
      assert.truthy(text:find(part, 1, true), part .. " is missing in: " .. text)
    end
  end)

  local minimal = { name = "spec_minimal", create = print, get = print, list = print, destroy = print, exec = print }

  it("knows capabilities before anything runs", function()
    local definition = provider.define(minimal)
    assert.equal("native", provider.capability(definition, "exec"))
    assert.equal("emulated", provider.capability(definition, "read_file"))
    assert.equal("unsupported", provider.capability(definition, "pause"))
    local text = message_of(provider.capability, definition, "puase")
    assert.truthy(text:find("did you mean 'pause'", 1, true))
  end)

  it("helps when an operation is unsupported", function()
    local definition = provider.define(minimal)
    local instance = require("luarium.provider.instance").new("mine", definition, {})
    local value, err = instance:call("fork", {})
    assert.is_nil(value)
    assert.equal("unsupported", err.kind)
    assert.truthy(err.message:find("provider 'spec_minimal' has no 'fork': create another one", 1, true))
  end)

  it("refuses adapters that return something else", function()
    local folder = os.tmpname()
    os.remove(folder)
    os.execute("mkdir " .. folder)
    for name, text in pairs({ spec_number = "return 5", spec_broken = "return {", spec_fails = "error('at load')" }) do
      local file = assert(io.open(folder .. "/" .. name .. ".lua", "w"))
      file:write(text)
      file:close()
    end
    local before = provider.path
    provider.path = { folder }
    assert.truthy(message_of(provider.load, "spec_number"):find("must return provider.define", 1, true))
    assert.truthy(message_of(provider.load, "spec_broken"):find("spec_broken.lua:1:", 1, true))
    local ok, err = pcall(provider.load, "spec_fails")
    assert.is_false(ok)
    assert.truthy(tostring(err):find("at load", 1, true))
    provider.path = before
    os.execute("rm -r " .. folder)
  end)
end)
