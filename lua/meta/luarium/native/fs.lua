---@meta

--- Files and folders. Every function that returns an op works on a worker thread; paths are bytes without NUL.
--- Errors of ops: not_found, conflict (something is there already, or of another kind), quota, invalid, io.
---@class luarium.native.fs
local fs = {}

---@class luarium.native.fs.ReadOpts
---@field offset? integer first byte, from 0
---@field length? integer at most so many bytes
---@field max? integer more than so many bytes are refused with kind quota; default 1 GiB

--- Only regular files. The bytes are handed out once.
---@param path string
---@param opts? luarium.native.fs.ReadOpts
---@return luarium.Op op gives the bytes
function fs.read_file(path, opts) end

---@class luarium.native.fs.WriteOpts
---@field mode? integer permission bits, set exactly; without it 0644 as the umask allows, or what the file has
---@field append? boolean
---@field atomic? boolean the file appears complete or not at all; a link at path is replaced
---@field fsync? boolean on the disk before the op ends
---@field parents? boolean make missing folders

---@param path string
---@param bytes string
---@param opts? luarium.native.fs.WriteOpts
---@return luarium.Op op gives true
function fs.write_file(path, bytes, opts) end

---@class luarium.native.fs.Entry
---@field name? string in lists
---@field type "file"|"dir"|"link"|"fifo"|"socket"|"char"|"block"
---@field size integer bytes
---@field mode integer permission bits, with set-uid, set-gid and sticky
---@field mtime number seconds since 1970
---@field target? string of a link
---@field bytes? string with `read`: what is in the file

---@class luarium.native.fs.Stat: luarium.native.fs.Entry
---@field uid integer
---@field gid integer
---@field dev integer
---@field ino integer

---@param path string
---@param opts? { follow?: boolean } follow links at the end of the path; default true
---@return luarium.Op op gives a luarium.native.fs.Stat
function fs.stat(path, opts) end

--- Entries sorted by the bytes of their names; links are not followed.
---@param path string
---@param opts? { max_entries?: integer, read?: integer } max_entries: default 1,000,000; more: kind quota. read: files
--- of at most so many bytes are read too, up to 64 MiB in all; one that cannot be read has no bytes
---@return luarium.Op op gives a list of luarium.native.fs.Entry
function fs.ls(path, opts) end

---@param path string
---@param opts? { parents?: boolean, mode?: integer } parents: also fine when it is there already
---@return luarium.Op op gives true
function fs.mkdir(path, opts) end

--- Removes a file, link, empty folder, or with recursive a tree. Links are never followed, mount points never entered.
---@param path string
---@param opts? { recursive?: boolean }
---@return luarium.Op op gives how many entries were removed; op:progress() counts them
function fs.remove(path, opts) end

--- Renames, or copies and removes when `to` is on another file system.
---@param from string
---@param to string the exact path
---@return luarium.Op op gives true
function fs.move(from, to) end

---@param path string
---@param mode integer
---@return luarium.Op op gives true
function fs.chmod(path, mode) end

---@param target string
---@param path string of the link
---@return luarium.Op op gives true
function fs.symlink(target, path) end

---@param path string
---@return luarium.Op op gives the target
function fs.readlink(path) end

---@param path string
---@return luarium.Op op gives the absolute path without links
function fs.realpath(path) end

---@param prefix string six characters are added
---@return luarium.Op op gives the path of a folder that was made, mode 0700
function fs.mkdtemp(prefix) end

---@param path string made when missing
---@param opts? { mtime?: number, mode?: integer } mtime: seconds since 1970, default now
---@return luarium.Op op gives true
function fs.touch(path, opts) end

---@class luarium.native.fs.CopyResult
---@field files integer
---@field bytes integer
---@field links integer
---@field dirs integer
---@field skipped_count integer
---@field skipped { path: string, reason: string }[] the first 100

--- Copies a file, link or tree to exactly `to`. A tree merges into a folder that is there; a file never replaces a
--- folder (conflict). Permission bits and times are kept; owners, set-uid and hard links are not. Devices, fifos and
--- sockets are skipped. op:progress() gives bytes done and, for a single file, bytes in all.
---@param from string
---@param to string
---@param opts? { links?: "keep"|"refuse_outside", exclude?: string[] } refuse_outside skips links that
---  leave the tree; exclude: globs, with a slash for the whole path, without for any name in it
---@return luarium.Op op gives a luarium.native.fs.CopyResult
function fs.copy(from, to, opts) end

---@class luarium.native.fs.Reader
local reader = {}

--- One read at a time: raises while another is under way.
---@return luarium.Op op gives bytes, or nil at the end
function reader:read() end

---@return integer bytes when it was opened
function reader:size() end

function reader:close() end

---@param path string
---@param opts? { offset?: integer, length?: integer, chunk?: integer } chunk in bytes, default 256 KiB
---@return luarium.Op op gives a luarium.native.fs.Reader
function fs.reader(path, opts) end

---@class luarium.native.fs.Writer
local writer = {}

--- One write at a time: raises while another is under way.
---@param bytes string
---@return luarium.Op op gives true
function writer:write(bytes) end

--- Ends the file; an atomic one appears now, unless a write failed.
---@return luarium.Op op gives true
function writer:close() end

--- Ends it without a commit; also when it is collected.
function writer:abort() end

---@param path string
---@param opts? { mode?: integer, atomic?: boolean, append?: boolean }
---@return luarium.Op op gives a luarium.native.fs.Writer
function fs.writer(path, opts) end

---@param path string links are followed
---@return boolean
function fs.exists(path) end

---@param path string links are followed
---@return "file"|"dir"|"fifo"|"socket"|"char"|"block"|nil type nil: it is not there
function fs.type(path) end

---@param path string
---@return { total: integer, free: integer }? bytes
---@return luarium.Error? err
function fs.disk(path) end

---@class luarium.native.fs.Lock
local lock = {}

--- Gives the lock up; again: nothing. Also when it is collected or the process ends.
function lock:unlock() end

--- An advisory lock on a file that is made when missing.
---@param path string
---@return luarium.native.fs.Lock|false|nil lock false: somebody else holds it
---@return luarium.Error? err
function fs.trylock(path) end

return fs
