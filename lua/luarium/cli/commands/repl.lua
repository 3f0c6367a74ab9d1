--- luarium repl
return {
  summary = "type Lua, a line at a time",
  about = "The library is there as `luarium`, and calls that wait just work. What a line returns is shown, and is in\n"
    .. "`_`. Globals last from line to line; a statement goes on until it is whole. Ctrl-C ends what the line does,\n"
    .. "Ctrl-D or os.exit() the session. Sandboxes that were not destroyed are listed at the end.\n"
    .. "On a terminal lines are edited as in a shell (libedit; ~/.editrc is read): Tab completes names, fields and\n"
    .. "methods, Up and Ctrl-R look through the history, which STATE/repl_history keeps without secrets and without\n"
    .. "lines that begin with a blank. TERM=dumb or a missing libedit leave the terminal's own editing.\n"
    .. "`luarium.task.start(fn)` works beside what is typed. Without a terminal the lines are read from standard\n"
    .. "input, and the first failure ends the session with its exit code.",
  example = "luarium repl\necho 'luarium.with({}, function(box) return box:exec(\"pwd\").stdout end)' | luarium repl",
  run = function(_, context)
    local tty = require("luarium.native").tty
    local interactive = tty.isatty(0) and tty.isatty(1)
    local code = context:task(function()
      if interactive then
        context:note("Luarium %s, %s. `luarium` is the library, Ctrl-D leaves.",
          require("luarium.native").version, _VERSION)
      end
      local editor = interactive and require("luarium.cli.repl_editor").open(context)
      local session = require("luarium.cli.repl").new(context, interactive)
      return editor and editor:run(session) or session:run()
    end)
    if interactive then
      io.stdout:write("\n")
    end
    require("luarium.cli.main_task").note_open(context)
    return code
  end,
}
