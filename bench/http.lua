--- Processor time of many small requests.
local harness = require "bench.harness"

local M = { child = {} }

local CONFIG = [[
daemon on;
worker_processes 1;
pid %s/nginx.pid;
error_log %s/error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path %s/body;
  proxy_temp_path %s/proxy;
  fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi;
  scgi_temp_path %s/scgi;
  keepalive_requests 1000000;
  server {
    listen unix:%s/socket;
    listen 127.0.0.1:%d;
    location / { return 200 "hello\n"; }
  }
}
]]

local function nginx()
  for _, path in ipairs { "/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx" } do
    if harness.exists(path) then
      return path
    end
  end
end

--- Starts a real nginx on a free loopback port; returns the port and a function that stops it.
local function start_server()
  local folder = harness.fresh("nginx")
  harness.run { "mkdir", folder }
  for attempt = 1, 20 do
    local port = 20000 + (os.time() * 7 + attempt * 131) % 20000
    harness.write(folder .. "/nginx.conf", (CONFIG:gsub("%%s", folder):gsub("%%d", port)))
    local line = harness.command { nginx(), "-e", folder .. "/error.log", "-p", folder, "-c", folder .. "/nginx.conf" }
    if harness.succeeds(line) then
      return port, function()
        harness.capture(("kill -QUIT $(cat '%s/nginx.pid')"):format(folder))
      end
    end
  end
  error("nginx does not start: see " .. folder .. "/error.log", 0)
end

local function with_server(fn)
  local port, stop = start_server()
  local ok, result = pcall(fn, ("http://127.0.0.1:%d/"):format(port))
  stop()
  if not ok then
    error(result, 0)
  end
  return result
end

function M.child.http(params)
  local http = require "luarium.http"
  local loop = require("luarium.native").loop
  local task = require "luarium.task"
  local left = params.count
  local start, cpu = loop.monotonic(), os.clock()
  task.scope(function(scope)
    for _ = 1, params.connections do
      scope:spawn(function()
        while left > 0 do
          left = left - 1
          local response, err = http.request { url = params.url }
          assert(response and response.status == 200, err or "not 200")
        end
      end)
    end
  end)
  return { cpu = os.clock() - cpu, seconds = loop.monotonic() - start }
end

local function counts(context)
  return context.quick and 20 or 20000, context.quick and 2 or 50
end

M.cases = {
  {
    name = "http", reps = 5, warm = true,
    about = "20,000 small requests over 50 connections to nginx: processor time; peer: libcurl multi in C",
    needs = function()
      if not nginx() then
        return "nginx is not installed"
      elseif not harness.exists(harness.root .. "/bench/floor_http.c") then
        return "there is no bench/floor_http.c"
      elseif not package.searchpath("luarium.http", package.path) then
        return "there is no luarium.http"
      end
    end,
    ours = function(context)
      local count, connections = counts(context)
      return with_server(function(url)
        return harness.child("http", "http", { url = url, count = count, connections = connections })
      end)
    end,
    floor = function(context)
      local count, connections = counts(context)
      return with_server(function(url)
        return { cpu = harness.floor("floor_http", url, tostring(count), tostring(connections)) }
      end)
    end,
    rows = {
      { name = "20,000 requests, CPU", of = "cpu", unit = "s", most = 1.3 },
      { name = "  wall time", of = "seconds", unit = "s" },
    },
  },
}

return M
