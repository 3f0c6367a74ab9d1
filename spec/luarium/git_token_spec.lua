local fixture = require "spec.support.git_fixture"
local git_server = require "spec.support.git_server"
local event = require "luarium.event"
local luarium = require "luarium"
local native = require "luarium.native"
local task = require "luarium.task"

local await, fs, sh = task.await, native.fs, git_server.sh
local fails, fresh, token, with = fixture.fails, fixture.fresh, fixture.token, fixture.with
local server

local function it_in(...)
  fixture.it_in(it, ...)
end

if fixture.missing then
  print("the specs of git token are skipped: " .. fixture.missing)
  return
end

describe("git token", function()
  setup(function()
    server = fixture.start()
  end)

  teardown(fixture.stop)

  local function forms()
    local plain = server.password
    local encoded = plain:gsub("[^%w%-_%.~]", function(c)
      return ("%%%02X"):format(c:byte())
    end)
    return { plain, encoded, (native.crypto.base64_encode(server.user .. ":" .. plain):gsub("=+$", "")),
      (native.crypto.base64_encode(plain):gsub("=+$", "")) }
  end

  local function assert_clean(text, where)
    for _, form in ipairs(forms()) do
      assert(not text:find(form, 1, true), "the token is in " .. where)
    end
  end

  local function files_clean(folder)
    for _, form in ipairs(forms()) do
      assert.equal("", sh("grep -rlsF -e $1 $2 || true", form, folder))
    end
  end

  local function read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a") or ""
    if file then
      file:close()
    end
    return text
  end

  --- Every process whose environment has the token; no argument list may have it.
  local function look_at_processes()
    local holders = {}
    for _, entry in ipairs(await(fs.ls("/proc"))) do
      if entry.name:match("^%d+$") then
        assert_clean(read("/proc/" .. entry.name .. "/cmdline"), "the arguments of " .. entry.name)
        if read("/proc/" .. entry.name .. "/environ"):find(server.password, 1, true) then
          holders[#holders + 1] = read("/proc/" .. entry.name .. "/cmdline"):gsub("%z", " ")
        end
      end
    end
    return holders
  end

  for _, case in ipairs({
    { name = "a clone in the sandbox", options = { mirror = false } },
    { name = "a clone from a mirror", options = {} },
    { name = "a clone from a bundle", options = { mirror = true }, provider = "spec_apart" },
  }) do
    it_in("of " .. case.name .. " is nowhere but in that command's environment", { provider = case.provider },
      function(box, folder)
        local name = fresh("head -c 600000 /dev/urandom >big")
        local records = {}
        local off = event.on("*", function(record)
          records[#records + 1] = event.to_json(record)
        end)
        local seen, finished = {}, false
        luarium.all({
          function()
            box:clone(server:url("slow", name), with(token(), case.options))
            finished = true
          end,
          function()
            while not finished do
              for _, holder in ipairs(look_at_processes()) do
                seen[holder] = true
              end
              files_clean(folder)
              luarium.sleep(0.05)
            end
          end,
        })
        off()
        local count = 0
        for holder in pairs(seen) do
          count = count + 1
          local ours = holder:find("git", 1, true) or holder:find("$LUARIUM_GIT_TOKEN", 1, true) -- git's helper
            or holder:find(folder, 1, true) -- what moves the copy to its place
          assert(ours, holder)
        end
        assert(count > 0, "nobody was seen with the token: the look came too late")
        assert.same({}, look_at_processes())
        files_clean(folder)
        assert_clean(table.concat(records, "\n"), "the events")
        assert.truthy(table.concat(records, "\n"):find("sandbox.clone", 1, true))
      end)
  end

  it_in("is not given to the sandbox at all when there is a mirror", function(box)
    local name = fresh("echo 1 >f")
    local hooks = box:path("spy")
    box:write_file("spy/post-checkout", "#!/bin/sh\nenv >" .. hooks .. "/env\n", { mode = 493 })
    box:exec("git config --global core.hooksPath " .. hooks, { check = true })
    box:clone(server:url("git", name), token())
    assert.is_nil(box:read_file("spy/env"):find(server.password, 1, true))
  end)

  it_in("is not stored by helpers that the sandbox has", function(box)
    local name = fresh("echo 1 >f")
    local origin = server:url("", ""):gsub("/+$", "")
    box:exec({ "git", "config", "--global", "credential." .. origin .. ".helper", "!f() { cat >>$HOME/stolen; }; f" },
      { check = true })
    box:exec({ "git", "config", "--global", "credential.helper", "!f() { cat >>$HOME/stolen; }; f" }, { check = true })
    box:clone(server:url("git", name), with(token(), { mirror = false }))
    assert.equal("no\n", box:exec("test -e $HOME/stolen && cat $HOME/stolen || echo no").stdout)
  end)

  it_in("goes to no other server, neither by redirect nor by submodule", function(box)
    local other = git_server.start()
    local ok, err = pcall(function()
      local name = fresh("echo 1 >f")
      other:make(name, "echo 1 >f")
      local middle = git_server.start({ away = other:url("git", ""):gsub("/+$", "") })
      local fine, problem = pcall(function()
        for _, use_mirror in ipairs({ true, false }) do
          fails("auth", box.clone, box, middle:url("away", name), with(token(), { mirror = use_mirror, path = "x" }))
        end
      end)
      middle:stop()
      assert(fine, problem)
      local top = fresh(("git submodule --quiet add %s inner; git config -f .gitmodules submodule.inner.url %s"):format(
        other:url("open", name), other:url("git", name)))
      for _, use_mirror in ipairs({ true, false }) do
        fails("auth", box.clone, box, server:url("git", top), with(token(), { submodules = true, path = "y",
          mirror = use_mirror }))
        assert.equal("", box:exec({ "ls", "-A" }).stdout)
      end
      assert(other:requests("401") > 0)
      assert.equal(0, other:requests("Basic"))
    end)
    other:stop()
    if not ok then
      error(err, 0)
    end
  end)

  it_in("is out of reach of hooks, unless they are asked for", function(box)
    local repo = box:clone(server:url("git", fresh("echo 1 >f")), token())
    box:write_file(repo.path .. "/.git/hooks/pre-push", "#!/bin/sh\nenv >$HOME/env\n", { mode = 493 })
    repo:push(token())
    assert.equal("no\n", box:exec("test -e $HOME/env && echo yes || echo no").stdout)
    repo:push(with(token(), { hooks = true }))
    assert.equal("yes\n", box:exec("test -e $HOME/env && echo yes || echo no").stdout)
  end)

  it_in("follows the address that was cloned, not what the repository says later", function(box)
    local repo = box:clone(server:url("git", fresh("echo 1 >f")), token())
    local other = git_server.start()
    local ok, err = pcall(function()
      other:make("steal.git")
      repo:run({ "remote", "set-url", "origin", other:url("git", "steal.git") }, { check = true })
      fails("auth", repo.push, repo, token())
      assert.equal(0, other:requests("Basic"))
      fails("invalid", function()
        box:git(repo.path):push(token())
      end)
    end)
    other:stop()
    if not ok then
      error(err, 0)
    end
  end)
end)
