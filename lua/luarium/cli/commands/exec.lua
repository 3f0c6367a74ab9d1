--- luarium exec
local boxes = require "luarium.cli.boxes"
local exit_code = require "luarium.cli.exit_code"
local format = require "luarium.cli.format"
local options = require "luarium.cli.options"

--- What the command reads: ours, when it is a pipe or a file. A terminal stays ours unless it is asked for.
local function standard_input(interactive)
  local native = require "luarium.native"
  if native.tty.isatty(0) and not interactive then
    return nil
  end
  local await = require("luarium.task").await
  local input = native.input.open(0)
  if not input then
    return nil
  end
  return function()
    local bytes, err = await(input:read())
    if err then
      error(err, 0)
    end
    return bytes
  end
end

--- Hands chunks on as they come. A reader that went away ends the command.
local function writer(fd)
  local tty = require("luarium.native").tty
  return function(chunk)
    local ok, err = tty.write(fd, chunk)
    if not ok then
      error(err, 0)
    end
  end
end

local function capture(context, box, command, given)
  local result = box:exec(command, given)
  context:print_json({ exit_code = result.exit_code, signal = result.signal, timed_out = result.timed_out,
    stdout = result.stdout, stderr = result.stderr, stdout_bytes = result.stdout_bytes,
    stderr_bytes = result.stderr_bytes, truncated = result.truncated, duration = result.duration })
  return result
end

local function on_our_terminal(context, box, command, args)
  local result = require("luarium.cli.terminal").run(context, box, command,
    { env = format.map(args.env), timeout = args.timeout, cwd = args.cwd, user = args.user }, args.detach_key)
  return result and exit_code(result) or 0
end

return {
  summary = "run a command in a sandbox",
  about = "One word goes through the sandbox's shell, several are a program and its arguments. Output is passed on as "
    .. "it comes,\nstandard input when it is a pipe or a file. The exit code is the command's own; 124 when --timeout "
    .. "ended it,\n125 when Luarium itself failed.",
  example = "luarium exec demo 'make test 2>&1 | tail -n 5'\nluarium exec demo -- git status --short\n"
    .. "luarium exec -it demo -- python3",
  passthrough = "COMMAND ...",
  failed_code = 125,
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "-i --interactive", about = "standard input goes to the command also when it is a terminal" },
    { "-t --tty", about = "the command has a terminal; with -i it is ours, as in `luarium shell`" },
    { "-e --env", value = "NAME[=VALUE]", type = "env", many = true,
      about = "environment of this command; NAME alone: a secret, read from our environment" },
    { "--timeout", value = "SECONDS", type = "seconds", about = "kill it and all it started after so long" },
    { "-w --cwd", value = "DIR", about = "where it runs; relative to the sandbox's working directory" },
    { "-u --user", value = "USER", about = "as whom, where the provider can" },
    { "--detach-key", value = "KEY", type = "key", about = "with -it: the key that leaves, else ctrl-]; or none" },
  },
  run = function(args, context)
    if #args.rest == 0 then
      options.usage_error("exec: which command?", "luarium help exec")
    end
    local ours = args.tty and args.interactive
    if ours then
      require("luarium.cli.terminal").require("exec -it", "luarium exec " .. args.box .. " -- COMMAND")
    end
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      local command = #args.rest == 1 and args.rest[1] or args.rest
      if ours then
        return on_our_terminal(context, box, command, args)
      end
      local given = { env = format.map(args.env), timeout = args.timeout, cwd = args.cwd, user = args.user,
        pty = args.tty, stdin = standard_input(args.interactive) }
      if context.json then
        return exit_code(capture(context, box, command, given))
      end
      given.on_stdout, given.on_stderr = writer(1), writer(2)
      context.writes_through = true
      local result = box:exec(command, given)
      if result.timed_out then
        context:note("luarium: stopped after %g s", args.timeout)
      end
      return exit_code(result)
    end)
  end,
}
