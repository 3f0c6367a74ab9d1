local async = require "spec.support.async"
local history = require "luarium.cli.repl_history"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local await = task.await
local fs = native.fs

local function with_history(fn)
  return async(60, function()
    local dir = assert(await(fs.mkdtemp("/tmp/luarium-spec-")))
    local ok, err = pcall(fn, history.new(dir .. "/state"), dir .. "/state/repl_history")
    await(fs.remove(dir, { recursive = true }))
    assert(ok, err)
  end)
end

describe("the history of the repl", function()
  it("gives back what was kept, and keeps it private", with_history(function(kept, path)
    assert.same({}, kept:load())
    local texts = { "x = 1", "for i = 1, 2 do\n\tprint('\\n', i)\nend", "'\\\\n'", "ö" }
    for _, text in ipairs(texts) do
      kept:append(text)
    end
    kept:append(" secret_thing()")
    kept:append(("x"):rep(20000))
    assert.same(texts, kept:load())
    assert.equal(384, await(fs.stat(path)).mode)
  end))

  it("has no secrets", with_history(function(kept, path)
    secret.new("hunter2-hunter2", "PASSWORD")
    kept:append("login('hunter2-hunter2')")
    kept:append("configure { api_key = \"sk-123\\\"456\", Token= 'abc' , [\"password\"] = 'x', name = 'kept', tokens == 'kept' }")
    local text = await(fs.read_file(path))
    assert.equal("login('[redacted PASSWORD]')\nconfigure { api_key = \"[redacted]\", Token= '[redacted]' , "
      .. "[\"password\"] = '[redacted]', name = 'kept', tokens == 'kept' }\n", text)
  end))

  it("drops control characters that somebody put into the file", with_history(function(kept, path)
    kept:append("x")
    assert(await(fs.write_file(path, "a\27[31mb\127\\\n\\n\\nc\n\n\n", { append = true })))
    assert.same({ "x", "a[31mb\\", "\n\nc" }, kept:load())
  end))

  it("is bounded, and gives the newest", with_history(function(kept, path)
    local statement = ("x"):rep(1000)
    for i = 1, 700 do
      kept:append(i .. statement)
    end
    for _, name in ipairs({ path, path .. ".1" }) do
      local entry = await(fs.stat(name))
      assert.is_true(entry.size <= history.MAX_BYTES + 2000, name .. entry.size)
      assert.equal(384, entry.mode)
    end
    local entries = kept:load()
    assert.equal(700 .. statement, entries[#entries])
    assert.is_true(#entries > 250, #entries)
    for i = 1, 1200 do
      kept:append("y" .. i)
    end
    entries = kept:load()
    assert.equal(history.MAX_ENTRIES, #entries)
    assert.equal("y1200", entries[#entries])
  end))

  it("loses nothing when several write", with_history(function(kept)
    local statement = ("z"):rep(900)
    local mine, other = {}, history.new(kept.folder)
    task.all {
      function()
        for i = 1, 200 do
          kept:append("a" .. i .. statement)
        end
      end,
      function()
        for i = 1, 200 do
          other:append("b" .. i .. statement)
        end
      end,
    }
    for _, text in ipairs(kept:load()) do
      mine[text:sub(1, 4):match("%a%d+")] = true
    end
    for i = 1, 200 do
      assert.is_true(mine["a" .. i] and mine["b" .. i], i)
    end
  end))
end)
