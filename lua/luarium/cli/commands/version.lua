--- luarium version
local native = require "luarium.native"

return {
  summary = "print the version",
  example = "luarium version",
  run = function(_, context)
    local lua = _VERSION:gsub("^Lua ", "")
    if context.json then
      context:print_json({ version = native.version, lua = lua })
    else
      context:print("luarium %s (Lua %s)", native.version, lua)
    end
  end,
}
