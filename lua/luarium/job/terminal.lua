--- What is done with the terminal of a job: keys, sizes, a live connection.
local check = require "luarium.check"
local command = require "luarium.sandbox.command"
local contract = require "luarium.provider.contract"
local errors = require "luarium.error"
local object = require "luarium.sandbox.object"
local reply = require "luarium.job.reply"
local script = require "luarium.job.script"
local shell = require "luarium.provider.emulate.shell"

local M = {}

local size = { cols = contract.exec_options.cols, rows = contract.exec_options.rows }

--- Gives jobs their methods.
---@param Job luarium.Job
---@param ask fun(box: luarium.Sandbox, key: string, argv: string[], options: table): string
function M.add(Job, ask)
  --- Types on the job's terminal. Returns when it is on its way; when much waits already for a program that reads
  --- nothing, that is an error after a minute. It is not tried again when the connection breaks, and part of it may
  --- have arrived.
  ---@async
  ---@param bytes string
  function Job:write(bytes)
    check.argument(bytes, "string", "job:write", "what is typed")
    ask(self.box, self.key, script.argv("write", self.key), { user = self.user, stdin = bytes, once = true })
  end

  --- Sets the size of the job's terminal, for all who are connected.
  ---@async
  ---@param cols integer
  ---@param rows integer
  ---@param options {redraw?: boolean}? redraw: the program learns of a change in any case, so that it draws anew
  function Job:resize(cols, rows, options)
    check.argument(cols, "integer", "job:resize", "the columns")
    check.argument(rows, "integer", "job:resize", "the rows")
    check.options({ cols = cols, rows = rows }, size, "job:resize")
    options = check.options(options, { redraw = "boolean" }, "job:resize")
    local line = ask(self.box, self.key, script.argv("resize", self.key, shell.number(cols), shell.number(rows),
      options.redraw and "redraw" or ""), { user = self.user })
    local status, err = reply.status((line:gsub("\n$", "")))
    if not status then
      object.raise(err, "job")
    end
  end

  --- A live process that is a connection to the job's terminal: what is written to it is typed there, what it reads is
  --- the output from an offset on, as it comes. Closing it leaves the job alone. It does not end when the job does:
  --- job:wait tells. Several at the same time are as good as one.
  ---@async
  ---@param options {offset?: integer}?
  ---@return luarium.Process
  function Job:connect(options)
    options = check.options(options, { offset = "size" }, "job:connect")
    if not self:status().terminal then
      errors.raise("conflict", ("'%s' has no terminal: start it with { pty = true }"):format(self.key),
        { name = "ENOTTY" })
    end
    return command.live(object.call(self.box, "spawn",
      { argv = script.argv("connect", self.key, shell.number(options.offset or 0)) },
      { cwd = "/", env = {}, user = self.user }))
  end
end

return M
