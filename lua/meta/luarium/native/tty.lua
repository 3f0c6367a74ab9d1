---@meta

--- What is known of a terminal; everything is done at once.
---@class luarium.native.tty
local tty = {}

---@param fd integer
---@return boolean
function tty.isatty(fd) end

---@param fd integer
---@return integer? cols nil when fd is no terminal or does not know
---@return integer? rows
function tty.size(fd) end

---@class luarium.native.TtySaved
local saved = {}

--- Puts the terminal back as it was; again: nothing. Also when it is collected.
---@return boolean? ok
---@return luarium.Error? err
function saved:restore() end

--- Switches a terminal to raw mode. When this process dies before it is restored, also by kill -9, a small process that
--- waits for that restores it.
---@param fd integer
---@param leave string? what is written to the terminal then, such as the end of the alternate screen
---@return luarium.native.TtySaved? saved
---@return luarium.Error? err
function tty.raw(fd, leave) end

return tty
