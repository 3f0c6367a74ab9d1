--- Editing lines on real terminals: each test runs a program of its own on a pty and types.
local async = require "spec.support.async"
local native = require "luarium.native"
local scratch = require "spec.support.scratch"
local task = require "luarium.task"

local await = task.await
local DELETE = "\127"

--- What every program begins with. `edit` shows each event; `mode` what the terminal does with what is typed.
local PRELUDE = [[
local native, task = require "luarium.native", require "luarium.task"
local await = task.await
io.stdout:setvbuf("no")
local function show(event, text, cursor)
  print("[" .. tostring(event) .. ":" .. tostring(text):gsub("\n", "|") .. ":" .. tostring(cursor) .. "]")
end
local function mode()
  local pipe = io.popen("stty -a < /dev/tty")
  local text = pipe:read("*a")
  pipe:close()
  print("mode " .. text:match("[-]?icanon") .. " " .. text:match("[-]?isig"))
end
local line
local function edit(prompt)
  show(await(assert(line:read(prompt or "> "))))
end
local function main()
  line = assert(native.line.open(0, 1, 10))
]]

local ENDING = [[
end
local ok, err = task.run(pcall, main)
if not ok then print("failed", type(err) == "table" and err.message or err) end
if line then line:close() end
local inflight, alive, handles = 1, 1, 1
for _ = 1, 100 do
  line = nil
  collectgarbage()
  task.step(0)
  inflight, alive, handles = native.loop.counts()
end
mode()
print(("left %d %d %d"):format(inflight, alive, handles))
]]

---@class spec.Pty
local Pty = {}
Pty.__index = Pty

--- Reads until the text since the last match has the pattern.
function Pty:see(pattern)
  while true do
    local _, stop = self.text:find(pattern)
    if stop then
      local seen = self.text:sub(1, stop)
      self.text = self.text:sub(stop + 1)
      return seen
    end
    local chunk = await(self.process:read())
    if not chunk then
      error(("the program ended without %s:\n%s"):format(pattern, self.text), 2)
    end
    self.text = self.text .. chunk
  end
end

function Pty:type(keys)
  assert(await(self.process:write(keys)))
end

--- Sees the end of a program that left nothing.
function Pty:finish()
  self:see("mode icanon isig")
  self:see("left 0 0 0\r\n")
  assert.equal(0, await(self.process:wait()).exit_code)
end

local function environment(extra)
  local env = { "HOME=/nonexistent", "LANG=C" }
  for _, name in ipairs({ "PATH", "LD_PRELOAD", "ASAN_OPTIONS" }) do
    env[#env + 1] = os.getenv(name) and name .. "=" .. os.getenv(name)
  end
  for _, pair in ipairs(extra or { "TERM=xterm" }) do
    env[#env + 1] = pair
  end
  env[#env + 1] = "LUA_PATH=" .. package.path
  env[#env + 1] = "LUA_CPATH=" .. package.cpath
  return env
end

--- A test that runs `body` in `main` on a terminal.
local function on_terminal(body, fn, options)
  options = options or {}
  return async(60, function()
    local dir = scratch.make()
    scratch.write(dir .. "/run.lua", (options.prelude or PRELUDE) .. body .. "\n" .. ENDING)
    local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
    local pty = setmetatable({ text = "", process = assert(native.process.spawn({ argv = { lua, dir .. "/run.lua" },
      env = environment(options.env), pty = true, cols = 40, rows = 10 })) }, Pty)
    local ok, err = pcall(fn, pty)
    pty.process:close()
    scratch.drop(dir)
    if not ok then
      error(err, 0)
    end
  end)
end

describe("native.line", function()
  it("gives the line that was edited, as UTF-8 also where the locale has none", on_terminal([[
      edit("prompt> ")
      edit()]], function(pty)
    pty:see("prompt> $")
    pty:type("abX\195\182\27[D" .. DELETE .. "c\5!\r")
    pty:see("%[line:abc\195\182!:0%]")
    pty:see("> $")
    pty:type("bad\255byte\r")
    pty:see("%[line:bad\239\191\189byte:0%]")
    pty:finish()
  end))

  it("has the terminal's own mode between lines, and tells the end and Ctrl-C", on_terminal([[
      edit()
      mode()
      edit()
      line:drop()
      edit()]], function(pty)
    pty:see("> $")
    pty:type("typed\3")
    pty:see("typed%^C\r\n\27%[%?2004l%[dropped::0%]")
    pty:see("mode icanon isig")
    pty:see("> $")
    pty:type("\4")
    pty:see("%[end::0%]")
    pty:see("> $")
    pty:type("x\r")
    pty:see("%[line:x:0%]")
    pty:finish()
  end))

  it("remembers", on_terminal([[
      assert(line:remember("first"))
      assert(line:remember("second\nline"))
      edit()
      edit()]], function(pty)
    pty:see("> $")
    pty:type("\27[A\r")
    pty:see("%[line:second|line:0%]")
    pty:see("> $")
    pty:type("\18fir\r\r")
    pty:see("%[line:first:0%]")
    pty:finish()
  end))

  it("asks at Tab, and goes on with the answer", on_terminal([[
      show(await(line:read("> ")))
      show(await(line:answer("cal", "")))
      show(await(line:answer("", "one  two\nthree")))]], function(pty)
    pty:see("> $")
    pty:type("\195\182 lo rest\27[D\27[D\27[D\27[D\27[D\t")
    pty:see("%[complete:\195\182 lo rest:5%]")
    pty:see("cal")
    pty:type("\t")
    pty:see("%[complete:\195\182 local rest:8%]")
    pty:see("one  two\r\nthree\r\n")
    pty:see("> \195\182 local rest")
    pty:type("\r")
    pty:see("%[line:\195\182 local rest:0%]")
    pty:finish()
  end))

  it("goes on when nobody answers, and takes a late answer for none", on_terminal([[
      show(await(line:read("> ")))
      task.sleep(3)
      show(await(line:answer("unwanted", "")))]], function(pty)
    pty:see("> $")
    pty:type("a\tb\r")
    pty:see("%[complete:a:1%]")
    pty:see("%[line:ab:0%]")
    pty:finish()
  end))

  it("takes the line off the screen for others and puts it back", on_terminal([[
      local op = line:read("> ")
      task.sleep(0.2)
      line:hide()
      line:hide()
      print("from another")
      line:show()
      print("again")
      line:show()
      show(await(op))
      line:hide()
      print("nothing is edited")
      line:show()]], function(pty)
    pty:see("> $")
    pty:type("half a line that is longer than the screen is wide, so that it wraps")
    pty:see("\r\27%[1A\27%[Jfrom another\r\nagain\r\n")
    pty:see("> half a line that is longer than the sc")
    pty:see("wraps")
    pty:type("\r")
    pty:see("%[line:half a line[^%]]*wraps:0%]\r\nnothing is edited\r\n")
    pty:finish()
  end))

  it("inserts pasted text without running it, and nothing but text", on_terminal([[
      edit()
      edit()
      edit()]], function(pty)
    pty:see("\27%[%?2004h.*> $")
    pty:type("a \27[200~for\r\n\tx\1\27[31m do\n\n\27[201~ z\r")
    pty:see("%[line:a for||\tx%[31m do z:0%]")
    pty:see("> $")
    pty:type("\27[200~" .. ("long"):rep(50000) .. "\27[201~\r")
    pty:see("%[line:" .. ("long"):rep(50000) .. ":0%]")
    pty:see("> $")
    pty:type("k\27[200~" .. ("x"):rep(1100000) .. "\27[201~ept\r")
    pty:see("%[line:kept:0%]")
    pty:finish()
  end))

  it("refuses what is more than a line may have", on_terminal([[
      local _, text = await(line:read("> "))
      print("length " .. #text)]], function(pty)
    pty:see("> $")
    local op = pty.process:write("\27[200~" .. ("x"):rep(1048000) .. "\27[201~" .. ("y"):rep(2000) .. "\r")
    pty:see("length 1048576")
    await(op)
    pty:finish()
  end))

  it("follows the size of the terminal", on_terminal([[
      local resized = native.signal.wait("WINCH") -- before the prompt, which the other side waits for
      local op = line:read("> ")
      await(resized)
      line:redraw()
      show(await(op))]], function(pty)
    pty:see("> $")
    pty:type(("0123456789"):rep(5))
    pty:see("01234567890123456789012345678901234567 .890123456789")
    pty:type("\1")
    pty.process:resize(20, 10)
    pty:see("> 012345678901234567 .89012345678901234567 .890123456789")
    pty:type("\r")
    pty:see("%[line:" .. ("0123456789"):rep(5) .. ":0%]")
    pty:finish()
  end))

  it("looks at the size itself when keys come", on_terminal([[
      edit()]], function(pty)
    pty:see("> $")
    pty:type(("0123456789"):rep(5))
    pty:see("01234567890123456789012345678901234567 .890123456789")
    pty.process:resize(20, 10)
    pty:type("\1")
    pty:see("> 012345678901234567 .89012345678901234567 .890123456789")
    pty:type("\r")
    pty:see("%[line:" .. ("0123456789"):rep(5) .. ":0%]")
    pty:finish()
  end))

  it("ends an edit that is cancelled or collected, and can begin another", on_terminal([[
      local op = line:read("> ")
      task.sleep(0.1)
      local second, err = line:read("> ")
      print(second, err.kind)
      second, err = line:answer("x", "")
      print(second, err.kind)
      second, err = line:remember("x")
      print(second, err.kind)
      op:cancel()
      second, err = await(op)
      print(second, err.kind)
      op = line:read("> ")
      op = nil
      collectgarbage()
      collectgarbage()
      edit()]], function(pty)
    for _ = 1, 3 do
      pty:see("nil\tconflict")
    end
    pty:see("nil\tcancelled")
    pty:see("> .*> $")
    pty:type("x\r")
    pty:see("%[line:x:0%]")
    pty:finish()
  end))

  it("closes within a line, a question, an escape sequence and a search", on_terminal([[
      for _ = 1, 4 do
        local op = assert(line:read("> "))
        print(await(input_of_test()))
        local event = op:done() and op:result()
        line:close()
        line:close()
        if not event then
          local value, err = await(op)
          print(value, err.kind)
        end
        print(event, pcall(line.read, line, "> "))
        mode()
        line = assert(native.line.open(0, 1, 10))
      end]], function(pty)
    for _, keys in ipairs({ "abc", "abc\t", "abc\27[", "\18abc" }) do
      pty:see("> $")
      pty:type(keys)
      pty:see("closing")
      pty:see("the line editor was closed")
      pty:see("mode icanon isig")
    end
    pty:finish()
  end, { prelude = PRELUDE:gsub("local line\n", [[
      local line
      function input_of_test() return native.process.run({ argv = { "sh", "-c", "sleep 0.3; echo closing" } }) end
      local print_ = print
      function print(value, ...) return print_(type(value) == "table" and value.stdout or value, ...) end
    ]]) }))

  it("ends with the program, whatever is in flight", on_terminal([[
      line:read("> ")
      task.sleep(0.1)
      print("leaving")
      os.exit(7, true)]], function(pty)
    pty:see("leaving")
    assert.equal(7, await(pty.process:wait()).exit_code)
  end))

  it("refuses what is no terminal, and one that cannot move its cursor", on_terminal([[
      print(pcall(native.line.open, -1, 1, 10))
      print(pcall(native.line.open, 0, 1, 0))
      local other, err = native.line.open(1000, 1, 10)
      print(other, err.kind, err.message)]], function(pty)
    pty:see("expected a descriptor")
    pty:see("expected 1 to 100000 entries")
    pty:see("nil\tinvalid\t[^\n]*expected a terminal")
    pty:finish()
  end))

  it("says that it cannot edit on a dumb terminal", on_terminal([[
      local other, err = native.line.open(0, 1, 10)
      print(other, err.kind, err.message)]], function(pty)
    pty:see("nil\tunsupported\t[^\n]*cannot move its cursor")
    pty:finish()
  end, { env = { "TERM=dumb" }, prelude = PRELUDE:gsub("line = assert[^\n]*", "") }))
end)
