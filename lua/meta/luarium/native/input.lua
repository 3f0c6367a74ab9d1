---@meta

--- Reading a descriptor that was given to the process, such as standard input, without changing it for those who
--- share it.
---@class luarium.native.input
local M = {}

---@class luarium.native.Input
local Input = {}

--- Up to max bytes as they come, nil at the end; one read at a time.
---@param max integer? bytes, default 65536
---@return userdata? op result: bytes or nil
---@return luarium.Error? err `conflict` when another read is in flight
function Input:read(max) end

--- Cancels a read in flight. May be called again.
function Input:close() end

---@param fd integer
---@return luarium.native.Input? input
---@return luarium.Error? err
function M.open(fd) end

return M
