--- luarium help [COMMAND]
local cli = require "luarium.cli"
local compat = require "luarium.compat"
local format = require "luarium.cli.format"
local options = require "luarium.cli.options"

local function overview()
  local rows = {}
  for _, name in ipairs(cli.commands) do
    rows[#rows + 1] = { "  " .. name, cli.command(name).summary }
  end
  return "Usage: luarium COMMAND [OPTIONS] ...\n\nSandboxes for coding agents, driven from Lua.\n\nCommands:\n"
    .. format.table(rows) .. "\nOptions of every command:\n" .. format.table(options.option_lines(options.global))
    .. "\nExample:\n  luarium run scripts/quickstart.lua\n\n"
    .. "`luarium help COMMAND` explains a command. Installed, scripts/ and docs/ are in share/doc/luarium.\n"
end

return {
  summary = "explain a command",
  example = "luarium help exec",
  arguments = { { "command", many = true, optional = true, about = "the command; without it: all of them" } },
  options = {
    { "--man", about = "the whole manual as a man page: luarium help --man | man -l -" },
    { "--markdown", about = "the whole manual as Markdown" },
  },
  run = function(args, context)
    if args.man or args.markdown then
      return context:write(require("luarium.cli.manual")[args.man and "man" or "markdown"]())
    end
    local name = table.concat(args.command, " ")
    if name == "" then
      return context:write(overview())
    end
    if name == "provider" then
      return context:write(options.help(cli.command("provider new")) .. "\n"
        .. options.help(cli.command("provider test")))
    end
    for _, known in ipairs(cli.commands) do
      if known == name then
        local command = cli.command(name)
        return context:write(command.help and command.help({}, command) or options.help(command))
      end
    end
    local near = require("luarium.check").nearest(name, { compat.unpack(cli.commands) })
    options.usage_error(("there is no command '%s'%s"):format(name,
      near and (": did you mean '%s'?"):format(near) or ""), "luarium help")
  end,
}
