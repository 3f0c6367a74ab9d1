--- The parts of the docker provider that need no engine: frames and marks, the shell around commands, tar, .dockerignore.
local async = require "spec.support.async"
local auth = require "luarium.docker.auth"
local container = require "luarium.docker.container"
local errors = require "luarium.error"
local frames = require "luarium.docker.frames"
local ignore = require "luarium.docker.ignore"
local options = require "luarium.docker.options"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"
local tar = require "luarium.docker.tar"
local wrap = require "luarium.docker.wrap"

local function frame(stream, bytes)
  local n = #bytes
  return string.char(stream, 0, 0, 0, math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256,
    math.floor(n / 256) % 256, n % 256) .. bytes
end

--- Feeds bytes in pieces of a size; what came of each stream, and the error.
local function parse(bytes, size)
  local parser, got = frames.new(false), { stdout = "", stderr = "" }
  for at = 1, #bytes, size do
    local ok, err = parser:add(bytes:sub(at, at + size - 1), function(stream, payload)
      assert(payload ~= "")
      got[stream] = (got[stream] or "") .. payload
    end)
    if not ok then
      return got, err, parser
    end
  end
  return got, nil, parser
end

describe("docker frames", function()
  it("are read in pieces of every size", function()
    local bytes = frame(1, "out") .. frame(2, "") .. frame(2, "error") .. frame(1, ("x"):rep(70000)) .. frame(0, "!")
      .. frame(3, "fault")
    for _, size in ipairs({ 1, 2, 3, 7, 8, 9, 100, 65536, #bytes }) do
      local got, err, parser = parse(bytes, size)
      assert.is_nil(err)
      assert.equal("out" .. ("x"):rep(70000) .. "!", got.stdout)
      assert.equal("error", got.stderr)
      assert.equal("fault", got.systemerr)
      assert.is_true(parser:is_whole())
    end
  end)

  it("know when they are cut", function()
    local bytes = frame(1, "out") .. frame(2, "error")
    for length = 1, #bytes - 1 do
      local _, _, parser = parse(bytes:sub(1, length), 3)
      assert.equal(length == #frame(1, "out"), parser:is_whole())
    end
  end)

  it("that make no sense are an error; what came before is kept", function()
    for _, bad in ipairs({ "\4\0\0\0\0\0\0\1x", "\1\1\0\0\0\0\0\1x", "HTTP/1.1 200", "\255\255\255\255\255\255\255\255" }) do
      local got, err = parse(frame(1, "kept") .. bad, 4096)
      assert.equal("kept", got.stdout)
      assert.equal("protocol", err.kind)
    end
  end)
end)

describe("docker marks", function()
  local mark = wrap.mark()

  it("end a stream wherever they are cut, and nothing before them is lost", function()
    local noise = { "", "text", "\30", mark:sub(1, 10), mark:sub(1, -2), mark .. "12", mark .. "abcde", ("\30"):rep(60) }
    for _, before in ipairs(noise) do
      local bytes = before .. "|" .. mark .. "04210" .. "left over"
      for _, size in ipairs({ 1, 2, 5, 26, 27, 28, 32, 1000 }) do
        local marked, text = frames.marked(mark), ""
        for at = 1, #bytes, size do
          text = text .. marked:add(bytes:sub(at, at + size - 1))
        end
        assert.equal(before .. "|", text)
        assert.is_true(marked.ended)
        assert.equal(42, marked.exit_code)
        assert.is_true(marked.oom)
      end
    end
  end)

  it("give back what was held, when none comes", function()
    for _, text in ipairs({ "", "x", "\30", "x" .. mark:sub(1, 5), "x" .. mark, "x" .. mark .. "00", mark .. "zzzzz" }) do
      local marked = frames.marked(mark)
      assert.equal(text, marked:add(text) .. marked:rest())
      assert.is_false(marked.ended)
    end
  end)
end)

describe("docker's shell around a command", function()
  --- Runs it here, as the engine would in a container.
  local function run(argv, options_given, input)
    options_given = options_given or {}
    local wrapped, err = wrap.wrap(argv, options_given.cwd or "/", options_given.env or {}, options_given.merge)
    assert(wrapped, err and err.message)
    local dir, words = scratch.make(), {}
    for i, word in ipairs(wrapped.argv) do
      words[i] = scratch.quote(word)
    end
    local env = {}
    for i, entry in ipairs(wrapped.env) do
      env[i] = scratch.quote(entry)
    end
    scratch.write(dir .. "/in", input or "\n")
    os.execute(("env -i PATH=$PATH %s %s <%s/in >%s/out 2>%s/err"):format(table.concat(env, " "),
      table.concat(words, " "), dir, dir, dir))
    local out, said = scratch.read(dir .. "/out"), scratch.read(dir .. "/err")
    scratch.drop(dir)
    local state, pid, after = wrap.hello(said, wrapped.mark)
    local streams = {}
    for name, text in pairs({ out = out, err = said:sub(after or 1) }) do
      local marked = frames.marked(wrapped.mark)
      streams[name] = marked:add(text)
      streams[name .. "_ended"], streams.code = marked.ended, marked.exit_code
    end
    return state, streams, pid
  end

  it("runs it, its streams apart or as one, and says how it ended", function()
    local state, streams, pid = run({ "sh", "-c", "echo out; echo err >&2; exit 3" })
    assert.equal("running", state)
    assert.is_truthy(tonumber(pid))
    assert.same({ out = "out\n", err = "err\n", out_ended = true, err_ended = true, code = 3 }, streams)
    state, streams = run({ "sh", "-c", "echo out; echo err >&2; kill -9 $$" }, { merge = true })
    assert.equal("running", state)
    assert.same({ out = "out\nerr\n", err = "", out_ended = true, err_ended = true, code = 137 }, streams)
  end)

  it("never begins when the line does not come", function()
    local state, streams = run({ "echo", "ran" }, nil, "")
    assert.equal("running", state)
    assert.same({ out = "", err = "", out_ended = false, err_ended = false }, streams)
  end)

  it("leaves the input after its line to the command", function()
    local _, streams = run({ "cat" }, nil, "\nfirst\n\nlast")
    assert.equal("first\n\nlast", streams.out)
  end)

  it("says what is wrong with the folder", function()
    assert.equal("missing", (run({ "true" }, { cwd = "/no/such/folder" })))
    assert.equal("file", (run({ "true" }, { cwd = "/etc/passwd" })))
  end)

  it("hands over bytes that are no text, and tells a program from a builtin", function()
    local odd = "\255\254\\0101 '\"$x\n\n"
    local _, streams = run({ "printf", "%s|%s", odd, "plain" }, { env = { ODD = odd } })
    assert.equal(odd .. "|plain", streams.out)
    _, streams = run({ "sh", "-c", 'printf %s "$ODD"' }, { env = { ODD = odd } })
    assert.equal(odd, streams.out)
    _, streams = run({ "exit", "5" })
    assert.equal(127, streams.code)
    assert.is_truthy(streams.err:find("exit", 1, true))
  end)

  it("refuses what Linux would", function()
    for _, case in ipairs({ { { "x", ("y"):rep(131072) }, {} }, { { "x" }, { A = ("y"):rep(131072) } } }) do
      local value, err = wrap.wrap(case[1], "/", case[2])
      assert.is_nil(value)
      assert.equal("invalid", err.kind)
      assert.is_truthy(err.message:find("131071", 1, true))
    end
  end)
end)

describe("docker's tar", function()
  it("is read by tar, whatever the name", function()
    local dir = scratch.make()
    for i, name in ipairs({ "a", "dir/name", ("n"):rep(99), ("n"):rep(100), ("d/"):rep(120) .. "e", "gr\195\188n", "\255" }) do
      scratch.write(dir .. "/x.tar", tar.entry(name, 416, 5, "file") .. "bytes" .. tar.finish(5))
      scratch.sh(("mkdir %s/%d && tar -xf %s/x.tar -C %s/%d"):format(dir, i, dir, dir, i))
      assert.equal("bytes", scratch.read(("%s/%d/%s"):format(dir, i, name)))
      assert.equal("640", scratch.sh(("stat -c %%a %s/%d/%s"):format(dir, i, scratch.quote(name))))
    end
    assert.is_nil(tar.entry("x", 420, 2 ^ 33, "file"))
    scratch.drop(dir)
  end)

  local function reader(bytes, size)
    local at = 1
    return function()
      if at > #bytes then
        return nil
      end
      at = at + size
      return bytes:sub(at - size, at - 1)
    end
  end

  it("gives the bytes of one file, and knows when they are cut", function()
    local dir = scratch.make()
    scratch.write(dir .. "/file", ("0123456789"):rep(1000))
    for _, format in ipairs({ "gnu", "pax", "ustar" }) do
      local archive = scratch.sh(("cd %s && tar --format=%s -cf x.tar file && cat x.tar | base64 -w0"):format(dir, format))
      local bytes = scratch.read(dir .. "/x.tar")
      assert.is_true(#archive > 0)
      for _, size in ipairs({ 1, 511, 512, 513, 4096, #bytes }) do
        local next_bytes, length = tar.single_file(reader(bytes, size))
        local text = ""
        for piece in next_bytes do
          text = text .. piece
        end
        assert.equal(10000, length)
        assert.equal(scratch.read(dir .. "/file"), text)
      end
      local ok, err = pcall(function()
        for _ in tar.single_file(reader(bytes:sub(1, 3000), 100)) do end -- luacheck: ignore
      end)
      assert.is_false(ok)
      assert.equal("unavailable", err.kind)
    end
    scratch.sh(("cd %s && mkdir d && tar -cf x.tar d"):format(dir))
    assert.is_nil((tar.single_file(reader(scratch.read(dir .. "/x.tar"), 100))))
    scratch.drop(dir)
  end)
end)

describe(".dockerignore", function()
  it("decides by the last pattern that matches", function()
    local rules, exceptions = ignore.parse("# comment\n\n*.log\n!keep.log\n/build/\nsub/*.txt\n**/tmp\ndocs\n!docs/a.md\n"
      .. "a?c\n[xy]z\n")
    assert.is_true(exceptions)
    for path, excluded in pairs({
      ["a.log"] = true, ["sub/a.log"] = false, ["keep.log"] = false, build = true, ["sub/build"] = false,
      ["sub/x.txt"] = true, ["sub/deep/x.txt"] = false, tmp = true, ["a/b/tmp"] = true, ["a/tmpx"] = false, docs = true,
      ["docs/a.md"] = false, abc = true, ac = false, ["a/c"] = false, xz = true, yz = true, zz = false,
    }) do
      assert.equal(excluded, ignore.excludes(rules, path), path)
    end
  end)
end)

describe("docker's options", function()
  it("are checked with what was meant", function()
    for text, given in pairs({
      ["did you mean 'read_only'"] = { read_onyl = true }, ["options.build"] = { build = {} },
      ["options.health"] = { health = {} }, ["options.ulimits.nofile"] = { ulimits = { nofile = "many" } },
      ["missing, always, never"] = { pull = "sometimes" }, ["exclude each other"] = { build = ".", snapshot = "x" },
    }) do
      local ok, err = pcall(options.check, given)
      assert.is_false(ok)
      assert.is_true(errors.is(err, "invalid"))
      assert.is_truthy(err.message:find(text, 1, true), err.message)
    end
  end)

  it("have ranges, and are not taken for something else by the engine", function()
    local huge = math.huge
    for text, list in pairs({
      ["cpu: expected cores"] = { { cpu = 0 }, { cpu = -1 }, { cpu = huge }, { cpu = 1e-9 } },
      ["memory: expected a whole number of bytes"] = { { memory = 0 }, { memory = 1.5 }, { memory = huge },
        { memory = 1e15 } },
      ["disk: expected a whole number of bytes"] = { { disk = 0 }, { disk = -5 } },
      ["network: expected"] = { { network = "" }, { network = "a\nb" } },
      ["user: expected"] = { { user = "" } }, ["cwd: expected"] = { { cwd = "" } },
      ["command: the list is empty"] = { { command = {} } }, ["UTF-8"] = { { labels = { ["\255"] = "x" } } },
    }) do
      for _, spec in ipairs(list) do
        local ok, err = pcall(options.check_spec, spec)
        assert.is_false(ok, text)
        assert.equal("invalid", err.kind)
        assert.is_truthy(err.message:find(text, 1, true), err.message)
      end
    end
    options.check_spec({ cpu = 0.5, memory = 67108864, disk = 2 ^ 30, network = false, user = "nobody", command = { "x" } })
    for text, list in pairs({
      ["tmpfs"] = { { tmpfs = { "" } }, { tmpfs = { ":" } }, { tmpfs = { "relative" } } },
      ["dns"] = { { dns = { "nonsense" } } }, ["gpus"] = { { gpus = 0 }, { gpus = {} } },
      ["shm_size"] = { { shm_size = 0 }, { shm_size = 1e15 } }, ["oom_score"] = { { oom_score = 5000 } },
      ["ulimits.nofile"] = { { ulimits = { nofile = -1 } }, { ulimits = { nofile = huge } },
        { ulimits = { nofile = { soft = 2, hard = 1 } } } },
      ["no limit nofiles"] = { { ulimits = { nofiles = 1 } } }, ["hostname"] = { { hostname = ("h"):rep(65) } },
      ["health.command is empty"] = { { health = { command = "" } }, { health = { command = {} } } },
      ["interval"] = { { health = { command = "true", interval = 0 } } }, ["build is empty"] = { { build = "" } },
    }) do
      for _, given in ipairs(list) do
        local ok, err = pcall(options.check, given)
        assert.is_false(ok, text)
        assert.equal("invalid", err.kind)
        assert.is_truthy(err.message:find(text, 1, true), err.message)
      end
    end
  end)

  it("publish ports on loopback, unless somebody says otherwise", function()
    local function bindings(ports)
      return options.body({ id = "sbx_x", ports = ports }, {}, "i", "/work", "127.0.0.1").HostConfig.PortBindings
    end
    assert.same({ ["80/tcp"] = { { HostIp = "127.0.0.1", HostPort = "" } } }, bindings({ 80 }))
    assert.same({ ["80/tcp"] = { { HostIp = "127.0.0.1", HostPort = "9000" } } }, bindings({ "9000:80" }))
    assert.same({ ["80/udp"] = { { HostIp = "0.0.0.0", HostPort = "9000" } } }, bindings({ "0.0.0.0:9000:80/udp" }))
    assert.same({ ["80/tcp"] = { { HostIp = "::1", HostPort = "9000" } } }, bindings({
      { port = 80, host_port = 9000, address = "::1" } }))
    assert.is_nil(bindings({}))
  end)

  it("know the registry of an image", function()
    local hub = "https://index.docker.io/v1/"
    for image, host in pairs({ debian = hub, ["debian:12"] = hub, ["user/image"] = hub, ["docker.io/user/image"] = hub,
      ["r.example/a:1"] = "r.example", ["r:5000/a"] = "r:5000", ["localhost/a"] = "localhost" }) do
      assert.equal(host, auth.registry_of(image), image)
    end
  end)
end)

describe("the end of a container", function()
  it("is told the same to whoever asks while it is being taken away", async(10, function()
    local removing, removed = task.event("the request"), task.event("the answer")
    local there = true
    local engine = { ended = {}, burying = {}, request = function(_, method, path)
      if method == "DELETE" then
        there = false
        removing:set()
        removed:wait()
        return true
      elseif path:find("/logs", 1, true) then
        return "last words"
      elseif not there then
        return nil, errors.new("not_found", "no such container", { status = 404 })
      end
      return { Id = "c0ffee", Name = "/x", State = { Status = "exited", ExitCode = 137 }, Config = {} }
    end }
    local first, second
    task.scope(function(scope)
      scope:spawn(function()
        first = container.explain({ name = "docker" }, engine, "c0ffee")
      end)
      removing:wait()
      scope:spawn(function()
        second = container.explain({ name = "docker" }, engine, "c0ffee")
      end)
      task.yield()
      removed:set()
    end)
    assert.matches("has ended %(exit code 137%): last words", first.message)
    assert.equal(first.message, second.message)
  end))
end)
