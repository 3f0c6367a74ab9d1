---@meta luarium.native.line

--- Lines typed on a terminal, with editing, history and completion, by libedit on a thread of its own.
---@class luarium.native.line
local line = {}

--- The editor of a terminal. While it is open, a small process restores the terminal should this one die.
---@param input integer descriptor that keys are read from
---@param output integer descriptor that the line is drawn on
---@return luarium.native.Line? line
---@return luarium.Error? err unsupported without libedit, io when `input` is no terminal
function line.open(input, output) end

---@class luarium.native.Line
local Line = {}

--- Waits for the next event: "typed" with the line; "end" of the input; "interrupt": Ctrl-C, the line is dropped;
--- "complete": Tab, with what stands before the cursor: call answer, then read again; "too long": more than 16384
--- characters were typed. Editing begins with the first read after a line, with its prompt. One at a time.
---@param prompt string
---@return luarium.native.Op? op its results are the event and its text
---@return luarium.Error? err
function Line:read(prompt) end

--- Answers "complete".
---@param insert string goes in at the cursor
---@param listing string lines that are shown below
function Line:answer(insert, listing) end

--- Writes to the terminal, above the line that is being edited.
---@param text string
---@return boolean written
function Line:print(text) end

--- Adds a line to the history.
---@param text string
---@return boolean done
function Line:remember(text) end

--- The terminal has another size.
function Line:resized() end

--- Ends the editing and puts the terminal back as it was.
function Line:close() end

return line
