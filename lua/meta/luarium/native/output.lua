---@meta

--- Writing to a descriptor that was given to the process, such as standard output, without changing it for those who
--- share it.
---@class luarium.native.output
local M = {}

---@class luarium.native.Output
local Output = {}

--- Writes what there is room for now, also while a write is in flight.
---@param bytes string
---@return integer? count of the bytes that were taken, from the front; may be 0
---@return luarium.Error? err `io`, with the name EPIPE when nobody reads any more
function Output:offer(bytes) end

--- Writes everything, as the reader makes room; one write at a time. When it is cancelled a part may have been written.
---@param bytes string
---@return userdata? op its result is true
---@return luarium.Error? err `conflict` when another write is in flight
function Output:write(bytes) end

--- Cancels a write in flight. May be called again.
function Output:close() end

---@param fd integer
---@return luarium.native.Output? output
---@return luarium.Error? err
function M.open(fd) end

return M
