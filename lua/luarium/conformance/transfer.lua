--- Files and trees into the sandbox and out of it.
local expect = require "luarium.conformance.expect"
local names = require "luarium.conformance.names"
local native = require "luarium.native"

local fs = native.fs
local topic, check = require("luarium.conformance.topic").new("transfer")

local MIB = 1048576

local function write(c, path, bytes, mode)
  c:host(fs.write_file(path, bytes, { parents = true, mode = mode }))
end

local function read(c, path)
  return c:host(fs.read_file(path, { max = 128 * MIB }))
end

local function names_of(entries)
  local list = {}
  for i, entry in ipairs(entries) do
    list[i] = entry.name
  end
  return list
end

check("a file up and down", function(c)
  local dir, here = c:dir(), c:host_dir()
  local bytes = native.crypto.random(300000)
  write(c, here .. "/from", bytes, 493)
  expect.fields(c.box:upload(here .. "/from", dir .. "/up"), { files = 1, bytes = 300000 }, "result of upload")
  expect.equal(c.box:read_file(dir .. "/up"), bytes, "content in the sandbox")
  expect.equal(c.box:stat(dir .. "/up").mode, 493, "mode in the sandbox")
  expect.fields(c.box:download(dir .. "/up", here .. "/down"), { files = 1, bytes = 300000 }, "result of download")
  expect.equal(read(c, here .. "/down"), bytes, "content here")
  expect.equal(c:host(fs.stat(here .. "/down")).mode, 493, "mode here")
end)

check("an empty file, a relative path, folders that are missing", function(c)
  local dir, here = c:dir(), c:host_dir()
  write(c, here .. "/empty", "")
  expect.fields(c.box:upload(here .. "/empty", dir:match("[^/]+$") .. "/new/folder/empty"), { files = 1, bytes = 0 },
    "result of upload")
  expect.equal(c.box:stat(dir .. "/new/folder/empty").size, 0, "size in the sandbox")
  c.box:download(dir .. "/new/folder/empty", here .. "/also/new/empty")
  expect.equal(read(c, here .. "/also/new/empty"), "", "content here")
end)

check("a tree with odd names, empty folders and modes, up and down", function(c)
  local dir, here = c:dir(), c:host_dir()
  local total = 0
  for _, name in ipairs(names) do
    write(c, here .. "/tree/sub " .. "\n'/" .. name, "<" .. name .. ">")
    total = total + #name + 2
  end
  write(c, here .. "/tree/" .. ("n"):rep(255), "long name")
  write(c, here .. "/tree/script", "#!/bin/sh\n", 493)
  write(c, here .. "/tree/private", "", 384)
  c:host(fs.mkdir(here .. "/tree/empty/folder", { parents = true }))
  total = total + 9 + 10
  local want = { files = #names + 3, bytes = total }
  expect.fields(c.box:upload(here .. "/tree", dir .. "/tree"), want, "result of upload")
  local inside = dir .. "/tree/sub \n'"
  expect.same(names_of(c.box:ls(inside)), names, "names in the sandbox")
  for _, name in ipairs({ names[1], names[#names], "a\nb", "ends in newline\n" }) do
    expect.equal(c.box:read_file(inside .. "/" .. name), "<" .. name .. ">", "content of " .. expect.show(name))
  end
  expect.equal(c.box:stat(dir .. "/tree/script").mode, 493, "mode of script")
  expect.equal(c.box:stat(dir .. "/tree/private").mode, 384, "mode of private")
  expect.same(c.box:ls(dir .. "/tree/empty/folder"), {}, "entries of the empty folder")
  expect.fields(c.box:download(dir .. "/tree", here .. "/back"), want, "result of download")
  expect.same(names_of(c:host(fs.ls(here .. "/back/sub \n'"))), names, "names here")
  for _, name in ipairs(names) do
    expect.equal(read(c, here .. "/back/sub \n'/" .. name), "<" .. name .. ">", "content of " .. expect.show(name))
  end
  expect.equal(read(c, here .. "/back/" .. ("n"):rep(255)), "long name", "content of the long name")
  expect.equal(c:host(fs.stat(here .. "/back/script")).mode, 493, "mode of script here")
  expect.equal(c:host(fs.stat(here .. "/back/private")).mode, 384, "mode of private here")
  expect.same(c:host(fs.ls(here .. "/back/empty/folder")), {}, "entries of the empty folder here")
end)

check("links inside a tree stay links", function(c)
  local dir, here = c:dir(), c:host_dir()
  write(c, here .. "/tree/sub/file", "x")
  c:host(fs.symlink("sub/file", here .. "/tree/link"))
  c:host(fs.symlink("../sub", here .. "/tree/sub/up"))
  c.box:upload(here .. "/tree", dir .. "/tree")
  expect.fields(c.box:stat(dir .. "/tree/link", { follow = false }), { type = "link", target = "sub/file" },
    "link in the sandbox")
  c.box:download(dir .. "/tree", here .. "/back")
  expect.fields(c:host(fs.stat(here .. "/back/link", { follow = false })), { type = "link", target = "sub/file" },
    "link here")
  expect.fields(c:host(fs.stat(here .. "/back/sub/up", { follow = false })), { type = "link", target = "../sub" },
    "link to a folder here")
end)

check("download leaves out links that lead elsewhere, and says so", function(c)
  local dir, here = c:dir(), c:host_dir()
  c:sh([[mkdir -p "$1/tree/sub" && cd "$1/tree" && echo kept >file && ln -s /etc/passwd absolute &&
    ln -s ../../secret sub/climbs && ln -s file inside]], dir)
  local result = c.box:download(dir .. "/tree", here .. "/back")
  local skipped = {}
  for i, entry in ipairs(result.skipped) do
    skipped[i] = entry.path
  end
  table.sort(skipped)
  expect.same(skipped, { "absolute", "sub/climbs" }, "skipped")
  expect.same(names_of(c:host(fs.ls(here .. "/back"))), { "file", "inside", "sub" }, "names here")
  expect.same(c:host(fs.ls(here .. "/back/sub")), {}, "entries of sub here")
  expect.equal(read(c, here .. "/back/inside"), "kept\n", "content through the link inside")
end)

check("a tree merges into a folder that is there", function(c)
  local dir, here = c:dir(), c:host_dir()
  write(c, here .. "/tree/both", "new")
  write(c, here .. "/tree/sub/added", "added")
  c.box:write_file(dir .. "/tree/both", "old")
  c.box:write_file(dir .. "/tree/sub/kept", "kept")
  c.box:upload(here .. "/tree", dir .. "/tree")
  expect.equal(c.box:read_file(dir .. "/tree/both"), "new", "content of both")
  expect.same(names_of(c.box:ls(dir .. "/tree/sub")), { "added", "kept" }, "names of sub")
  write(c, here .. "/back/local", "stays")
  c.box:download(dir .. "/tree", here .. "/back")
  expect.same(names_of(c:host(fs.ls(here .. "/back"))), { "both", "local", "sub" }, "names here")
end)

check("a file never replaces a folder, nor a folder a file", function(c)
  local dir, here = c:dir(), c:host_dir()
  write(c, here .. "/file", "x")
  write(c, here .. "/tree/a", "y")
  c.box:write_file(dir .. "/file", "kept")
  c.box:mkdir(dir .. "/folder")
  expect.raises("conflict", function()
    c.box:upload(here .. "/file", dir .. "/folder")
  end)
  expect.raises("conflict", function()
    c.box:upload(here .. "/tree", dir .. "/file")
  end)
  expect.same(c.box:ls(dir .. "/folder"), {}, "entries of the folder")
  expect.equal(c.box:read_file(dir .. "/file"), "kept", "content of the file")
  expect.raises("conflict", function()
    c.box:download(dir .. "/file", here .. "/tree")
  end)
  expect.raises("conflict", function()
    c.box:download(dir .. "/folder", here .. "/file")
  end)
  expect.equal(read(c, here .. "/file"), "x", "content here")
  expect.same(names_of(c:host(fs.ls(here .. "/tree"))), { "a" }, "names here")
end)

check("a source that is missing leaves nothing behind", function(c)
  local dir, here = c:dir(), c:host_dir()
  expect.raises("not_found", function()
    c.box:upload(here .. "/missing", dir .. "/up")
  end, "missing")
  expect.raises("not_found", function()
    c.box:download(dir .. "/missing", here .. "/down")
  end, "missing")
  expect.same(c.box:ls(dir), {}, "entries in the sandbox")
  expect.same(c:host(fs.ls(here)), {}, "entries here")
end)

check("exclude leaves out what matches, both ways", function(c)
  local dir, here = c:dir(), c:host_dir()
  for _, name in ipairs({ "keep.txt", "drop.log", "sub/keep.txt", "sub/drop.log", "node_modules/a/b" }) do
    write(c, here .. "/tree/" .. name, name)
  end
  c.box:upload(here .. "/tree", dir .. "/some", { exclude = { "*.log", "node_modules" } })
  expect.same(names_of(c.box:ls(dir .. "/some")), { "keep.txt", "sub" }, "names in the sandbox")
  expect.same(names_of(c.box:ls(dir .. "/some/sub")), { "keep.txt" }, "names of sub in the sandbox")
  c.box:upload(here .. "/tree", dir .. "/all")
  c.box:download(dir .. "/all", here .. "/back", { exclude = { "*.log", "node_modules" } })
  expect.same(names_of(c:host(fs.ls(here .. "/back"))), { "keep.txt", "sub" }, "names here")
  expect.same(names_of(c:host(fs.ls(here .. "/back/sub"))), { "keep.txt" }, "names of sub here")
end)

check("progress is told, up to the end", function(c)
  local dir, here = c:dir(), c:host_dir()
  write(c, here .. "/from", ("x"):rep(3 * MIB))
  local up, down = { "upload", here .. "/from", dir .. "/up" }, { "download", dir .. "/up", here .. "/down" }
  for _, way in ipairs({ up, down }) do
    local last, calls = 0, 0
    c.box[way[1]](c.box, way[2], way[3], { on_progress = function(done, total)
      expect.yes(done >= last, "progress goes forward", done)
      expect.yes(total == 0 or done <= total, "done is within total", done)
      last, calls = done, calls + 1
    end })
    expect.yes(calls > 0, way[1] .. " tells its progress")
    expect.equal(last, 3 * MIB, way[1] .. ": bytes at the end")
  end
end)

check("a tree of 1,000 files", function(c)
  local dir, here = c:dir(), c:host_dir()
  c:sh('mkdir "$1/tree" && cd "$1/tree" && i=0; while [ $i -lt 1000 ]; do echo $i >f$i; i=$((i+1)); done', dir)
  expect.fields(c.box:download(dir .. "/tree", here .. "/tree"), { files = 1000, bytes = 3890 }, "result of download")
  expect.equal(#c:host(fs.ls(here .. "/tree")), 1000, "entries here")
  expect.fields(c.box:upload(here .. "/tree", dir .. "/again"), { files = 1000, bytes = 3890 }, "result of upload")
  expect.equal(c:sh('cd "$1/again" && cat * | wc -c | tr -d " "', dir), "3890\n", "bytes in the sandbox")
end)

check("a file of 100 MiB up and down", { heavy = true }, function(c)
  local dir, here = c:dir(), c:host_dir()
  local bytes = native.crypto.random(MIB):rep(100)
  write(c, here .. "/from", bytes)
  expect.equal(c.box:upload(here .. "/from", dir .. "/large").bytes, #bytes, "bytes of upload")
  expect.equal(c.box:stat(dir .. "/large").size, #bytes, "size in the sandbox")
  expect.equal(c.box:download(dir .. "/large", here .. "/back").bytes, #bytes, "bytes of download")
  expect.equal(read(c, here .. "/back") == bytes, true, "the same bytes came back")
end)

return topic
