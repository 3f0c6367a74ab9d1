--- Where configuration files are. Apart from the rest, so that a script that needs no sandbox does not load it all to
--- learn that there are none.
local of_file = require("luarium.text").of_file

--- The configuration files that exist, in the order in which they are read.
---@return string[]
return function()
  local found = {}
  local home = os.getenv("XDG_CONFIG_HOME") or (os.getenv("HOME") or "") .. "/.config"
  for _, path in ipairs({ "luarium.lua", home .. "/luarium/luarium.lua" }) do
    if of_file(path) then -- a folder is none
      found[#found + 1] = path
    end
  end
  return found
end
