--- Processes that can be found, because a word that no other has is among their arguments.
local native = require "luarium.native"

local M = {}

--- A word for the arguments of a command.
function M.word()
  return "word" .. native.crypto.hex_encode(native.crypto.random(6))
end

--- How many processes of this machine have the word among their arguments.
M.count = require("luarium.conformance.context").host_processes

return M
