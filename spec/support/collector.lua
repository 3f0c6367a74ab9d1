--- A collector for specs: a real HTTP server on a free loopback port that keeps every request and answers as planned.
---
---   local server = collector.start { traces = { "503 Retry-After: 0", "hang" }, metrics = { "400" } }
---   server.url  server:requests()  server:stop()
---
--- What is not planned is answered with 200. "hang" never answers. "body TEXT" is a 200 with that body.
local json = require "luarium.json"
local rude_server = require "spec.support.rude_server"
local schema = require "spec.support.otlp_schema"
local scratch = require "spec.support.scratch"
local until_true = require "spec.support.until_true"

local M = {}

-- One request a connection. The number of its file is its place in the order, as we never send two at once.
local script = [=[
cd DIR
read -r method path version
path=${path%"$(printf '\r')"}
: >head.$$
size=0
while read -r line; do
  line=${line%"$(printf '\r')"}
  [ -n "$line" ] || break
  printf '%s\n' "$line" >>head.$$
  case "$line" in [Cc]ontent-[Ll]ength:*) size=${line#*: };; esac
done
head -c "$size" >body.$$
number=$(ls requests | wc -l)
printf '%s %s\n' "$method" "$path" | cat - head.$$ >text.$$
printf '\n' >>text.$$
cat body.$$ >>text.$$
mv text.$$ "requests/$(printf '%05d' "$number")"
plan=plan.${path##*/}
answer=200
if [ -s "$plan" ]; then
  answer=$(head -n 1 "$plan")
  tail -n +2 "$plan" >"$plan.rest"
  mv "$plan.rest" "$plan"
fi
body='{}'
case "$answer" in
  hang) cat >/dev/null; exit ;;
  body*) body=${answer#body }; answer=200 ;;
esac
status=${answer%% *}
extra=${answer#"$status"}
printf 'HTTP/1.1 %s Planned\r\n' "$status"
[ -z "$extra" ] || printf '%s\r\n' "${extra# }"
printf 'Content-Length: %s\r\nConnection: close\r\n\r\n%s' "${#body}" "$body"
]=]

--- Why it cannot be started here, or nil.
M.missing = rude_server.missing

local Server = {}
Server.__index = Server

local function parse(text)
  local first, head, body = text:match("^([^\n]*)\n(.-)\n\n(.*)$")
  if not first then -- no header at all
    first, body = text:match("^([^\n]*)\n\n(.*)$")
  end
  local headers = {}
  for name, value in (head or ""):gmatch("([^\n:]+): ?([^\n]*)") do
    headers[name:lower()] = value
  end
  local method, path = first:match("^(%S+) (%S+)$")
  return { method = method, path = path, headers = headers, body = body, value = json.decode(body) }
end

--- The requests so far, in their order, or those of one path.
---@param path string? such as "/v1/traces"
function Server:requests(path)
  local list = {}
  for name in scratch.sh("ls " .. self.dir .. "/requests"):gmatch("%d+") do
    local request = parse(scratch.read(self.dir .. "/requests/" .. name))
    if not path or request.path == path then
      list[#list + 1] = request
    end
  end
  return list
end

--- Waits until there are so many requests; each is there before it is answered.
function Server:wait_for(count, path)
  return until_true(("there are %d requests"):format(count), function()
    local list = self:requests(path)
    return #list >= count and list
  end)
end

--- Ends it, also what hangs.
function Server:stop()
  scratch.sh(([[
    pkill -P $(cat DIR/pid) || true
    kill $(cat DIR/pid) 2>/dev/null || true]]):gsub("DIR", self.dir))
  scratch.drop(self.dir)
end

--- Ends it but keeps what came, so that its port refuses connections.
function Server:die()
  scratch.sh(("kill $(cat %s/pid)"):format(self.dir))
end

---@param plan {traces: string[]?, metrics: string[]?}?
function M.start(plan)
  local dir = scratch.make()
  for name, answers in pairs(plan or {}) do
    scratch.write(dir .. "/plan." .. name, table.concat(answers, "\n") .. "\n")
  end
  scratch.write(dir .. "/answer.sh", (script:gsub("DIR", dir)))
  scratch.sh(([[
    cd DIR
    mkdir requests
    socat -d -d TCP-LISTEN:0,bind=127.0.0.1,fork,backlog=50 EXEC:"sh answer.sh" >/dev/null 2>log &
    echo $! >pid
    until grep -q listening log; do kill -0 $(cat pid); sleep 0.01; done]]):gsub("DIR", dir))
  local port = scratch.read(dir .. "/log"):match("listening on [^\n]*:(%d+)\n")
  return setmetatable({ dir = dir, url = "http://127.0.0.1:" .. port }, Server)
end

--- Calls fn(server) with one that runs; every request must fit the schema.
---@param plan table? as for start
---@param around fun(fn: function) what it runs in, such as a state of its own
---@param fn fun(server: table, ...) gets what around gives, too
function M.with(plan, around, fn)
  local server = M.start(plan)
  local ok, err = pcall(around, function(...)
    fn(server, ...)
    for _, request in ipairs(server:requests()) do
      schema.check(request.path, assert(request.value, request.body))
    end
  end)
  server:stop()
  if not ok then
    error(err, 0)
  end
end

return M
