---@meta

--- Trees to tar streams, and tar, tar.gz, tar.zst and zip streams to trees. Neither way holds more than a bounded piece.
---@class luarium.native.archive
local archive = {}

---@class luarium.native.Packer
local packer = {}

--- The next piece, about 256 KiB. One read at a time: raises while another is under way, and after a failed one.
---@return luarium.Op op gives bytes, or nil at the end
function packer:read() end

--- What was packed so far; skipped counts fifos, sockets and devices.
---@return { files: integer, dirs: integer, links: integer, bytes: integer, skipped: integer }
function packer:stats() end

function packer:close() end

---@class luarium.native.PackOpts
---@field root string folder
---@field paths? string[] entries below root, folders with all they hold; default everything
---@field exclude? string[] globs: with a slash for the path below root, without for any name
---@field format? "tar"|"pax" "tar" is GNU's, which every tar reads, busybox too; any name and size either way
---@field compress? "none"|"gzip"|"zstd"
---@field owner? boolean keep numeric owners; default false: 0
---@field mark? string name of an empty file that comes last: who has it has everything

--- Names are packed in byte order and without owners and set-uid bits: the same tree gives the same bytes. Links are
--- packed as links, hard links as files. A file that becomes shorter while it is read ends the archive with kind conflict.
---@param opts luarium.native.PackOpts
---@return luarium.native.Packer? packer
---@return luarium.Error? err kind invalid: a path leaves the root
function archive.pack(opts) end

---@class luarium.native.Unpacker
local unpacker = {}

--- Ends when there is room for more. After the archive was refused: its error. One write at a time.
---@param bytes string
---@return luarium.Op op gives true
function unpacker:write(bytes) end

--- No more bytes will come.
---@return luarium.Op op gives a luarium.native.UnpackResult
function unpacker:finish() end

--- Stops and leaves nothing behind, once the operation has ended; also when it is collected before finish.
---@return luarium.Op? op fails with `cancelled` when everything is gone; nil when it was over already
function unpacker:abort() end

---@class luarium.native.UnpackResult
---@field files integer
---@field dirs integer
---@field links integer symbolic and hard
---@field bytes integer
---@field skipped_count integer
---@field skipped { path: string, reason: string }[] the first 100

---@class luarium.native.UnpackLimits
---@field bytes? integer all files together; default 16 GiB
---@field files? integer files, folders and links; default 1,000,000
---@field ratio? integer bytes unpacked for one packed, from 16 MiB on; default 1100, 0: any
---@field depth? integer folders in a name; default 128
---@field name? integer bytes of a name; default 4095

---@class luarium.native.UnpackOpts
---@field dest string folder; made when missing (its parent must be there), merged into otherwise
---@field limits? luarium.native.UnpackLimits
---@field strip? integer leading folders dropped from every name
---@field exclude? string[] globs as for packing; what is below such a folder is left out too
---@field links? "refuse"|"skip" what is done with links that lead out; default "refuse"

--- Unpacks into a private folder and moves it into place when everything was sound. Refused with kind protocol: absolute
--- names, "..", names through links or files, links out of dest (also ".." behind a name), devices, fifos, names that
--- appear twice, damaged and truncated input. Kind quota: over a limit. Kind conflict: a file where dest has a folder, or
--- the other way round. In all cases dest is as it was. Set-uid bits and owners are dropped, folders keep rwx for their
--- owner, files keep mode and time.
---@param opts luarium.native.UnpackOpts
---@return luarium.native.Unpacker? unpacker
---@return luarium.Error? err
function archive.unpack(opts) end

return archive
