--- luarium exec
local boxes = require "luarium.cli.boxes"
local duration = require "luarium.duration"
local exit_code = require "luarium.cli.exit_code"
local format = require "luarium.cli.format"
local options = require "luarium.cli.options"
local writer = require "luarium.cli.writer"

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

local STDIN_LIMIT = 67108864 -- bytes that a job may be given

--- All that we are given, for a job that goes on when we do not.
local function whole_input(interactive)
  local next_chunk = interactive and standard_input(true)
  local parts, size = {}, 0
  local bytes = next_chunk and next_chunk()
  while bytes do
    parts[#parts + 1], size = bytes, size + #bytes
    if size > STDIN_LIMIT then
      options.usage_error(("exec: a job is given at most %d bytes of standard input"):format(STDIN_LIMIT),
        "luarium help cp")
    end
    bytes = next_chunk()
  end
  return next_chunk and table.concat(parts) or nil
end

local function detach(context, box, command, args)
  local job = box:job(command, { key = args.key, wait = 0, env = format.map(args.env), timeout = args.timeout,
    cwd = args.cwd, user = args.user, stdin = whole_input(args.interactive) })
  if context.json then
    context:print_json({ job = job.key, started = job.started, sandbox = box.id })
  else
    context:print("%s", job.key)
    context:note("luarium: %s; `luarium attach %s %s` follows it", job.started and "started" or "it was there already",
      args.box, job.key)
  end
  return 0
end

local function check_words(args)
  if #args.rest == 0 then
    options.usage_error("exec: which command?", "luarium help exec")
  elseif args.key and not args.detach then
    options.usage_error("exec: --key goes with --detach", "luarium help exec")
  elseif args.detach and args.tty then
    options.usage_error("exec: a detached command has no terminal: leave out --tty, or see `luarium shell --keep`",
      "luarium help shell")
  end
end

return {
  summary = "run a command in a sandbox",
  about = "One word goes through the sandbox's shell, several are a program and its arguments. Output is passed on as "
    .. "it comes,\nstandard input when it is a pipe or a file. The exit code is the command's own; 124 when --timeout "
    .. "ended it,\n125 when Luarium itself failed. A timeout and signals are obeyed also while nobody reads the "
    .. "output; what was\nwritten before waits for its reader. With --detach it goes on without us, as a job.",
  example = "luarium exec demo 'make test 2>&1 | tail -n 5'\nluarium exec demo -- git status --short\n"
    .. "luarium exec --detach --key build demo -- make\n"
    .. "luarium exec -it demo -- python3",
  passthrough = "COMMAND ...",
  failed_code = 125,
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "-i --interactive", about = "standard input goes to the command also when it is a terminal" },
    { "-t --tty", about = "the command has a terminal; with -i it is ours, as in `luarium shell`" },
    { "-d --detach", about = "start it as a job and print its key; `luarium attach` follows it" },
    { "--key", value = "KEY", about = "with --detach: started again under the same key it is found, not run again" },
    { "-e --env", value = "NAME[=VALUE]", type = "env", many = true,
      about = "environment of this command; NAME alone: a secret, read from our environment" },
    { "--timeout", value = "TIME", type = "seconds",
      about = "kill it and all it started after so long: " .. duration.FORM },
    { "-w --cwd", value = "DIR", about = "where it runs; relative to the sandbox's working directory" },
    { "-u --user", value = "USER", about = "as whom, where the provider can" },
    { "--detach-key", value = "KEY", type = "key",
      about = "with -it: the key that leaves and ends it, else ctrl-]; or none" },
  },
  run = function(args, context)
    check_words(args)
    local ours = args.tty and args.interactive
    if ours then
      require("luarium.cli.terminal").require("exec -it", "luarium exec " .. args.box .. " -- COMMAND")
    end
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      local command = #args.rest == 1 and args.rest[1] or args.rest
      if args.detach then
        return detach(context, box, command, args)
      elseif ours then
        return on_our_terminal(context, box, command, args)
      end
      local given = { env = format.map(args.env), timeout = args.timeout, cwd = args.cwd, user = args.user,
        pty = args.tty, stdin = standard_input(args.interactive) }
      if context.json then
        return exit_code(capture(context, box, command, given))
      end
      given.on_stdout, given.on_stderr = writer.to(1), writer.to(2)
      context.writes_through = true
      local result = box:exec(command, given)
      if result.timed_out then
        context:note("luarium: stopped after %g s", args.timeout)
      end
      return exit_code(result)
    end)
  end,
}
