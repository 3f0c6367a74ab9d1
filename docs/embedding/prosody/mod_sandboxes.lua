-- Luarium on Prosody's own loop: a command in a sandbox of its own, answered when it has ended.
--   curl -H "Authorization: Bearer TOKEN" --data "make test" http://127.0.0.1:5280/sandboxes
module:set_global()
module:depends("http")

local async = require "util.async"
local equals = require("util.hashes").equals
local json = require "util.json"
local luarium = require "luarium"
local server = require "net.server"

local token = module:get_option_string("sandboxes_token")
assert(token, "sandboxes_token must be set: whoever knows it may run commands")
local seconds = module:get_option_number("sandboxes_timeout", 600)
local timer

local step

--- Besides the descriptor only the next timer of Luarium makes a step due.
local function sleep()
  if timer then
    timer:stop()
  end
  local wakeup = luarium.task.next_wakeup()
  timer = wakeup and module:add_timer(wakeup, step)
end

function step()
  luarium.task.step(0.002)
  sleep()
end

local watch = server.watchfd(luarium.task.fd(), step)

local function answer(response, ok, result)
  response.status_code = ok and (result.timed_out and 504 or 200) or 500
  response.headers.content_type = "application/json"
  response:send(json.encode(ok and { exit_code = result.exit_code, timed_out = result.timed_out or nil, output = result.stdout }
    or { error = tostring(result) }))
end

local function run(event)
  local request, response = event.request, event.response
  if not equals(request.headers.authorization or "", "Bearer " .. token) then
    return 401
  end
  local task = luarium.task.start(luarium.with, {}, function(box)
    return box:exec(request.body, { merge = true, timeout = seconds })
  end)
  task:on_done(function()
    answer(response, task:result())
  end)
  sleep()
  return true -- the answer comes later
end

module:provides("http", { route = { POST = run } })

-- A signal's handler may run in the middle of a step, so the shutdown waits for the loop's next round.
module:hook("server-stopping", function()
  local wait, done = async.waiter()
  module:add_timer(0, function()
    luarium.task.shutdown(5)
    done()
  end)
  wait()
end)

function module.unload()
  luarium.task.shutdown(5)
  watch:close()
end
