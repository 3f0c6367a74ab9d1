---@meta

--- Editing a line on a terminal, with libedit, while the tasks go on working.
---@class luarium.native.line
local M = {}

---@class luarium.native.Line
local Line = {}

--- Lets the user edit a line. The result of the op is an event, a text and a place in it:
--- "line" and what was typed; "end": no more input; "dropped": Ctrl-C was typed; "complete", the text so far and how
--- many bytes of it are before the cursor: Tab was typed, and the line waits for `answer`.
---@param prompt string
---@return userdata? op
---@return luarium.Error? err `conflict` while another line is being edited
function Line:read(prompt) end

--- Answers "complete"; the line goes on without an answer after two seconds.
---@param insert string goes in at the cursor; may be empty
---@param list string lines to show below; may be empty
---@return userdata? op as that of `read`
---@return luarium.Error? err `conflict` when nothing was asked
function Line:answer(insert, list) end

--- Adds a text to what Up goes through; not while a line is being edited.
---@param text string
---@return boolean? ok
---@return luarium.Error? err
function Line:remember(text) end

--- Takes the line off the screen, so that something else can be written; calls nest.
function Line:hide() end

--- Puts it back, a moment after the last `show`.
function Line:show() end

--- After a change of the terminal's size, and after the process was stopped.
function Line:redraw() end

--- As if Ctrl-C was typed.
function Line:drop() end

--- Ends an edit in flight and restores the terminal. May be called again.
function Line:close() end

--- The terminal is as before after `close`, and also when the process dies.
---@param input integer descriptor of a terminal
---@param output integer descriptor of a terminal
---@param history integer how many texts are remembered
---@return luarium.native.Line? line
---@return luarium.Error? err `unsupported` without libedit, or when the terminal cannot move its cursor
function M.open(input, output, history) end

return M
