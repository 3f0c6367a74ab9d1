--- luarium shell
local boxes = require "luarium.cli.boxes"
local exit_code = require "luarium.cli.exit_code"

--- The user's usual shell where there is one.
local LOGIN = "exec \"$(command -v bash || command -v sh)\" -i"

return {
  summary = "open a terminal in a sandbox",
  about = "Keys, colours, sizes and the exit code are those of the shell in the sandbox. Ctrl-] or the --detach-key\n"
    .. "leaves, and that ends the shell and what it runs in the foreground: there is no coming back to it. The\n"
    .. "sandbox stays. Start what must go on with `luarium exec --detach`, or in the shell with `nohup ... &`.\n"
    .. "However Luarium ends, the terminal is put back as it was.",
  example = "luarium shell demo\nluarium shell demo -- htop",
  passthrough = "[COMMAND ...]",
  failed_code = 125,
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "-w --cwd", value = "DIR", about = "where it starts; relative to the sandbox's working directory" },
    { "-u --user", value = "USER", about = "as whom, where the provider can" },
    { "--detach-key", value = "KEY", type = "key", about = "the key that leaves and ends it, else ctrl-]; or none" },
  },
  run = function(args, context)
    local terminal = require "luarium.cli.terminal"
    terminal.require("shell", "luarium exec " .. args.box .. " -- COMMAND")
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      local command = #args.rest == 0 and LOGIN or #args.rest == 1 and args.rest[1] or args.rest
      local result = terminal.run(context, box, command, { cwd = args.cwd, user = args.user },
        args.detach_key)
      if not result then
        context:note("luarium: left %s, which stays; what ran here has ended", box.name or box.id)
        return 0
      end
      return exit_code(result)
    end)
  end,
}
