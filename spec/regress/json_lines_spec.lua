--- Lines of --json that were no JSON: output of a sandbox may have any bytes.
local json = require "luarium.json"
local native = require "luarium.native"
local program = require "spec.support.program"
local utf8 = require "luarium.utf8"

local decode = native.crypto.base64_decode
local REPLACED = "\239\191\189"

local within = program.within(60)

--- The values of the lines, each of which must be valid.
local function values(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    assert.is_true(utf8.is_valid(line), line)
    list[#list + 1] = json.decode(line)
  end
  return list
end

--- Output of the records, and how many of them were no text.
local function output(records)
  local parts, binary = {}, 0
  for _, record in ipairs(records) do
    if record.stream == "stdout" then
      parts[#parts + 1] = record.text_base64 and decode(record.text_base64) or record.text
      binary = binary + (record.text_base64 and 1 or 0)
    end
  end
  return table.concat(parts), binary
end

describe("--json of bytes that are no text", function()
  it("is JSON for a command, and has the exact bytes", within(function(place)
    place:ok({ "create", "--name", "demo" })
    local result = values(place:ok({ "exec", "--json", "demo", [[printf 'a\377b\0c\n'; echo fine >&2]] }))[1]
    assert.equal("a" .. REPLACED .. "b\0c\n", result.stdout)
    assert.equal("a\255b\0c\n", decode(result.stdout_base64))
    assert.same({ "fine\n" }, { result.stderr, result.stderr_base64 })
    local records = values(place:ok({ "logs", "--json", "demo" }))
    assert.equal("a\255b\0c\n", (output(records)))
    local err = place:run({ "exec", "--json", "no\255such", "true" }).stderr
    assert.match("there is no sandbox", values(err)[1].error.message)
  end))

  it("is JSON for a run, the file of events and the result", within(function(place)
    place:write("script.lua", [[
      return { run = function()
        local box = luarium.create {}
        local stdout = box:exec("printf '\\377\\376'").stdout
        box:destroy()
        return { stdout = stdout }
      end }]])
    local events = values(place:ok({ "run", "--json", "--events", "events", "script.lua" }))
    assert.equal("\255\254", (output(events)))
    assert.equal("\255\254", decode(events[#events].result.stdout_base64))
    assert.equal("\255\254", (output(values(place:read("events")))))
  end))

  it("does not cut characters, however the output comes", within(function(place)
    local euro = "\226\130\172"
    place:write("script.lua", [[
      luarium.with({ name = "demo" }, function(box)
        local function exec(command)
          return box:exec(command, { on_stdout = function() os.remove("wait") end })
        end
        exec [=[printf '\342\202'; until ! [ -e "$OLDPWD/wait" ] && [ ! -e wait ]; do sleep 0.01; done; printf '\254']=]
        exec [=[i=0; while [ $i -lt 100000 ]; do printf '\342\202\254'; i=$((i+1)); done; printf '\342']=]
      end)]])
    place:write("wait", "")
    local text, binary = output(values(place:ok({ "run", "--json", "script.lua" })))
    assert.is_true(text == euro .. euro:rep(100000) .. "\226")
    assert.equal(1, binary) -- the end, which is no character
    local id = place:run({ "logs", "--json" }).stdout:match("sbx_%w+")
    text, binary = output(values(place:ok({ "logs", "--json", id })))
    assert.is_true(text == euro .. euro:rep(100000) .. "\226")
    assert.equal(1, binary)
  end))
end)
