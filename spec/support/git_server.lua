--- A real git server for specs: `git http-backend` behind nginx and fcgiwrap on a free loopback port.
---   /git/...   asks for user "dev" and the password, reads and writes
---   /open/...  the same repositories for everybody, reading only
---   /slow/...  like /git/, but the bytes of a pack come slowly
---   /away/...  redirects to the same path of another server, given as `away`
local M = {}

-- The password is looked for on the whole machine: no other run of the tests may have the same.
M.user, M.password = "dev", ("s3cret-Passw0rd+/=&%s."):format(assert(io.open("/proc/self/stat")):read("*l"):match("^%d+"))

local function run(command)
  local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1; echo \"status $?\"", "r"))
  local output = pipe:read("*a")
  pipe:close()
  local text, status = output:match("^(.*)status (%d+)\n$")
  return status == "0", text or output
end

--- Runs a shell script and returns what it printed; raises when it fails.
function M.sh(script, ...)
  local quoted = {}
  for i, argument in ipairs({ ... }) do
    quoted[i] = "'" .. tostring(argument):gsub("'", "'\\''") .. "'"
  end
  local setup = table.concat(quoted, " ")
  local ok, output = run("set -e\n" .. (setup ~= "" and "set -- " .. setup .. "\n" or "") .. script)
  assert(ok, script .. "\n" .. output)
  return output
end

local function have(program)
  return (run("command -v " .. program .. " || test -x /usr/sbin/" .. program))
end

--- Why no server can be started here, or nil.
function M.missing()
  for _, program in ipairs({ "git", "nginx", "fcgiwrap", "openssl" }) do
    if not have(program) then
      return program .. " is not installed"
    end
  end
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local configuration = [[
daemon on;
pid DIR/nginx.pid;
error_log DIR/error.log;
worker_processes 1;
WHOAMI
events { worker_connections 1024; }
http {
  log_format plain '$request_method $uri $args $status "$remote_user" "$http_authorization"';
  access_log DIR/access.log plain;
  client_max_body_size 0;
  client_body_temp_path DIR/body;
  fastcgi_temp_path DIR/fastcgi;
  proxy_temp_path DIR/proxy;
  scgi_temp_path DIR/scgi;
  uwsgi_temp_path DIR/uwsgi;
  map $uri $inner { ~^/[a-z]+(?<rest>/.*)$ $rest; }
  fastcgi_param PATH_INFO $inner;
  fastcgi_param SCRIPT_FILENAME BACKEND;
  fastcgi_param GIT_PROJECT_ROOT DIR/repos;
  fastcgi_param GIT_HTTP_EXPORT_ALL 1;
  fastcgi_param GIT_PROTOCOL $http_git_protocol;
  fastcgi_param REQUEST_METHOD $request_method;
  fastcgi_param QUERY_STRING $query_string;
  fastcgi_param CONTENT_TYPE $content_type;
  fastcgi_param CONTENT_LENGTH $content_length;
  fastcgi_param REMOTE_USER $remote_user;
  fastcgi_param REMOTE_ADDR $remote_addr;
  fastcgi_param HOME DIR;
  fastcgi_read_timeout 300s;
  fastcgi_buffering off;
  server {
    listen 127.0.0.1:PORT;
    location /git/ {
      auth_basic "git"; auth_basic_user_file DIR/htpasswd;
      fastcgi_pass unix:DIR/cgi.sock;
    }
    location /slow/ {
      auth_basic "git"; auth_basic_user_file DIR/htpasswd;
      limit_rate 300k; fastcgi_buffering on;
      fastcgi_pass unix:DIR/cgi.sock;
    }
    location /open/ {
      fastcgi_pass unix:DIR/cgi.sock;
    }
    location ~ ^/away(/.*)$ { return 302 AWAY$1$is_args$args; }
    location / { return 404; }
  }
}
]]

---@class GitServer
local Server = {}
Server.__index = Server

local function configure(server, port)
  local values = { DIR = server.dir, PORT = tostring(port), AWAY = server.away or "http://127.0.0.1:1",
    BACKEND = server.backend, WHOAMI = server.root and "user root;" or "" }
  write(server.dir .. "/nginx.conf", (configuration:gsub("%u%u%u%u+", values):gsub("DIR", values)))
end

--- Starts one. Its folder is temporary and goes with stop().
---@param options {away?: string}?
---@return GitServer
function M.start(options)
  local dir = M.sh("mktemp -d"):gsub("\n", "")
  local server = setmetatable({ dir = dir, user = M.user, password = M.password, away = options and options.away,
    backend = M.sh("git --exec-path"):gsub("\n", "") .. "/git-http-backend",
    root = M.sh("id -u"):match("%d+") == "0" }, Server)
  M.sh([[
    mkdir "$1/repos"; chmod 755 "$1"
    printf '%s:%s\n' "$2" "$(openssl passwd -apr1 "$3")" >"$1/htpasswd"
    PATH=$PATH:/usr/sbin
    setsid fcgiwrap -c 12 -s "unix:$1/cgi.sock" >"$1/cgi.log" 2>&1 </dev/null &
    echo $! >"$1/cgi.pid"
    i=0; while [ ! -S "$1/cgi.sock" ]; do i=$((i+1)); [ $i -lt 100 ]; sleep 0.05; done
    [ "$(id -u)" != 0 ] || chmod 666 "$1/cgi.sock"]], dir, M.user, M.password)
  for _ = 1, 20 do
    local port = 20000 + tonumber(M.sh("od -An -N2 -tu2 /dev/urandom")) % 12000
    configure(server, port)
    local ok, output = run(("PATH=$PATH:/usr/sbin nginx -c %s/nginx.conf"):format(dir))
    if ok then
      server.port = port
      return server
    elseif not output:find("Address already in use", 1, true) then
      server:stop()
      error(output)
    end
  end
  server:stop()
  error("no free port was found")
end

--- The address of a repository below one of the locations.
---@param location "git"|"open"|"slow"|"away"
---@param name string
function Server:url(location, name)
  return ("http://127.0.0.1:%d/%s/%s"):format(self.port, location, name)
end

--- The folder of a repository.
function Server:path(name)
  return self.dir .. "/repos/" .. name
end

--- Makes an empty repository that can be pushed to; with a script also a working copy, in which the script runs, with
--- everything committed and pushed afterwards.
---@param name string
---@param script string?
---@return string path
function Server:make(name, script)
  M.sh([[git init -q --bare -b main "$1"; git -C "$1" config http.receivepack true]], self:path(name))
  if script then
    self:change(name, script)
  end
  return self:path(name)
end

--- Changes a repository from outside: the script runs in a fresh working copy; what it leaves is committed and pushed.
---@return string sha of main afterwards
function Server:change(name, script)
  return (M.sh([[
    w=$(mktemp -d); HOME=$w; export HOME; git config --global protocol.file.allow always
    git config --global user.name Tester; git config --global user.email tester@example.com
    git config --global init.defaultBranch main; git config --global advice.detachedHead false
    git clone -q "$1" "$w/copy" 2>/dev/null; cd "$w/copy"
    ]] .. script .. "\n" .. [[
    git add -A; git diff --cached --quiet || git commit -q -m "a change"
    git push -q --tags origin 'refs/heads/*:refs/heads/*'
    cd /; rm -rf "$w"; git -C "$1" rev-parse main]], self:path(name)):match("(%x+)%s*$"))
end

--- Requests so far whose line in the access log matches: "METHOD path arguments status user authorization".
---@param pattern string
---@return integer
function Server:requests(pattern)
  local count = 0
  for line in io.lines(self.dir .. "/access.log") do
    if line:find(pattern) then
      count = count + 1
    end
  end
  return count
end

--- Ends it and removes its folder.
function Server:stop()
  run(([[
    d=%s
    [ ! -s $d/nginx.pid ] || kill "$(cat $d/nginx.pid)"
    [ ! -s $d/cgi.pid ] || kill -- -"$(cat $d/cgi.pid)"
    i=0; while [ -e $d/nginx.pid ] && [ $i -lt 100 ]; do i=$((i+1)); sleep 0.05; done
    rm -rf $d]]):format(self.dir))
end

return M
