--- The exit code that stands for how a command in a sandbox ended.
local signals = {
  SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9,
  SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15, SIGXCPU = 24, SIGXFSZ = 25,
  SIGSYS = 31,
}

--- Its own code; 128 and the signal, as shells do it; 124 when the timeout ended it.
---@param result luarium.ExecResult
---@return integer
return function(result)
  if result.timed_out then
    return 124
  elseif result.exit_code then
    return result.exit_code
  end
  return 128 + (signals[result.signal or ""] or 9)
end
