--- Files: reading, writing, facts.
local compat = require "luarium.compat"
local expect = require "luarium.conformance.expect"
local names = require "luarium.conformance.names"
local native = require "luarium.native"
local task = require "luarium.task"

local topic, check = require("luarium.conformance.topic").new("files")

local MIB = 1048576

check("bytes written are the bytes read", function(c)
  local dir = c:dir()
  for _, bytes in ipairs({ "", "x", "\0", "\n", "no newline", "a\r\nb\n", "\255\0\1", native.crypto.random(MIB) }) do
    local path = dir .. "/file"
    c.box:write_file(path, bytes)
    expect.equal(c.box:read_file(path), bytes, "read_file")
    expect.equal(c.box:stat(path).size, #bytes, "size")
    if #bytes < 100 then
      expect.prints(c.box:exec({ "cat", path }), bytes, "cat")
    end
  end
end)

check("a file that a command made", function(c)
  local dir = c:dir()
  c:sh("printf 'by\\000te\\377s' >\"$1/made\"", dir)
  expect.equal(c.box:read_file(dir .. "/made"), "by\0te\255s", "content")
end)

check("writing again replaces, also with less", function(c)
  local path = c:dir() .. "/file"
  c.box:write_file(path, ("long "):rep(1000))
  c.box:write_file(path, "short")
  expect.equal(c.box:read_file(path), "short", "content")
end)

check("append adds, and makes what is missing", function(c)
  local path = c:dir() .. "/log"
  c.box:write_file(path, "one\n", { append = true })
  c.box:write_file(path, "two\0\n", { append = true })
  c.box:write_file(path, "", { append = true })
  expect.equal(c.box:read_file(path), "one\ntwo\0\n", "content")
end)

check("writing makes the folders above", function(c)
  local dir = c:dir()
  c.box:write_file(dir .. "/a/b c/d/file", "deep")
  expect.equal(c.box:read_file(dir .. "/a/b c/d/file"), "deep", "content")
  expect.equal(c.box:stat(dir .. "/a/b c").type, "dir", "the folder's type")
end)

check("modes", function(c)
  local dir = c:dir()
  c.box:write_file(dir .. "/script", "#!/bin/sh\necho ran\n", { mode = 493 }) -- 0755
  expect.equal(c.box:stat(dir .. "/script").mode, 493, "mode 0755")
  expect.prints(c.box:exec({ dir .. "/script" }), "ran\n")
  c.box:write_file(dir .. "/private", "x", { mode = 384 }) -- 0600
  expect.equal(c.box:stat(dir .. "/private").mode, 384, "mode 0600")
  c.box:write_file(dir .. "/plain", "x")
  expect.equal(c.box:stat(dir .. "/plain").mode, 420, "the usual mode, 0644")
end)

check("offset and length", function(c)
  local path = c:dir() .. "/digits"
  c.box:write_file(path, "0123456789")
  for _, case in ipairs({
    { { offset = 3 }, "3456789" }, { { offset = 0, length = 4 }, "0123" }, { { offset = 3, length = 4 }, "3456" },
    { { length = 100 }, "0123456789" }, { { offset = 8, length = 100 }, "89" }, { { offset = 10 }, "" },
    { { offset = 99 }, "" }, { { length = 0 }, "" }, { { offset = 9, length = 1 }, "9" },
  }) do
    expect.equal(c.box:read_file(path, case[1]), case[2], expect.show(case[1]))
  end
end)

check("max refuses what is larger", function(c)
  local path = c:dir() .. "/file"
  c.box:write_file(path, ("x"):rep(1000))
  expect.equal(#c.box:read_file(path, { max = 1000 }), 1000, "bytes within the limit")
  expect.raises("quota", function()
    c.box:read_file(path, { max = 999 })
  end, "1000", "999")
  expect.equal(#c.box:read_file(path, { max = 999, offset = 500, length = 300 }), 300, "a part within the limit")
end)

check("reading what is missing", function(c)
  local dir = c:dir()
  for _, path in ipairs({ dir .. "/missing", dir .. "/no/such/file" }) do
    local err = expect.raises("not_found", function()
      c.box:read_file(path)
    end, path)
    expect.equal(err.name, "ENOENT", "the error's name")
    expect.equal(err.provider, c.provider, "the error's provider")
    expect.raises("not_found", function()
      c.box:stat(path)
    end)
    expect.equal(c.box:exists(path), false, "exists")
  end
end)

check("reading a folder, writing to one", function(c)
  local dir = c:dir()
  expect.raises("conflict", function()
    c.box:read_file(dir)
  end)
  expect.raises("conflict", function()
    c.box:write_file(dir, "x")
  end)
  expect.equal(c.box:stat(dir).type, "dir", "the folder is still one; type")
end)

check("a file where a folder should be", function(c)
  local dir = c:dir()
  c.box:write_file(dir .. "/file", "x")
  expect.raises({ "not_found", "conflict" }, function()
    c.box:read_file(dir .. "/file/below")
  end)
  expect.raises({ "not_found", "conflict" }, function()
    c.box:write_file(dir .. "/file/below", "y")
  end)
  expect.equal(c.box:read_file(dir .. "/file"), "x", "the file's content")
end)

check("odd names", function(c)
  local dir = c:dir()
  for _, name in ipairs(names) do
    c.box:write_file(dir .. "/" .. name, "<" .. name .. ">")
  end
  local listed = {}
  for i, entry in ipairs(c.box:ls(dir)) do
    listed[i] = entry.name
    expect.equal(entry.type, "file", "type of " .. expect.show(entry.name))
  end
  expect.same(listed, names, "names")
  for _, name in ipairs(names) do
    local path = dir .. "/" .. name
    expect.equal(c.box:read_file(path), "<" .. name .. ">", "content of " .. expect.show(name))
    expect.equal(c.box:stat(path).size, #name + 2, "size of " .. expect.show(name))
    c.box:move(path, path .. ".moved")
    c.box:remove(path .. ".moved")
  end
  expect.same(c.box:ls(dir), {}, "entries after removing them")
end)

check("a name of 255 bytes, and one too long", function(c)
  local dir = c:dir()
  local name = ("n"):rep(255)
  c.box:write_file(dir .. "/" .. name, "long")
  expect.equal(c.box:read_file(dir .. "/" .. name), "long", "content")
  expect.equal(c.box:ls(dir)[1].name, name, "its name")
  local err = expect.raises("invalid", function()
    c.box:write_file(dir .. "/" .. name .. "n", "too long")
  end)
  expect.equal(err.name, "ENAMETOOLONG", "the error's name")
end)

check("a path with a NUL byte, and an empty one", function(c)
  for _, path in ipairs({ "a\0b", "" }) do
    for _, method in ipairs({ "read_file", "ls", "stat", "mkdir", "remove", "exists" }) do
      expect.raises("invalid", function()
        c.box[method](c.box, path)
      end)
    end
    expect.raises("invalid", function()
      c.box:write_file(path, "x")
    end)
    expect.raises("invalid", function()
      c.box:move(path, "x")
    end)
  end
end)

check("facts of a file", function(c)
  local dir = c:dir()
  c.box:write_file(dir .. "/file", "12345", { mode = 416 }) -- 0640
  local now = tonumber(c:sh("date +%s"))
  local facts = c.box:stat(dir .. "/file")
  expect.fields(facts, { type = "file", size = 5, mode = 416 }, "stat")
  expect.between(facts.mtime, now - 60, now + 60, "mtime")
  expect.equal(facts.target, nil, "target")
  expect.equal(c.box:stat(dir).type, "dir", "type of a folder")
  expect.equal(c.box:exists(dir .. "/file"), true, "exists")
  expect.equal(c.box:exists(dir), true, "exists of a folder")
end)

check("what may not be read or written", function(c)
  if c:is_root() then
    c:skip("commands run as root, for whom permissions do not count")
  end
  local dir = c:dir()
  c.box:write_file(dir .. "/secret", "x")
  c:sh('chmod 000 "$1/secret"; mkdir "$1/closed"; chmod 555 "$1/closed"', dir)
  for _, fn in ipairs({
    function()
      c.box:read_file(dir .. "/secret")
    end,
    function()
      c.box:write_file(dir .. "/closed/x", "y")
    end,
    function()
      c.box:mkdir(dir .. "/closed/x")
    end,
  }) do
    local err = expect.raises("io", fn)
    expect.equal(err.name, "EACCES", "the error's name")
  end
end)

check("ten writers of one file leave one whole content", function(c)
  local path = c:dir() .. "/file"
  local contents = {}
  for i = 1, 10 do
    contents[i] = tostring(i % 10):rep(65536)
  end
  task.map(contents, function(content)
    c.box:write_file(path, content)
  end, { concurrency = 10 })
  local got = c.box:read_file(path)
  expect.equal(#got, 65536, "bytes")
  expect.equal(got, got:sub(1, 1):rep(65536), "content")
  expect.equal(#c.box:ls((path:gsub("/file$", ""))), 1, "entries beside it")
end)

check("a file of 100 MiB", { heavy = true }, function(c)
  local path = c:dir() .. "/large"
  local bytes = native.crypto.random(MIB):rep(100)
  c.box:write_file(path, bytes)
  expect.equal(c.box:stat(path).size, #bytes, "size")
  expect.raises("quota", function()
    c.box:read_file(path)
  end, tostring(#bytes))
  expect.equal(c.box:read_file(path, { max = 128 * MIB }) == bytes, true, "the same bytes came back")
  expect.equal(c.box:read_file(path, { offset = 70 * MIB + 3, length = 10 }), bytes:sub(4, 13), "a part of it")
end)

check("options that do not exist are refused", function(c)
  expect.raises("invalid", function()
    c.box:read_file("x", { ofset = 1 })
  end, "read_file", "ofset", "offset")
  expect.raises("invalid", function()
    c.box:write_file("x", "y", { mode = "rw" })
  end, "write_file", "mode")
  expect.raises("invalid", function()
    c.box:write_file("x", nil)
  end, "write_file", "content")
  expect.raises("invalid", function()
    c.box:read_file("x", { offset = -1 })
  end, "offset")
  expect.raises("invalid", function()
    c.box:stat("x", { follow = compat.is_luajit and 1 or "no" })
  end, "follow")
end)

return topic
