--- A real nginx for specs: plain, TLS with HTTP/2, client certificates, HTTP/2 without TLS and a unix socket, on
--- free loopback ports, with throw-away certificates.
---
---   local server = nginx.start { locations = "location /x { return 200 x; }" }
---   server.url "/x"  server.tls "/x"  server.socket  server:stop()
---
--- The other servers have the same locations: `other` is another origin, `mutual` asks for a client certificate,
--- `h2c` speaks HTTP/2 without TLS, `proxy` answers as a forward proxy would.
local scratch = require "spec.support.scratch"
local until_true = require "spec.support.until_true"

local sh, quote = scratch.sh, scratch.quote

local M = {}

--- Why no server can be started here, or nil.
function M.missing()
  for _, program in ipairs({ "nginx", "openssl" }) do
    if sh("PATH=$PATH:/usr/sbin command -v " .. program .. " || true") == "" then
      return program .. " is not installed"
    end
  end
end

local configuration = [[
daemon on;
pid DIR/nginx.pid;
error_log DIR/error.log;
worker_processes 1;
WHOAMI
events { worker_connections 1024; }
http {
  log_format plain '$request_method $uri $status $request_length';
  access_log DIR/access.log plain;
  client_max_body_size 0;
  client_body_temp_path DIR/tmp/body;
  fastcgi_temp_path DIR/tmp/fastcgi;
  proxy_temp_path DIR/tmp/proxy;
  scgi_temp_path DIR/tmp/scgi;
  uwsgi_temp_path DIR/tmp/uwsgi;
  ssl_certificate DIR/server.crt;
  ssl_certificate_key DIR/server.key;
  server { listen 127.0.0.1:PORT1; listen unix:DIR/socket; include DIR/locations; }
  server { listen 127.0.0.1:PORT2; include DIR/locations; }
  server { listen 127.0.0.1:PORT3 ssl http2; include DIR/locations; }
  server { listen 127.0.0.1:PORT4 ssl; ssl_client_certificate DIR/ca.crt; ssl_verify_client on; include DIR/locations; }
  server { listen 127.0.0.1:PORT5 http2; include DIR/locations; }
  server { listen 127.0.0.1:PORT6; location / { return 200 "proxied $request_method $http_host$request_uri"; } }
}
]]

local common = [[
location = /hello { return 200 "hello\n"; }
location = /port { return 200 $server_port; }
location /files/ { alias DIR/files/; }
location /put/ { alias DIR/put/; dav_methods PUT DELETE; create_full_put_path on; }
]]

local certificates = [[
cd DIR
openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -days 2 -subj "/CN=a throw-away authority" -out ca.crt
issue() {
  openssl ecparam -name prime256v1 -genkey -noout -out $1.key
  openssl req -new -key $1.key -subj "/CN=$1" -out $1.csr
  printf '%s\n' "$2" >$1.ext
  openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
}
issue server "subjectAltName=IP:127.0.0.1,DNS:localhost"
issue client "extendedKeyUsage=clientAuth"
openssl ecparam -name prime256v1 -genkey -noout -out stranger.key
openssl req -x509 -new -key stranger.key -days 2 -subj "/CN=another authority" -out stranger.crt
]]

local function fill(text, dir, ports)
  text = text:gsub("DIR", dir):gsub("PORT(%d)", function(n)
    return tostring(ports[tonumber(n)])
  end)
  return (text:gsub("WHOAMI", scratch.is_root() and "user root;" or ""))
end

local function try_start(dir, locations)
  local ports = {}
  for i = 1, 6 do
    ports[i] = math.random(10000, 32000) -- below those that the system hands out by itself
  end
  os.remove(dir .. "/socket") -- of an attempt that failed
  scratch.write(dir .. "/nginx.conf", fill(configuration, dir, ports))
  scratch.write(dir .. "/locations", fill(common .. locations, dir, ports))
  local command = "PATH=$PATH:/usr/sbin nginx -e %s/error.log -p %s -c %s/nginx.conf"
  local ok, err = pcall(sh, (command:gsub("%%s", quote(dir))))
  return ok and ports, err
end

local Server = {}
Server.__index = Server

--- Ends it and removes its folder.
function Server:stop()
  sh(scratch.GONE .. ([[pid=$(cat DIR/nginx.pid); kill "$pid"; gone "$pid"]]):gsub("DIR", self.dir))
  scratch.drop(self.dir)
end

--- The lines of the access log so far: "GET /hello 200 80".
function Server:log()
  return scratch.read(self.dir .. "/access.log")
end

--- Waits until a text is in the access log; nginx writes a line when it is done with the request.
function Server:wait_for_log(text)
  until_true(text .. " is in the log", function()
    return self:log():find(text, 1, true)
  end)
end

local function urls(scheme, port)
  return function(path)
    return ("%s://127.0.0.1:%d%s"):format(scheme, port, path)
  end
end

--- Starts it.
---@param options {locations: string?} nginx's own words; DIR, PORT1 (plain) and PORT2 (other origin) are replaced
---@return table server
function M.start(options)
  local dir = scratch.make()
  sh(("mkdir DIR/tmp DIR/files DIR/put"):gsub("DIR", dir))
  sh((certificates:gsub("DIR", dir)))
  math.randomseed(os.time() + tonumber(dir:sub(-6), 36) % 100000)
  local ports, err
  for _ = 1, 20 do
    ports, err = try_start(dir, (options and options.locations) or "")
    if ports then
      break
    end
  end
  assert(ports, err)
  return setmetatable({
    dir = dir,
    url = urls("http", ports[1]),
    other = urls("http", ports[2]),
    tls = urls("https", ports[3]),
    mutual = urls("https", ports[4]),
    h2c = urls("http", ports[5]),
    proxy = urls("http", ports[6]),
    socket = dir .. "/socket",
    ca = dir .. "/ca.crt",
  }, Server)
end

return M
