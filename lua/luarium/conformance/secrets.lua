--- Secrets reach the command that they are for, and nothing else.
local config = require "luarium.config"
local event = require "luarium.event"
local expect = require "luarium.conformance.expect"
local native = require "luarium.native"
local secret = require "luarium.secret"

local fs = native.fs
local topic, check = require("luarium.conformance.topic").new("secrets")

local function fresh()
  return "s3cret-" .. native.crypto.hex_encode(native.crypto.random(12)) .. "+/="
end

--- Collects every event while fn runs, as the lines of JSON that a file of events would hold.
local function events_of(fn)
  local lines = {}
  local off = event.on("*", function(record)
    lines[#lines + 1] = event.to_json(record)
  end)
  local ok, err = pcall(fn)
  off()
  if not ok then
    error(err, 0)
  end
  expect.yes(#lines > 0, "there were events")
  return table.concat(lines, "\n")
end

local function expect_nowhere(text, value, what)
  expect.lacks(text, value, what)
  expect.lacks(text, value:sub(1, -4), what .. " (its plain part)")
  expect.lacks(text, native.crypto.base64_encode(value), what .. " (as base64)")
  local escaped = value:gsub("[%+/=]", { ["+"] = "%2B", ["/"] = "%2F", ["="] = "%3D" })
  expect.lacks(text, escaped, what .. " (in an address)")
end

check("a secret of exec reaches the command only", function(c)
  local value = fresh()
  local told = events_of(function()
    local result = c.box:exec('printf %s "$TOKEN"', { env = { TOKEN = secret.new(value, "TOKEN") } })
    expect.prints(result, value)
    expect.prints(c.box:exec('echo "${TOKEN-unset}"'), "unset\n", "the next command")
  end)
  expect_nowhere(told, value, "the events")
  expect.contains(told, "sandbox.exec", "the events")
end)

check("a secret of create reaches every command, and no record", { own = true }, function(c)
  local value = fresh()
  local box
  local told = events_of(function()
    box = c:create({ env = { TOKEN = secret.new(value, "TOKEN"), PLAIN = "visible" } })
    expect.prints(box:exec('printf %s "$TOKEN"'), value)
    expect.prints(box:exec({ "sh", "-c", 'printf %s "$TOKEN"' }), value, "a list")
  end)
  expect_nowhere(told, value, "the events")
  local record = c:host(fs.read_file(config.state_dir() .. "/sandboxes/" .. box.id .. ".json"))
  expect.contains(record, "visible", "the record")
  expect_nowhere(record, value, "the record")
end)

check("a secret is not in the arguments of any process", function(c)
  local value = fresh()
  local result = c.box:exec([[for f in /proc/[0-9]*/cmdline; do tr '\0' ' ' <"$f" 2>/dev/null; echo; done]],
    { env = { TOKEN = secret.new(value, "TOKEN") } })
  expect.yes(#result.stdout > 20, "there are processes to look at", result.stdout)
  expect_nowhere(result.stdout, value, "the arguments of all processes")
end)

check("an error tells no secret", function(c)
  local value = fresh()
  local told = events_of(function()
    local err = expect.raises("io", function()
      c.box:exec('echo "bad token $TOKEN" >&2; exit 1', { check = true, env = { TOKEN = secret.new(value, "TOKEN") } })
    end, "exited with 1")
    local reported = event.to_json({ event = "x", error = secret.redact_value(err) })
    expect_nowhere(reported, value, "the error as it is reported")
    expect_nowhere(tostring(err), value, "the error's message")
  end)
  expect_nowhere(told, value, "the events")
end)

check("output events tell no secret, also one cut in two", function(c)
  local value = fresh()
  local told = events_of(function()
    local seen = {}
    c.box:exec('printf %s "${TOKEN%"${TOKEN#????????????}"}"; sleep 0.2; printf "%s\\n" "${TOKEN#????????????}"', {
      env = { TOKEN = secret.new(value, "TOKEN") },
      on_stdout = function(chunk)
        seen[#seen + 1] = chunk
      end,
    })
    expect.equal(table.concat(seen), value .. "\n", "stdout by callback")
  end)
  expect_nowhere(told, value, "the events")
  expect.lacks(told, value:sub(1, 12), "the events (the first part)")
  expect.lacks(told, value:sub(13, -4), "the events (the second part)")
end)

check("a secret cannot be printed or joined by accident", { own = true }, function()
  local value = fresh()
  local token = secret.new(value, "TOKEN")
  expect.equal(tostring(token), "[secret TOKEN]", "tostring")
  expect.raises("invalid", function()
    return "https://" .. token .. "@example.com"
  end, "secret")
end)

return topic
