--- Reading a log while the files below it change places.
local async = require "spec.support.async"
local native = require "luarium.native"
local outlog = require "luarium.outlog"
local state = require "spec.support.state"
local task = require "luarium.task"

local function append(path, text)
  local record = ('{"time":1,"stream":"stdout","bytes":%d}\n%s\n'):format(#text, text)
  assert(task.await(native.fs.write_file(path, record, { append = true, parents = true })))
end

local function rest(reader)
  local texts = {}
  for record in reader.next, reader do
    texts[#texts + 1] = record.text
  end
  return table.concat(texts, " ")
end

describe("the reader of a log", function()
  local function it_reads(name, fn)
    it(name, async(function()
      state.with(function()
        local path = outlog.path("sbx_1")
        append(path, "one, which is longer than the others")
        local reader = outlog.reader("sbx_1")
        assert.equal("one, which is longer than the others", rest(reader))
        fn(path, reader)
        reader:close()
      end)
    end))
  end

  local function put_aside(path)
    assert(os.rename(path, path .. ".1"))
  end

  it_reads("goes on with what is appended", function(path, reader)
    append(path, "two")
    assert.equal("two", rest(reader))
    assert.equal("", rest(reader))
  end)

  it_reads("reads the end of a file that was put aside, and the one that came then", function(path, reader)
    append(path, "two")
    put_aside(path)
    append(path, "three")
    assert.equal("two three", rest(reader))
  end)

  it_reads("finds what was put aside twice since it looked", function(path, reader)
    append(path, "two")
    put_aside(path)
    append(path, "three")
    put_aside(path)
    append(path, "four")
    assert.equal("two three four", rest(reader))
    append(path, "five")
    assert.equal("five", rest(reader))
  end)

  it("waits for a log that is not there yet", async(function()
    state.with(function()
      local reader = outlog.reader("sbx_2")
      assert.equal("", rest(reader))
      append(outlog.path("sbx_2"), "begun")
      assert.equal("begun", rest(reader))
      reader:close()
    end)
  end))
end)
