---@meta

--- The bindings, in C. They start operations and return them, or nil and an error; they never wait.
---@class luarium.native
---@field version string of Luarium
---@field archive luarium.native.archive
---@field crypto luarium.native.crypto
---@field fs luarium.native.fs
---@field http luarium.native.http
---@field input luarium.native.input
---@field line luarium.native.line
---@field loop luarium.native.loop
---@field output luarium.native.output
---@field process luarium.native.process
---@field signal luarium.native.signal
---@field ssh luarium.native.ssh
---@field tty luarium.native.tty
local native = {}

---@return {name: string, version: string}[] libraries that it was built with or has found
function native.libraries() end

return native
