--- Files of a sandbox, and transfers in and out of it.
local check = require "luarium.check"
local errors = require "luarium.error"
local object = require "luarium.sandbox.object"
local progress = require "luarium.progress"

local Sandbox = object.methods

local function file_method(operation, template)
  return function(self, path, options)
    options = check.options(options, template, operation)
    return object.span(self, operation, { path = path }, self:path(path), options)
  end
end

local READ_LIMIT = 67108864

--- The bytes of a file. `max` bounds how many are accepted (default 64 MiB).
---@async
---@param path string
---@param options {offset?: integer, length?: integer, max?: integer}? bytes
---@return string
function Sandbox:read_file(path, options)
  options = check.options(options, { offset = "size", length = "size", max = "size" }, "read_file")
  return object.span(self, "read_file", { path = path }, self:path(path), {
    offset = options.offset, length = options.length, max = options.max or READ_LIMIT,
  })
end

--- Entries of a folder, sorted by name: {name, type, size, mode, mtime, target}.
Sandbox.ls = file_method("ls", {})
--- {type, size, mode, mtime, target}; follows links unless follow = false.
Sandbox.stat = file_method("stat", { follow = "boolean" })
--- Makes a folder; with parents = true also those above it, and one that exists is fine.
Sandbox.mkdir = file_method("mkdir", { parents = "boolean", mode = "size" })
--- Deletes a file, a link or an empty folder; with recursive = true a whole tree.
Sandbox.remove = file_method("remove", { recursive = "boolean" })

--- Makes or replaces a file, with the folders above it.
---@async
---@param path string
---@param bytes string
---@param options {mode?: integer, append?: boolean}?
function Sandbox:write_file(path, bytes, options)
  check.argument(bytes, "string", "write_file", "the content")
  options = check.options(options, { mode = "size", append = "boolean" }, "write_file")
  return object.span(self, "write_file", { path = path, bytes = #bytes }, self:path(path), bytes, options)
end

---@async
---@return boolean
function Sandbox:exists(path)
  local ok, err = pcall(self.stat, self, path, { follow = false })
  if not ok and not errors.is(err, "not_found") then
    error(err, 0)
  end
  return ok
end

--- Renames. An existing file is replaced, an existing folder is a conflict.
---@async
function Sandbox:move(from, to)
  return object.span(self, "move", { path = from, to = to }, self:path(from), self:path(to))
end

local transfer_options = { exclude = "strings", on_progress = "function" }

--- Inside the span of the operation, so that progress names it.
local function transfer(box, operation, from, to, options)
  local report = progress.reporter({ sandbox = box.id, name = box.name, what = operation })
  return object.call(box, operation, from, to,
    { exclude = options.exclude, on_progress = progress.both(options.on_progress, report) })
end

--- Copies a local file or tree to exactly this path in the sandbox.
---@async
---@param from string a local path
---@param to string
---@param options {exclude?: string[], on_progress?: fun(done: integer, total: integer)}?
---@return {files: integer, bytes: integer, skipped: table}
function Sandbox:upload(from, to, options)
  check.argument(from, "text", "upload", "the local path")
  options = check.options(options, transfer_options, "upload")
  return object.span_with(transfer, self, "upload", { path = to, from = from }, from, self:path(to), options)
end

--- Copies a file or tree of the sandbox to exactly this local path. Links that lead out of the tree are skipped and
--- listed in the result.
---@async
---@return {files: integer, bytes: integer, skipped: table}
function Sandbox:download(from, to, options)
  check.argument(to, "text", "download", "the local path")
  options = check.options(options, transfer_options, "download")
  return object.span_with(transfer, self, "download", { path = from, to = to }, self:path(from), to, options)
end
