local async = require "spec.support.async"
local git = require "luarium.git"
local git_server = require "spec.support.git_server"
local state = require "spec.support.state"
local errors = require "luarium.error"
local event = require "luarium.event"
local json = require "luarium.json"
local luarium = require "luarium"
local names = require "luarium.collect.names"
local native = require "luarium.native"
local provider = require "luarium.provider"
local task = require "luarium.task"

local await, fs, sh = task.await, native.fs, git_server.sh

--- The local provider with a sandbox that lies about what files it has, or breaks off.
local trouble = {}
local base = provider.load("local")
local liar = { name = "spec_liar" }
for key, value in pairs(base) do
  if key ~= "name" then
    liar[key] = value
  end
end
liar.exec = function(self, box, cmd, options)
  if trouble.found and cmd.argv[3]:find("-name .git -prune", 1, true) then
    return { exit_code = 0, stdout = trouble.found, stderr = "", stdout_bytes = #trouble.found, stderr_bytes = 0,
      truncated = false, timed_out = false, duration = 0 }
  end
  return base.exec(self, box, cmd, options)
end
liar.read_file = function(self, box, path, options)
  if trouble.read then
    return trouble.read(path, function()
      return base.read_file(self, box, path, options)
    end)
  end
  return base.read_file(self, box, path, options)
end
provider.register(provider.define(liar))

local function fails(kind, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "expected an error of kind " .. kind)
  assert(errors.is(err, kind), ("expected kind %s, got %s"):format(kind, errors.is(err) and err:trace() or tostring(err)))
  return err
end

local function it_in(name, options, fn)
  if not fn then
    options, fn = {}, options
  end
  it(name, async(options.limit or 20, function()
    trouble = {}
    state.with(function(folder)
      luarium.with({ provider = options.provider or "local", name = options.name }, function(box)
        fn(box, folder .. "/run", folder)
      end)
    end)
    trouble = {}
  end))
end

local function read(path)
  return assert(await(fs.read_file(path)))
end

--- A repository with a commit, made in the sandbox.
local function repository(box, script)
  box:exec([[
    git init -q -b main repo && cd repo || exit
    git config user.name T; git config user.email t@example.com
    mkdir sub; seq 50 >a; echo b >b; echo c >sub/c; printf '\0\1' >bin; ln -s a link; printf '#!/bin/sh\n' >run
    : >empty; echo '*.log' >.gitignore; git add -A; git commit -q -m base
  ]] .. (script or ""), { check = true })
  return git.open(box, "repo", { base = box:exec("git -C repo rev-list --max-parents=0 HEAD").stdout:match("%x+") })
end

local function errors_of(report)
  local list = {}
  for _, item in ipairs(report.errors) do
    list[#list + 1] = item.what .. ": " .. item.kind
  end
  table.sort(list)
  return list
end

local function stored(report)
  local list = {}
  for _, item in ipairs(report.files) do
    list[#list + 1] = item.stored
  end
  return list
end

describe("collected names", function()
  it("match as a shell would", function()
    for pattern, cases in pairs({
      ["a.txt"] = { ["a.txt"] = true, ["a.txt/x"] = true, ["axtxt"] = false, ["b/a.txt"] = false },
      ["./out/"] = { ["out/x"] = true, ["outer"] = false },
      ["*.log"] = { ["x.log"] = true, ["d/x.log"] = false, [".log"] = true, ["xlog"] = false },
      ["**/*.log"] = { ["x.log"] = true, ["a/b/x.log"] = true, ["x.logs"] = false },
      ["a/**/z"] = { ["a/z"] = true, ["a/b/c/z"] = true, ["ab/z"] = false },
      ["out/**"] = { ["out/a/b"] = true, ["outer/a"] = false },
      ["f?[0-9]"] = { ["fx1"] = true, ["f/1"] = false, ["fxa"] = false },
      ["[!a]x"] = { ["bx"] = true, ["ax"] = false, ["/x"] = false },
      ["a+(b)%-[x"] = { ["a+(b)%-[x"] = true },
      ["."] = { ["anything/at/all"] = true },
      ["*\n*"] = { ["a\nb"] = true },
    }) do
      local compiled = names.pattern(pattern)
      for path, expected in pairs(cases) do
        assert.equal(expected, compiled.matches(path), pattern .. " and " .. path)
      end
    end
    assert.equal("out/deep", names.pattern("out/deep/*.x").root)
    assert.equal("/", names.pattern("/*.x").root)
    assert.equal(".", names.pattern("*.x").root)
  end)

  it("stay in their folder", function()
    for path, expected in pairs({
      ["a/b"] = "a/b", ["a\nb"] = "a%0Ab", ["ü"] = "ü", ["100%"] = "100%25", ["-rf"] = "-rf",
      ["../x"] = false, ["a/../../x"] = false, ["/x"] = false, ["a//b"] = false, ["./x"] = false, ["a/"] = false,
      [""] = false, [("x"):rep(300)] = false, [("x/"):rep(2000) .. "x"] = false, ["a/\27[31m"] = "a/%1B[31m",
    }) do
      assert.equal(expected or nil, names.safe(path), path)
    end
  end)

  it("are shown as valid UTF-8 without control characters", function()
    assert.equal("ü€𝄞 a\n", names.printable("ü€𝄞 a\n"))
    assert.equal("\\x1b[31m\\x07\\xff\\xe9x", names.printable("\27[31m\7\255\233x"))
    assert.equal("\\xc2\\x9b1", names.printable("\194\1551"))
    assert.equal("\\xed\\xa0\\x80 \\xc0\\xaf \\xf5", names.printable("\237\160\128 \192\175 \245"))
    assert.equal("cut \\xe2\\x82", names.printable("cut \226\130"))
  end)
end)

describe("collect", function()
  it_in("writes a patch that reproduces the tree in a fresh clone", { name = "worker" }, function(box, dir, folder)
    local repo = repository(box)
    sh("git clone -q $1 $2", repo.path, folder .. "/fresh")
    box:exec([[
      sed -i 's/^25$/changed/' a; git rm -q b; git mv sub/c 'sub/mövéd'; git commit -q -am 'one
with a body'; printf '\0\2\377' >bin; chmod +x run; rm link; ln -s sub link; printf 'no end' >'dir
with line'; mkdir -p new/deep; head -c 100000 /dev/urandom >new/deep/random; : >new/nothing
      printf 'x\r\ny\r\n' >crlf; echo ' trailing ' >'-dash and "quotes"'; echo skipped >x.log; rm empty
      printf '%s' "$(printf 'latin\351')" >"$(printf 'latin\351')"; git add new/nothing
    ]], { cwd = repo.path, check = true })
    local before = sh("git -C $1 status --porcelain -z | sha1sum; git -C $1 count-objects", repo.path)
    local report = box:collect({ dir = dir, repo = repo })
    assert.same({}, report.errors)
    assert.is_true(report.complete and report.diff.complete)
    assert.equal(dir .. "/worker", report.dir)
    assert.equal(before, sh("git -C $1 status --porcelain -z | sha1sum; git -C $1 count-objects", repo.path))
    sh("git -C $1 apply --index $2", folder .. "/fresh", report.dir .. "/diff.patch")
    local tree = "cd $1; git add -A; git write-tree"
    assert.equal(sh(tree, repo.path), sh(tree, folder .. "/fresh"))
    assert.same({ repo.base, repo:head(), "main" }, { report.base, report.head, report.branch })
    assert.equal("one with a body", report.commits[1].subject)
    local by_path = {}
    for _, change in ipairs(report.changed) do
      by_path[change.path] = change
    end
    assert.same({ path = "a", status = "modified", mode = "100644", added = 1, deleted = 1 }, by_path.a)
    assert.same({ "renamed", "sub/c" }, { by_path["sub/mövéd"].status, by_path["sub/mövéd"].renamed_from })
    assert.same({ "deleted", "added", true }, { by_path.b.status, by_path["new/deep/random"].status,
      by_path["new/deep/random"].binary })
    assert.is_nil(by_path["x.log"])
    assert.truthy(read(report.dir .. "/diff.stat"):find("files changed", 1, true))
    assert.equal("drwx------", sh("ls -ld $1", report.dir):sub(1, 10))
    assert.equal("-rw-------", sh("ls -l $1", report.dir .. "/diff.patch"):sub(1, 10))
  end)

  it_in("reports what a reader wants to know, as JSON", { name = "a%b" }, function(box, dir)
    local repo = repository(box, "printf '\\377' >\"$(printf 'odd\\033\\377')\"")
    local report = box:collect({
      dir = dir, repo = repo.path, base = "HEAD", files = { "a" }, logs = { agent = "text" },
      results = { test = box:exec("exit 3"), lint = 0 }, durations = { agent = 12.5 },
    })
    assert.equal(dir .. "/a%25b", report.dir)
    local text = read(report.dir .. "/report.json")
    assert.is_nil(text:find("[\27\255]"))
    local back = assert(json.decode_plain(text))
    assert.same({ id = box.id, name = "a%b", external_id = box.external_id }, back.sandbox)
    assert.same({ "local", repo.path, 3, 0, 12.5, true }, { back.provider, back.repo.path,
      back.exit_codes.test.exit_code, back.exit_codes.lint.exit_code, back.durations.agent, back.complete })
    assert.same({ files = 1, added = 1, deleted = 0, commits = 0 }, back.totals)
    assert.equal("odd\\x1b\\xff", back.changed[1].path)
    assert.equal("odd\27\255", report.changed[1].path)
    assert.truthy(text:find('"errors": []', 1, true))
    assert.equal(native.crypto.sha256(read(report.dir .. "/files/a")), back.files[1].sha256)
    assert.equal("text", read(report.dir .. "/logs/agent"))
  end)

  it_in("takes the files that were chosen, with their paths", function(box, dir)
    local repo = repository(box, [[
      mkdir -p out/deep .git/x; echo 1 >out/r.html; echo 2 >out/deep/r.html; echo 3 >out/other; echo 4 >top.log
      printf 'n' >"out/new
line.html"; mkfifo out/fifo; ln -s /etc/passwd out/link.html; ln -s out linked; echo 5 >.git/x/r.html; printf '' >out/zero.html]])
    box:write_file("/tmp/" .. box.id .. "/abs.txt", "absolute")
    local report = box:collect({ dir = dir, repo = repo, files = { "**/*.html", "./out/deep", "*.log", "linked",
      "out/fifo", "none/*.x", "missing", "/tmp/" .. box.id .. "/*.txt" } })
    box:remove("/tmp/" .. box.id, { recursive = true })
    assert.same({ "files/absolute/tmp/" .. box.id .. "/abs.txt", "files/out/deep/r.html", "files/out/new%0Aline.html",
      "files/out/r.html", "files/out/zero.html", "files/top.log" }, stored(report))
    assert.equal("n", read(report.dir .. "/files/out/new%0Aline.html"))
    assert.same({ "linked: unsupported", "missing: not_found", "none/*.x: not_found", "out/fifo: unsupported" },
      errors_of(report))
    assert.is_false(report.complete)
    assert.equal("2\n", read(report.dir .. "/files/out/deep/r.html"))
  end)

  it_in("takes files without a repository, and nothing when nothing is asked", function(box, dir)
    box:write_file("x/y", "1")
    local report = box:collect({ dir = dir, files = { "x" } })
    assert.same({ "files/x/y" }, stored(report))
    assert.equal(dir .. "/" .. box.id, report.dir)
    assert.equal("files\nreport.json\n", sh("ls $1", report.dir))
    report = box:collect({ dir = dir })
    assert.equal("report.json\n", sh("ls $1", report.dir))
  end)

  it_in("takes logs that are given, that lie in the sandbox, or that a command left", function(box, dir)
    box:write_file("build.log", ("line\n"):rep(10))
    local max = require("luarium.collect").max_log
    require("luarium.collect").max_log = 20
    local ok, err = pcall(function()
      local report = box:collect({ dir = dir, logs = { "build.log", "gone.log", ["../x y"] = "\27[31m\0raw",
        long = ("x"):rep(30), other = { path = "build.log" }, run = box:exec("echo out; echo err >&2") } })
      assert.same({ "gone.log: not_found" }, errors_of(report))
      assert.equal(".._x y\nbuild.log\nlong\nother\nrun.stderr\nrun.stdout\n", sh("ls -A $1/logs", report.dir))
      assert.equal("\27[31m\0raw", read(report.dir .. "/logs/.._x y"))
      assert.equal(("line\n"):rep(4), read(report.dir .. "/logs/build.log"))
      local dropped = {}
      for _, log in ipairs(report.logs) do
        dropped[log.name] = log.dropped
      end
      assert.same({ ["build.log"] = 30, other = 30, long = 10 }, dropped)
    end)
    require("luarium.collect").max_log = max
    assert(ok, err)
  end)

  it_in("takes known secrets out of everything, and says so", function(box, dir)
    local value = "S3cret-" .. native.crypto.hex_encode(native.crypto.random(8))
    luarium.secret(value, "KEY")
    local repo = repository(box, ("echo key=%s >conf; git add -A; git commit -q -m 'has %s'; echo %s >'%s'"):format(
      value, value, value, "n-" .. value))
    local records = {}
    local off = event.on("*", function(record)
      records[#records + 1] = event.to_json(record)
    end)
    local report = box:collect({ dir = dir, repo = repo, files = { "conf", "a" }, logs = { l = "x " .. value },
      durations = { [value] = 1 } })
    off()
    assert.equal("", sh("grep -rlF -e $1 $2 || true", value, dir))
    assert.is_nil(table.concat(records):find(value, 1, true))
    assert.same({ "diff.stat", "diff.patch", "files/conf", "logs/l" }, report.redacted)
    assert.is_false(report.diff.complete)
    assert.equal("key=[redacted KEY]\n", read(report.dir .. "/files/conf"))
    assert.same({ true, false }, { report.files[1].complete, report.files[2].complete })
    assert.equal("has [redacted KEY]", report.commits[1].subject)
  end)

  it_in("keeps what it can get when parts fail", function(box, dir)
    local repo = repository(box, "echo x >keep")
    local report = box:collect({ dir = dir, repo = repo, base = "no-such-commit", files = { "keep" },
      logs = { l = "log" } })
    assert.same({ "changes: not_found" }, errors_of(report))
    assert.same({ "files/keep" }, stored(report))
    report = box:collect({ dir = dir, repo = "nowhere", files = { "keep" }, logs = { l = "log" } })
    assert.same({ "changes: not_found", "files: not_found" }, errors_of(report))
    assert.equal("logs\nreport.json\n", sh("ls $1", report.dir)) -- nothing is left of the earlier one
    box:destroy()
    report = box:collect({ dir = dir, repo = repo, files = { "keep" }, logs = { l = "log" } })
    assert.same({ "changes: sandbox_gone", "files: sandbox_gone" }, errors_of(report))
    assert.equal("log", read(report.dir .. "/logs/l"))
  end)

  it_in("lists nested repositories and files that cannot be read", function(box, dir)
    local repo = repository(box, "git init -q nested; echo 1 >nested/x; git init -q full; cd full; echo 1 >y; "
      .. "git add -A; git -c user.name=a -c user.email=b commit -q -m 1; cd ..; echo new >fine")
    local report = box:collect({ dir = dir, repo = repo })
    assert.same({ "changes: io", "full: unsupported" }, errors_of(report))
    assert.truthy(read(report.dir .. "/diff.patch"):find("b/fine", 1, true))
  end)

  it_in("stays within its limits", function(box, dir)
    local repo = repository(box, "head -c 3000 /dev/zero | tr '\\0' x >big; echo s >small")
    local report = box:collect({ dir = dir, repo = repo, files = { "big", "small" }, max_bytes = 2000 })
    assert.same({ "big: quota", "changes: quota" }, errors_of(report))
    assert.same({ "files/small" }, stored(report))
    assert.equal(1, #report.changed - 1)
    report = box:collect({ dir = dir, repo = repo, files = { "big" }, logs = { l = ("y"):rep(3000) }, max_bytes = 7000 })
    assert.same({ "l: quota" }, errors_of(report))
  end)

  it_in("cannot be led out of its folder", { provider = "spec_liar" }, function(box, dir, folder)
    box:write_file("evil", "1")
    trouble.found = table.concat({ "f./../../../escaped", "f./ok/../../escaped", "f//etc/hostname", "f./evil", "f./",
      "f./a//b", "f" }, "\0") .. "\0"
    trouble.read = function(path, next_one)
      return path:match("/evil$") and next_one() or "gift"
    end
    local report = box:collect({ dir = dir, files = { "**", "**/*" } })
    assert.same({ "files/evil" }, stored(report))
    assert.equal("", sh("find $1 -name 'escaped*' -o -name b", folder))
    trouble.found = nil
  end)

  it_in("ends in time when a file does not, and still writes the report", { provider = "spec_liar" }, function(box, dir)
    box:write_file("slow", "1")
    box:write_file("zlater", "1")
    trouble.read = function()
      luarium.sleep(60)
    end
    local began = luarium.monotonic()
    local report = box:collect({ dir = dir, files = { "slow", "zlater" }, timeout = 0.5 })
    assert(luarium.monotonic() - began < 30)
    assert.same({ "slow: timeout", "zlater: timeout" }, errors_of(report))
    assert.truthy(read(report.dir .. "/report.json"))
    local ok, err = pcall(task.timeout, 0.3, box.collect, box, { dir = dir, files = { "slow" } })
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
  end)

  it("keeps sandboxes of one name apart", async(20, function()
    state.with(function(folder)
      local dirs = luarium.map({ 1, 2, 3 }, function(i)
        return luarium.with({ provider = "local", name = "same" }, function(box)
          box:write_file("f", tostring(i))
          return box:collect({ dir = folder .. "/run", files = { "f" } }).dir
        end)
      end)
      assert.equal(3, tonumber(sh("ls $1/run | wc -l", folder)))
      for i, dir in ipairs(dirs) do
        assert.equal(tostring(i), read(dir .. "/files/f"))
      end
    end)
  end))

  it_in("leaves other people's folders alone", { name = "x" }, function(box, dir)
    sh("mkdir -p $1/x $1/x-$2; echo mine >$1/x/files; echo mine >$1/x-$2/f", dir, box.id)
    fails("conflict", box.collect, box, { dir = dir, logs = { l = "1" } })
    assert.equal("mine\nmine\n", sh("cat $1/x/files $1/x-$2/f", dir, box.id))
  end)

  it_in("refuses what makes no sense", function(box, dir)
    for _, options in ipairs({
      {}, { dir = dir, files = { "../x" } }, { dir = dir, files = { "" } }, { dir = dir, base = "x" },
      { dir = dir, repo = {} }, { dir = dir, repo = ".", base = "--output=/tmp/x" }, { dir = dir, logs = { x = 1 } },
      { dir = dir, logs = { {} } }, { dir = dir, results = { x = "no" } }, { dir = dir, file = { "x" } },
      { dir = dir, durations = { x = "long" } },
    }) do
      fails("invalid", box.collect, box, options)
    end
    assert.is_false(fs.exists(dir))
  end)
end)
