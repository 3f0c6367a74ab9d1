local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local dockerd = require "spec.support.dockerd"
local peer = require "spec.support.peer"
local sandbox = require "luarium.sandbox"
local scratch = require "spec.support.scratch"

local openssl = { missing = function()
  return scratch.sh("command -v openssl || true") == "" and "openssl is not installed" or nil
end }

local certs, tls_port

local function make_certificates()
  certs = scratch.make()
  scratch.sh(([[
    cd DIR
    openssl ecparam -name prime256v1 -genkey -noout -out ca-key.pem
    openssl req -x509 -new -key ca-key.pem -days 2 -subj "/CN=a throw-away authority" -out ca.pem
    issue() {
      openssl ecparam -name prime256v1 -genkey -noout -out $1key.pem
      openssl req -new -key $1key.pem -subj "/CN=$2" -out csr
      printf '%s\n' "$3" >ext
      openssl x509 -req -in csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ext -out $1cert.pem
    }
    issue server- server "subjectAltName=IP:127.0.0.1"
    issue "" client "extendedKeyUsage=clientAuth"
    mkdir stranger && cp ca.pem stranger/]]):gsub("DIR", certs))
end

local engine = peer("docker over TCP", { dockerd, openssl }, {
  start = function(at_end)
    make_certificates()
    at_end(function()
      scratch.drop(certs)
    end)
    math.randomseed(os.time() + tonumber(certs:sub(-6), 36) % 100000)
    tls_port = math.random(10000, 31000)
    return dockerd.start({ args = { "--host", "tcp://127.0.0.1:" .. tls_port, "--tlsverify", "--tlscacert",
      certs .. "/ca.pem", "--tlscert", certs .. "/server-cert.pem", "--tlskey", certs .. "/server-key.pem" } })
  end,
  prepare = function(engine)
    return boxes.configure({ host = "tcp://127.0.0.1:" .. tls_port, image = engine.image },
      { cert_path = certs, tls_verify = true })
  end,
})
if not engine then
  return
end

describe("docker over TCP", function()
  it("does all that it does over a socket, stdin's end and large transfers too", async(120, function()
    sandbox.with({ provider = "docker" }, function(box)
      local bytes = ("0123456789abcdef"):rep(131072)
      assert.equal("2097152\n", box:exec("echo $(wc -c)", { stdin = bytes, timeout = 30 }).stdout)
      assert.equal(bytes, box:exec("cat", { stdin = bytes, timeout = 30 }).stdout)
      assert.equal("yes\r\n", box:exec("[ -t 0 ] && echo yes", { pty = true, timeout = 20 }).stdout)
      assert.is_true(box:exec("sleep 60", { timeout = 0.5 }).timed_out)
      scratch.write(certs .. "/up", bytes)
      box:upload(certs .. "/up", "up")
      box:download("up", certs .. "/down")
      assert.equal(bytes, scratch.read(certs .. "/down"))
    end)
    assert.same({}, engine:containers())
  end))

  it("verifies the engine and itself, and refuses plain TCP elsewhere", async(60, function()
    local function kind_of(entry)
      entry[1] = "docker"
      config.configure({ providers = { other = entry } })
      return boxes.error_of(sandbox.create, { provider = "other" })
    end
    local host = "tcp://127.0.0.1:" .. tls_port
    assert.equal("unavailable", kind_of({ host = host, cert_path = certs .. "/stranger", tls_verify = true }).kind)
    assert.is_truthy(kind_of({ host = host }).kind)
    local err = kind_of({ host = "tcp://192.0.2.1:2375" })
    assert.equal("invalid", err.kind)
    assert.is_truthy(err.message:find("allow_plain", 1, true))
    for _, name in ipairs({ "tcp://", "nonsense", "ftp://x" }) do
      assert.equal("invalid", kind_of({ host = name }).kind, name)
    end
    assert.equal("unavailable", kind_of({ host = "unix:///no/such/socket" }).kind)
  end))
end)
