--- A server on a unix socket that does what no decent server does. The path of the request chooses:
---   /partial /empty /garbage /silent /stalled /bad-head /big-head /early ...: see the script below.
---   /raw    after its request line and head it echoes bytes
local scratch = require "spec.support.scratch"

local M = {}

local script = [=[
#!/bin/sh
read -r method path version
size=0
while read -r line; do
  line=$(printf '%s' "$line" | tr -d '\r')
  [ -n "$line" ] || break
  case "$line" in [Cc]ontent-[Ll]ength:*) size=${line#*: };; esac
done
ok='HTTP/1.1 200 OK\r\n'
until_closed() { cat >/dev/null; }
case "$path" in
  /partial) printf "${ok}Content-Length: 100\r\n\r\nabc" ;;
  /empty) ;;
  /garbage) printf 'SSH-2.0-OpenSSH_9.2\r\n' ;;
  /silent) until_closed ;;
  /deaf) sleep 2 ;;
  /stalled) printf "${ok}Content-Length: 100\r\n\r\nabc"; until_closed ;;
  /steady) printf "${ok}Content-Length: 10\r\n\r\n"; for i in 1 2 3 4 5 6 7 8 9 0; do printf $i; sleep 0.1; done ;;
  /bad-head) printf "${ok}no colon here\r\n\r\n" ;;
  /big-head) printf "$ok"; i=0
    while [ $i -lt 400 ]; do printf "X-%s: %01000d\r\n" $i 0; i=$((i + 1)); done; printf "\r\n" ;;
  /early) printf "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig" ;;
  /interim) printf "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok}Content-Length: 2\r\n\r\nok" ;;
  /folded) printf "${ok}X-Long: one\r\n\ttwo\r\n  three\r\nContent-Length: 0\r\n\r\n" ;;
  /trailers) printf "${ok}Transfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n"
    printf '3\r\nabc\r\n0\r\nGrpc-Status: 7\r\n\r\n' ;;
  /chunks) printf "${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" ;;
  /endless) printf "$ok\r\n"; yes 0123456789abcdef 2>/dev/null ;;
  /echo) printf "${ok}Content-Length: $size\r\n\r\n"; head -c "$size" ;;
  /duplex) printf "$ok\r\n"; cat ;;
  /raw) printf 'HTTP/1.1 101 Switching Protocols\r\n\r\n'; cat ;;
  *) printf 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n' ;;
esac
]=]

--- Why it cannot be started here, or nil.
function M.missing()
  if scratch.sh("command -v socat || true") == "" then
    return "socat is not installed"
  end
end

--- Starts it; returns the path of its socket and a function that ends it.
function M.start()
  local dir = scratch.make()
  scratch.write(dir .. "/rude.sh", script)
  scratch.sh(([[
    cd DIR
    socat UNIX-LISTEN:socket,fork,backlog=200 EXEC:"sh rude.sh" >log 2>&1 &
    echo $! >pid
    while ! [ -S socket ]; do sleep 0.01; done]]):gsub("DIR", dir))
  return dir .. "/socket", function()
    scratch.sh(("kill $(cat DIR/pid)"):gsub("DIR", dir))
    scratch.drop(dir)
  end
end

return M
