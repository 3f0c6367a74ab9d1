--- A host or a script that chooses a locale with another decimal point: what machines read has a point all the same.
local json = require "luarium.json"
local nginx = require "spec.support.nginx"
local program = require "spec.support.program"

--- A test in a folder in which there is a locale, made of one of Debian's.
local function with_locale(source, name, fn)
  return program.within(60, function(place)
    local made = place:run({}, { argv = { "localedef", "-i", source, "-f", "UTF-8", "./" .. name } })
    assert(place:run({}, { argv = { "test", "-f", name .. "/LC_NUMERIC" } }).exit_code == 0, made.stderr)
    place.env.LOCPATH = place.dir
  end)(fn)
end

local SCRIPT = [[
  local json = require "luarium.json"
  local function both_ways()
    assert(json.encode({ 0.5 }) == "[0.5]" and json.decode("[0.25]")[1] == 1 / 4)
  end
  both_ways()
  assert(os.setlocale("comma") and tostring(0.5) == "0,5")
  both_ways()
  assert(os.setlocale("C"))
  both_ways()
  assert(os.setlocale("comma"))
  assert(require("luarium.http").encode_query({ a = 1.5, b = 2 }) == "a=1.5&b=2")
  local box = luarium.create { name = "kept", timeout = 1000.5 }
  assert(box:exec("sleep 60", { timeout = 0.25 }).timed_out)
  assert(box:job("true", { key = "done", timeout = 9.5, wait = 0.5 }):wait().exit_code == 0)
  return { half = 0.5 }
]]

describe("a decimal comma", function()
  it("is in no JSON, no query and no record", with_locale("de_DE", "comma", function(place)
    place:write("script.lua", SCRIPT)
    local result
    for line in place:ok({ "run", "--json", "script.lua" }):gmatch("[^\n]+") do
      result = assert(json.decode(line))
    end
    assert.equal(0.5, result.result.half)
    local record = json.decode(place:ok({ "ls", "--json" }))[1]
    assert.equal("kept", record.name)
    assert.is_true(record.expires_at > 1e9 and record.created_at > 1e9)
    assert.is_true(json.decode(place:ok({ "jobs", "--json", "kept" }))[1].started_at > 1e9)
  end))
end)

describe("a decimal point of several bytes", function()
  it("is refused", with_locale("ps_AF", "bytes", function(place)
    for _, before in ipairs({ "", 'require "luarium.json"' }) do
      place:write("script.lua", before .. ' assert(os.setlocale("bytes")) luarium.create {}')
      local result = place:run({ "run", "-q", "script.lua" })
      assert.equal(1, result.exit_code)
      assert.match("^luarium: [^\n]*json: this locale's decimal point has several bytes: set LC_NUMERIC to C", result.stderr)
    end
  end))
end)

describe("a locale in which i and I are no pair", function()
  local server
  setup(function()
    local missing = nginx.missing()
    assert(not missing, missing)
    server = nginx.start({ locations = "location = /id { add_header X-ID 5; return 200 '$request_method'; }" })
  end)
  teardown(function()
    server:stop()
  end)

  it("changes no name of a header, an option, a signal or a host", with_locale("tr_TR", "dotless", function(place)
    place:write("config", "HOST Box\n  IDENTITYFILE /key\n  IdentitiesOnly YES\n")
    place:write("script.lua", ([[
      assert(os.setlocale("dotless") and ("I"):lower() == "I" and ("i"):upper() == "i")
      local response = require("luarium.http").request({ url = "%s" })
      assert(response.headers["x-id"] == "5")
      local known = require("luarium.ssh.settings").read("config", "box", "me", true)
      assert(known.identityfile and known.identitiesonly == "YES")
      local git = require("luarium.git.url").parse("HTTPS://GIT.EXAMPLE/a")
      assert(git.scheme == "https" and git.host == "git.example", git.host)
      luarium.with({}, function(box)
        local job = box:job("sleep 60", { key = "one" })
        job:kill("sigint")
        assert(job:wait().signal == "SIGINT")
      end)]]):format(server.url("/id")))
    place:ok({ "run", "-q", "script.lua" })
  end))
end)
