--- luarium shell
local boxes = require "luarium.cli.boxes"
local exit_code = require "luarium.cli.exit_code"
local options = require "luarium.cli.options"

--- The user's usual shell where there is one.
local LOGIN = "exec \"$(command -v bash || command -v sh)\" -i"

local function check_words(args)
  local given = args.keep and "--keep" or #args.rest > 0 and "a command" or args.cwd and "--cwd"
  if args.attach and given then
    options.usage_error(("shell: --attach comes back to what runs: leave out %s; --attach=JOB tells which one")
      :format(given), "luarium help shell")
  end
end

local function plain(context, box, command, args)
  local result = require("luarium.cli.terminal").run(context, box, command, { cwd = args.cwd, user = args.user },
    args.detach_key)
  if not result then
    context:note("luarium: left %s, which stays; what ran here has ended", box.name or box.id)
    return 0
  end
  return exit_code(result)
end

return {
  summary = "open a terminal in a sandbox",
  about = "Keys, colours, sizes and the exit code are those of the shell in the sandbox. Ctrl-] or the --detach-key\n"
    .. "leaves, and that ends the shell and what it runs in the foreground, unless it was opened with --keep: then\n"
    .. "it goes on, also when the connection breaks or Luarium is killed, and --attach comes back to it, from several\n"
    .. "terminals at once if need be. That takes `script` of util-linux or busybox in the sandbox. The sandbox itself\n"
    .. "stays. However Luarium ends, the terminal is put back as it was.",
  example = "luarium shell demo\nluarium shell demo -- htop\nluarium shell --keep demo -- claude\n"
    .. "luarium shell --attach demo",
  passthrough = "[COMMAND ...]",
  failed_code = 125,
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "-k --keep", about = "it goes on when we leave, or are cut off" },
    { "-a --attach", value = "JOB", bare = true, about = "come back to what was kept; which, when there are several" },
    { "-w --cwd", value = "DIR", about = "where it starts; relative to the sandbox's working directory" },
    { "-u --user", value = "USER", about = "as whom, where the provider can" },
    { "--detach-key", value = "KEY", type = "key", about = "the key that leaves, else ctrl-]; or none" },
  },
  run = function(args, context)
    check_words(args)
    local terminal = require "luarium.cli.terminal"
    terminal.require("shell", "luarium exec " .. args.box .. " -- COMMAND")
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      local command = #args.rest == 0 and LOGIN or #args.rest == 1 and args.rest[1] or args.rest
      local kept = (args.attach or args.keep) and require "luarium.cli.kept_shell"
      if args.attach then
        return kept.attach(context, box, args)
      end
      return kept and kept.open(context, box, command, args) or plain(context, box, command, args)
    end)
  end,
}
