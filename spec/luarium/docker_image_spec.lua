local async = require "spec.support.async"
local boxes = require "spec.support.docker_box"
local config = require "luarium.config"
local dockerd = require "spec.support.dockerd"
local event = require "luarium.event"
local json = require "luarium.json"
local native = require "luarium.native"
local peer = require "spec.support.peer"
local proxies = require "spec.support.proxy"
local registries = require "spec.support.docker_registry"
local sandbox = require "luarium.sandbox"
local scratch = require "spec.support.scratch"
local secret = require "luarium.secret"

local registry, image

local engine = peer("docker images", { dockerd, registries }, { prepare = function(engine)
  registry = registries.start()
  -- some weight, so that there is progress to tell of
  scratch.sh("head -c 8000000 /dev/urandom >" .. engine.dir .. "/rootfs/weight")
  engine:import(engine.dir .. "/rootfs", "heavy:1")
  image = registry:push(engine, "heavy:1")
  engine:ask("DELETE", "/images/heavy:1")
  local finish = boxes.configure(engine)
  return function()
    finish()
    registry:stop()
  end
end })
if not engine then
  return
end

local error_of = boxes.error_of

local function configure(name, entry, host)
  config.configure({ providers = { [name] = { "docker", host = host or engine.host, image = image,
    registries = entry and { [registry.host] = entry } } } })
end

local function forget()
  engine:ask("DELETE", "/images/" .. image .. "?force=1")
end

describe("docker: pull", function()
  after_each(forget)

  it("brings an image from a private registry, and tells how far it is", async(120, function()
    configure("reader", { username = registries.username, password = secret.new(registries.password, "PASSWORD") })
    local told, all = {}, {}
    local off = event.on("*", function(record)
      all[#all + 1] = event.to_json(record)
      if record.event == "progress" then
        told[#told + 1] = record
      end
    end)
    sandbox.with({ provider = "reader" }, function(box)
      assert.equal(8000000, box:stat("/weight").size)
    end)
    off()
    assert.is_true(#told > 0)
    local last = told[#told]
    assert.equal("pull " .. image, last.what)
    assert.equal("bytes", last.unit)
    assert.is_true(last.total > 8000000 and last.done == last.total)
    local text = table.concat(all, "\n")
    assert.is_nil(text:find(registries.password, 1, true))
    assert.is_nil(text:find(native.crypto.base64_encode(registries.password):sub(1, 12), 1, true))
  end))

  it("says that credentials are wrong or missing, and shows none", async(120, function()
    configure("wrong", { username = registries.username, password = "not this one" })
    configure("none")
    for _, name in ipairs({ "wrong", "none" }) do
      local err = error_of(sandbox.create, { provider = name })
      assert.equal("auth", err.kind, tostring(err))
      assert.is_truthy(tostring(err):find(image, 1, true))
      assert.is_nil(err:trace():find("not this one", 1, true))
    end
    assert.same({}, engine:containers())
  end))

  it("says that there is no such image", async(60, function()
    configure("reader", { username = registries.username, password = registries.password })
    local err = error_of(sandbox.create, { provider = "reader", image = registry.host .. "/private/heavy:2" })
    assert.equal("not_found", err.kind, tostring(err))
    for _, name in ipairs({ "UPPER:1", "a b", "x:y:z", "" }) do
      err = error_of(sandbox.create, { provider = "reader", image = name })
      assert.equal("invalid", err.kind, name .. ": " .. tostring(err))
    end
  end))

  it("goes on when its stream is cut", async(120, function()
    local proxy = proxies.start(engine.socket)
    configure("cut", { username = registries.username, password = registries.password }, proxy.host)
    for _, rule in ipairs({ "cut 400 /images/create", "drop /images/create" }) do
      proxy:say(rule)
      sandbox.with({ provider = "cut" }, function(box)
        assert.equal(8000000, box:stat("/weight").size)
      end)
      forget()
    end
    proxy:stop()
  end))

  it("always, or never", async(120, function()
    configure("reader", { username = registries.username, password = registries.password })
    assert.equal("not_found", error_of(sandbox.create, { provider = "reader", options = { pull = "never" } }).kind)
    sandbox.with({ provider = "reader", options = { pull = "always" } }, function() end)
    sandbox.with({ provider = "reader", options = { pull = "never" } }, function() end)
    configure("none")
    assert.equal("auth", error_of(sandbox.create, { provider = "none", options = { pull = "always" } }).kind)
  end))
end)

describe("docker: credentials of ~/.docker/config.json", function()
  --- What the header for an image says, with a config.json and programs on the path.
  local function credentials(value, wanted, programs)
    local dir = scratch.make()
    scratch.write(dir .. "/config.json", json.encode(value))
    scratch.sh("mkdir " .. dir .. "/bin")
    for name, text in pairs(programs or {}) do
      scratch.write(dir .. "/bin/" .. name, text)
      scratch.sh("chmod +x " .. dir .. "/bin/" .. name)
    end
    scratch.write(dir .. "/ask.lua", ([[
      local auth, secret = require "luarium.docker.auth", require "luarium.secret"
      require("luarium.task").run(function()
        local header = auth.pull_headers(nil, %q)["X-Registry-Auth"]
        io.write(header and secret.reveal(header) or "none")
      end)]]):format(wanted))
    local function quoted(name)
      return name .. "=" .. scratch.quote(name == "LUA_PATH" and package.path or package.cpath)
    end
    local out = scratch.sh(("%s %s DOCKER_CONFIG=%s PATH=%s/bin:$PATH %s %s/ask.lua"):format(quoted("LUA_PATH"),
      quoted("LUA_CPATH"), dir, dir, rawget(_G, "jit") and "luajit" or "lua5.4", dir))
    scratch.drop(dir)
    return out == "none" and out or json.decode(native.crypto.base64_decode((out:gsub("-", "+"):gsub("_", "/"))))
  end

  local auth = native.crypto.base64_encode("joe:pass:word")

  it("are found by the registry's name in all its forms", function()
    for key, wanted in pairs({ ["registry.example:5000"] = "registry.example:5000/a/b:1",
      ["https://registry.example"] = "registry.example/a", ["https://index.docker.io/v1/"] = "debian:12",
      ["docker.io"] = "joe/private", ["localhost"] = "localhost/x" }) do
      local found = credentials({ auths = { [key] = { auth = auth } } }, wanted)
      assert.equal("joe", found.username, key)
      assert.equal("pass:word", found.password, key)
    end
    assert.equal("none", credentials({ auths = { ["other.example"] = { auth = auth } } }, "registry.example/a"))
    assert.equal("tok", credentials({ auths = { ["r.example"] = { identitytoken = "tok" } } }, "r.example/a").identitytoken)
  end)

  it("come from helpers", function()
    local helper = [=[#!/bin/sh
read -r host
[ "$1 $host" = "get r.example" ] && echo '{"Username":"ann","Secret":"from helper"}' || exit 1]=]
    local programs = { ["docker-credential-spec"] = helper }
    assert.equal("from helper", credentials({ credHelpers = { ["r.example"] = "spec" } }, "r.example/a", programs).password)
    assert.equal("ann", credentials({ credsStore = "spec", auths = { ["r.example"] = {} } }, "r.example/a",
      programs).username)
    assert.equal("none", credentials({ credsStore = "spec" }, "other.example/a", programs))
    assert.equal("none", credentials({ credsStore = "../evil" }, "r.example/a", programs))
    assert.equal("none", credentials({ credsStore = "missing" }, "r.example/a"))
  end)
end)

describe("docker: build", function()
  local dir

  before_each(function()
    dir = scratch.make()
    configure("builder", { username = registries.username, password = registries.password })
  end)

  after_each(function()
    scratch.drop(dir)
  end)

  local function write(files)
    for name, text in pairs(files) do
      scratch.sh("mkdir -p " .. scratch.quote((dir .. "/" .. name):match("^(.*)/")))
      scratch.write(dir .. "/" .. name, text)
    end
  end

  it("makes the image of a folder, without what is ignored", async(120, function()
    write({ Dockerfile = "FROM busybox:spec\nARG WORD=none\nRUN echo built $WORD >/made\nCOPY . /context\n",
      [".dockerignore"] = "# a comment\nnode_modules\n*.log\n!keep.log\nsub/*/deep\n**/tmp\n",
      ["a.txt"] = "a", ["b.log"] = "b", ["keep.log"] = "k", ["node_modules/x/y"] = "n", ["sub/node_modules/z"] = "z",
      ["sub/one/deep/f"] = "d", ["sub/one/other"] = "o", ["sub/tmp/t"] = "t", ["tmp/t"] = "t" })
    local steps = {}
    local off = event.on("progress", function(record)
      steps[#steps + 1] = record
    end)
    sandbox.with({ provider = "builder", options = { build = { context = dir, args = { WORD = "it's \"so\"" } } } },
      function(box)
        assert.equal("built it's \"so\"\n", box:read_file("/made"))
        assert.equal("./.dockerignore\n./Dockerfile\n./a.txt\n./keep.log\n./sub/node_modules/z\n./sub/one/other\n",
          box:exec("cd /context && find . -type f | sort").stdout)
      end)
    off()
    assert.equal("steps", steps[1].unit)
    assert.equal(5, steps[#steps].total) -- our label is a step of its own
  end))

  it("begins with images of private registries", async(120, function()
    write({ ["sub/Other"] = "FROM " .. image .. "\nRUN echo yes >/made\n" })
    sandbox.with({ provider = "builder", options = { build = { context = dir, dockerfile = "sub/Other" } } }, function(box)
      assert.equal("yes\n", box:read_file("/made"))
    end)
    forget()
  end))

  it("says what is wrong", async(120, function()
    for _, case in ipairs({
      { "FROM busybox:spec\nRUN echo why >&2; exit 7\n", "invalid", "RUN echo why" },
      { "FROM busybox:spec\nRUN echo an earlier step\nRUN printf 'first\\n%s line\\n' last; exit 7\n", "invalid",
        "first last line" },
      { "FORM busybox\n", "invalid", "FORM" },
      { "FROM busybox:spec\nCOPY missing /x\n", nil, "missing" },
    }) do
      write({ Dockerfile = case[1] })
      local err = error_of(sandbox.create, { provider = "builder", options = { build = dir } })
      assert.is_true(case[2] == nil or case[2] == err.kind, tostring(err))
      assert.is_truthy(tostring(err):find(case[3], 1, true), tostring(err))
    end
    local err = error_of(sandbox.create, { provider = "builder", options = { build = dir .. "/none" } })
    assert.equal("not_found", err.kind)
    err = error_of(sandbox.create, { provider = "builder", options = { build = { context = dir, dockefile = "x" } } })
    assert.is_truthy(err.message:find("dockerfile", 1, true))
    assert.same({}, engine:containers())
  end))
end)
