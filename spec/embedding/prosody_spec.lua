--- Prosody runs sandboxes on its own loop and serves meanwhile: docs/embedding/prosody.
local async = require "spec.support.async"
local http = require "luarium.http"
local json = require "luarium.json"
local lfs = require "lfs"
local native = require "luarium.native"
local program = require "spec.support.program"
local task = require "luarium.task"
local until_true = require "spec.support.until_true"

local source = lfs.currentdir()

local CONFIGURATION = [[
run_as_root = true
data_path = "DIR"
installer_plugin_path = "DIR/installed"
plugin_paths = { "SOURCE/docs/embedding/prosody", "DIR/plugins" }
modules_enabled = { "sandboxes", "plain" }
modules_disabled = { "c2s", "s2s", "s2s_auth_certs", "offline" }
http_ports = { PORT }
http_interfaces = { "127.0.0.1" }
https_ports = { }
sandboxes_token = "secret"
log = { { levels = { min = "info" }, to = "console" } }
VirtualHost "localhost"
]]

local PLAIN = [[
module:set_global()
module:depends("http")
module:provides("http", { route = { GET = "pong", ["GET /reload"] = function()
  return assert(require("core.modulemanager").reload("*", "sandboxes")) and "reloaded"
end } })
]]

local function start(place, port)
  local text = CONFIGURATION:gsub("%u+", { DIR = place.dir, SOURCE = source, PORT = tostring(port) })
  place:write("prosody.cfg.lua", text)
  local server = place:spawn({}, { argv = { "prosody", "-F", "--config", place.dir .. "/prosody.cfg.lua" }, merge = true,
    timeout = 60 })
  -- The first service that is activated is the one of the port.
  local log = program.read_until(server, "Activated service 'http' on [^\n]*\n")
  if log:find("[127.0.0.1]:" .. port, 1, true) then
    return server
  end
  server:close()
end

--- Calls fn(server, request) with a server on a free port; request(method, path, body) is a round trip.
local function with_server(place, fn)
  place:write("plugins/mod_plain.lua", PLAIN)
  place.env.LUA_PATH = source .. "/lua/?.lua;" .. source .. "/lua/?/init.lua;;"
  place.env.LUA_CPATH = source .. "/build/lua5.4/?.so;;"
  local server, port
  for _ = 1, 10 do
    port = math.random(10000, 32000) -- below those that the system hands out by itself
    server = start(place, port)
    if server then
      break
    end
  end
  local process <close> = assert(server, "no free port was found")
  fn(process, function(method, path, body, token)
    return http.request({ method = method, url = ("http://127.0.0.1:%d/%s"):format(port, path), body = body, timeout = 30,
      headers = { Authorization = "Bearer " .. (token or "secret") } })
  end)
end

--- Ends the server with SIGTERM; returns its status and the rest of its log.
local function stop(server)
  assert(server:kill("SIGTERM"))
  local log = program.read_all(server)
  return task.await(server:wait()), log
end

--- A command that tells it has begun and ends when it is let go.
local function held(place, name)
  return ("touch %s/up-%s; until [ -e %s/go-%s ]; do sleep 0.02; done; echo %s"):format(place.dir, name, place.dir, name, name)
end

local function let_go(place, name)
  place:write("go-" .. name, "")
end

local function wait_until_up(place, names)
  for _, name in ipairs(names) do
    until_true(name .. " to begin", function()
      return lfs.attributes(place.dir .. "/up-" .. name) ~= nil
    end)
  end
end

--- Begins a held command for each name; their answers come into the list that is returned, in the order they come.
local function begin(scope, place, request, names)
  local answers = {}
  for _, name in ipairs(names) do
    scope:spawn(function()
      local response = request("POST", "sandboxes", held(place, name))
      answers[#answers + 1] = { name = name, status = response.status, body = json.decode(response.body) }
    end)
  end
  wait_until_up(place, names)
  return answers
end

local function test(name, fn)
  it(name, async(60, function()
    program.with(function(place)
      with_server(place, function(server, request)
        task.scope(function(scope)
          fn(place, server, request, scope)
        end)
      end)
    end)
  end))
end

describe("Prosody", function()
  test("serves while several sandboxes work, and answers each when its command has ended", function(place, server, request, scope)
    local answers = begin(scope, place, request, { "a", "b", "c" })
    assert.equal(3, place:records())
    local worst = 0
    for _ = 1, 100 do
      local began = native.loop.monotonic()
      assert.equal("pong", request("GET", "plain").body)
      worst = math.max(worst, native.loop.monotonic() - began)
    end
    assert.equal(0, #answers)
    assert(worst < 1, "a plain request took " .. worst .. " seconds")
    for i, name in ipairs({ "c", "a", "b" }) do
      let_go(place, name)
      until_true("the answer of " .. name, function() return #answers == i end)
      assert.same({ name = name, status = 200, body = { exit_code = 0, output = name .. "\n" } }, answers[i])
    end
    assert.equal(0, place:records())
    local status, log = stop(server)
    assert.equal(0, status.exit_code, log)
    assert.is_nil(log:match("[Ee]rror") or log:match("global"), log)
  end)

  test("tells the exit code, and runs nothing for who does not know the token", function(place, _, request)
    assert.equal(401, request("POST", "sandboxes", "touch " .. place.dir .. "/up-stranger", "guess").status)
    assert.same({ exit_code = 3, output = "no\n" }, json.decode(request("POST", "sandboxes", "echo no; exit 3").body))
    assert.is_nil(lfs.attributes(place.dir .. "/up-stranger"))
  end)

  test("destroys what still works when it is stopped", function(place, server, request, scope)
    local answers = begin(scope, place, request, { "a", "b" })
    assert.equal(2, place:records())
    local status, log = stop(server)
    assert.equal(0, status.exit_code, log)
    assert.equal(0, place:records())
    until_true("the answers", function() return #answers == 2 end)
    assert.same({ 500, { error = "the host is closing" } }, { answers[1].status, answers[1].body })
  end)

  test("destroys what still works when the module is loaded anew, and works on", function(place, _, request, scope)
    local answers = begin(scope, place, request, { "a" })
    assert.equal("reloaded", request("GET", "plain/reload").body)
    assert.equal(0, place:records())
    until_true("the answer", function() return #answers == 1 end)
    assert.equal(500, answers[1].status)
    assert.equal("again\n", json.decode(request("POST", "sandboxes", "sleep 0.1; echo again").body).output)
  end)
end)
