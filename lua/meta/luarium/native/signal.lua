---@meta

--- Signals of the process. Only a program that owns its process waits for them; a host never finds them taken over.
---@class luarium.native.signal
local M = {}

--- Waits for one of the signals. The operation alone does not keep the loop busy. Cancelling it gives the signals
--- back; so does collecting it.
---@param name "INT"|"TERM"|"HUP"|"WINCH"|"CONT"|"USR1"
---@param ... string further names, eight at most
---@return userdata? op results: the name, and the operation that already waits for the next one
---@return luarium.Error? err
function M.wait(name, ...) end

--- Whether the process ignores the signal, as one that nohup started does HUP.
---@param name "INT"|"TERM"|"HUP"|"WINCH"|"CONT"|"USR1"
---@return boolean
function M.ignored(name) end

return M
