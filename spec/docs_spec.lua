--- Everything the documents show is done: commands are run and their output compared, scripts and adapters executed.
local async = require "spec.support.async"
local dockerd = require "spec.support.dockerd"
local documents = require "spec.support.documents"
local lfs = require "lfs"
local scratch = require "spec.support.scratch"
local state = require "spec.support.state"
local native = require "luarium.native"
local task = require "luarium.task"

local fs, process = native.fs, native.process
local source = lfs.currentdir()
local program = source .. "/build/luarium"

local function environment(folder)
  return {
    "PATH=" .. source .. "/build:" .. os.getenv("PATH"), "HOME=" .. folder .. "/home", "LANG=C.UTF-8", "TERM=dumb",
    "LUARIUM_STATE_DIR=" .. folder .. "/state", "LUARIUM_CACHE_DIR=" .. folder .. "/cache", "SOURCE=" .. source,
    "GIT_AUTHOR_NAME=spec", "GIT_AUTHOR_EMAIL=spec@localhost", "GIT_COMMITTER_NAME=spec",
    "GIT_COMMITTER_EMAIL=spec@localhost",
  }
end

local function run(folder, argv)
  local result = assert(task.await(process.run({ argv = argv, env = environment(folder), cwd = folder .. "/work",
    merge = true, timeout = 100 })))
  assert(not result.timed_out, table.concat(argv, " ") .. " did not end: " .. result.stdout)
  return result
end

local uses = {}

uses["sh run"] = function(folder, block)
  for _, step in ipairs(documents.transcript(block.text)) do
    local printed = run(folder, { "sh", "-c", step.command }).stdout
    local fault = documents.mismatch(step.expected, printed)
    assert(not fault, ("$ %s\n%s"):format(step.command, fault or ""))
  end
end

local function write(path, text)
  assert(task.await(fs.write_file(path, text, { parents = true })))
end

uses["lua run"] = function(folder, block)
  write(folder .. "/work/snippet.lua", block.text)
  local result = run(folder, { program, "run", "snippet.lua" })
  assert(result.exit_code == 0, result.stdout)
end

--- A dockerd of the spec's own, with a small image of the name that the documents use. It outlives the test that needs
--- it first, so it is started before that is watched.
local engine

local function start_engine()
  if not engine then
    engine = dockerd.start()
    engine:import(engine.dir .. "/rootfs", "debian:12")
  end
end

uses["lua docker"] = function(folder, block)
  write(folder .. "/work/snippet.lua", block.text)
  local result = run(folder, { "env", "DOCKER_HOST=" .. engine.host, program, "run", "snippet.lua" })
  assert(result.exit_code == 0, result.stdout)
end

--- In a stock interpreter, outside every task.
local function in_stock(interpreter, modules)
  return function(folder, block)
    write(folder .. "/work/host.lua", block.text)
    local result = run(folder, { "env", ("LUA_PATH=%s/lua/?.lua;%s/lua/?/init.lua;;"):format(source, source),
      ("LUA_CPATH=%s/build/%s/?.so;;"):format(source, modules), interpreter, "host.lua" })
    assert(result.exit_code == 0, result.stdout)
  end
end

uses["lua host"] = in_stock("lua5.4", "lua5.4")
uses["lua luajit"] = in_stock("luajit", "luajit")

uses["lua config"] = function(folder, block)
  write(folder .. "/work/luarium.lua", block.text)
  local result = run(folder, { program, "providers" })
  assert(result.exit_code == 0, result.stdout)
end

uses["lua adapter"] = function(folder, block)
  local name = assert(block.text:match('name = "([%w_]+)"'))
  write(folder .. "/work/providers/" .. name .. ".lua", block.text)
  local result = run(folder, { program, "providers" })
  assert(result.exit_code == 0 and result.stdout:find(name, 1, true), result.stdout)
end

local function files()
  local list = { "README.md" }
  for _, folder in ipairs({ "docs/", "docs/embedding/" }) do
    for name in lfs.dir(folder) do
      if name:match("%.md$") then
        list[#list + 1] = folder .. name
      end
    end
  end
  table.sort(list)
  return list
end

describe("documents", function()
  teardown(function()
    if engine then
      engine:stop()
    end
  end)

  for _, path in ipairs(files()) do
    for _, block in ipairs(documents.blocks(path)) do
      if block.language == "sh" or block.language == "lua" then
        local needs_engine = block.use == "docker"
        local body = async(120, function()
          local use = uses[block.language .. " " .. block.use]
          assert(use, "say after the language what is done with this block: run, docker, host, luajit, config or adapter")
          state.with(function(folder)
            assert(task.await(fs.mkdir(folder .. "/work", {})))
            assert(task.await(fs.mkdir(folder .. "/home", {})))
            use(folder, block)
          end)
        end)
        it(("%s:%d %s %s"):format(path, block.line, block.language, block.use), function()
          local missing = needs_engine and dockerd.missing()
          if missing then
            return pending("a script with docker: " .. missing)
          elseif needs_engine then
            start_engine()
          end
          body()
        end)
      end
    end
  end

  it("the page of the API names every field that is annotated", function()
    local text = assert(task.await(fs.read_file("docs/api.md")))
    local wanted = { ["luarium.CollectReport"] = true, ["luarium.Error"] = true, ["luarium.EventRecord"] = true,
      ["luarium.ExecResult"] = true, ["luarium.GitChanges"] = true, ["luarium.GitChange"] = true,
      ["luarium.GitCommit"] = true, ["luarium.GitStatus"] = true, ["luarium.GitStatusEntry"] = true,
      ["luarium.Job"] = true, ["luarium.JobResult"] = true, ["luarium.JobStatus"] = true, ["luarium.ScriptInput"] = true,
      ["luarium.ScriptRun"] = true, ["luarium.http.Options"] = true, ["luarium.http.Response"] = true }
    for path in scratch.sh("find lua/luarium/ -name '*.lua'"):gmatch("[^\n]+") do
      local class
      for line in io.lines(path) do
        class = line:match("^%-%-%-@class ([%w_.]+)") or line:find("^%-%-%-") and class or nil
        local field = class and line:match("^%-%-%-@field ([%w_]+)")
        if wanted[class] ~= nil and field then
          wanted[class] = "seen"
          assert(text:find("[`.]" .. field .. "`"), ("docs/api.md does not have %s of %s (%s)"):format(field, class, path))
        end
      end
    end
    for class, state_of in pairs(wanted) do
      assert.equal("seen", state_of, class)
    end
  end)

  it("the page of the API names everything there is, and its options", function()
    local text = assert(task.await(fs.read_file("docs/api.md")))
    local contract = require "luarium.provider.contract"
    local repo = require "luarium.git.repo"
    local methods = getmetatable(repo.new({ path = function(_, path) return path end }, "/")).__index
    for what, names in pairs({
      luarium = require "luarium", sandbox = require("luarium.sandbox").methods, repository = methods,
      create = contract.create_options, exec = contract.exec_options, kind = require("luarium.error").kinds,
      task = require "luarium.task", http = require "luarium.http",
    }) do
      for name in pairs(names) do
        local private = what == "repository" and (name == "git_dir" or name == "diff_with_untracked")
        assert(private or text:find("`" .. name .. "[`%s(]") or text:find("[^%w_]" .. name .. "`"),
          ("docs/api.md does not have %s of %s"):format(name, what))
      end
    end
  end)

  it("a transcript that does not fit is noticed", function()
    local steps = documents.transcript("$ echo a\nfirst … last\n…\nend\n$ true\n")
    assert.equal(2, #steps)
    assert.is_nil(documents.mismatch(steps[1].expected, "first and last\nx\ny\nend\n"))
    assert.is_nil(documents.mismatch(steps[1].expected, "first  last\nend\n"))
    assert.truthy(documents.mismatch(steps[1].expected, "first and last\nx\n"))
    assert.is_nil(documents.mismatch({}, ""))
    assert.truthy(documents.mismatch({}, "something"))
    assert.truthy(documents.mismatch({ "a.c" }, "abc"))
  end)
end)
