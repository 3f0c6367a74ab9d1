--- luarium exec
local boxes = require "luarium.cli.boxes"
local format = require "luarium.cli.format"
local options = require "luarium.cli.options"

local signals = {
  SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9,
  SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15, SIGXCPU = 24, SIGXFSZ = 25,
  SIGSYS = 31,
}

local function exit_code(result)
  if result.timed_out then
    return 124
  elseif result.exit_code then
    return result.exit_code
  end
  return 128 + (signals[result.signal or ""] or 9)
end

--- What the command reads: ours, when it is a pipe or a file. A terminal stays ours.
local function standard_input()
  local native = require "luarium.native"
  if native.tty.isatty(0) then
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

return {
  summary = "run a command in a sandbox",
  about = "One word goes through the sandbox's shell, several are a program and its arguments. Output is passed on as "
    .. "it comes,\nstandard input when it is a pipe or a file. The exit code is the command's own; 124 when --timeout "
    .. "ended it,\n125 when Luarium itself failed.",
  example = "luarium exec demo 'make test 2>&1 | tail -n 5'\nluarium exec demo -- git status --short",
  passthrough = "COMMAND ...",
  failed_code = 125,
  arguments = { { "box", about = "id, beginning of an id, or name" } },
  options = {
    { "-e --env", value = "NAME[=VALUE]", type = "env", many = true,
      about = "environment of this command; NAME alone: a secret, read from our environment" },
    { "-t --timeout", value = "SECONDS", type = "seconds", about = "kill it and all it started after so long" },
    { "-w --cwd", value = "DIR", about = "where it runs; relative to the sandbox's working directory" },
    { "-u --user", value = "USER", about = "as whom, where the provider can" },
  },
  run = function(args, context)
    if #args.rest == 0 then
      options.usage_error("exec: which command?", "luarium help exec")
    end
    return context:task(function()
      local box = boxes.open(context:api(), args.box)
      local command = #args.rest == 1 and args.rest[1] or args.rest
      local given = { env = format.map(args.env), timeout = args.timeout, cwd = args.cwd, user = args.user,
        stdin = standard_input() }
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
