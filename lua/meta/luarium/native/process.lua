---@meta luarium.native.process

--- Child processes: run to the end with bounded output, live with streams, and what they leave behind.
--- Every child leads its own session and sees the descriptors 0, 1 and 2 only.
---@class luarium.native.process
local process = {}

---@class luarium.native.process.Options
---@field argv string[] the program, looked up along env's PATH from cwd, and its arguments (131071 bytes each at most)
---@field env? string[] "NAME=value"; default: the host's environment
---@field cwd? string default: the host's
---@field stdin_file? string a file to read from
---@field timeout? number seconds until everything it has started is killed; default: none
---@field cookie? string "NAME=value", added to env: what carries it is found and killed even in a session of its own
---@field grace? number seconds to wait for pipes that others hold open after the process has ended; default 0.1
---@field limits? table<string, number> soft and hard: nofile, cpu, as, fsize, nproc, core, data, stack ...;
--- math.huge: none
---@field pty? boolean a terminal as 0, 1 and 2: all output is stdout
---@field cols? integer columns of the terminal, default 80
---@field rows? integer rows of the terminal, default 24
---@field free_terminal? boolean with pty: the terminal belongs to no session yet, so that a child can make it its own
---@field merge? boolean stderr goes into stdout

---@class luarium.native.process.RunOptions: luarium.native.process.Options
---@field stdin? string the input; default: /dev/null (with pty: the end of input at once)
---@field max_output? integer bytes kept of each stream, the front and the back half; default 8 MiB

---@class luarium.native.process.SpawnOptions: luarium.native.process.Options
---@field stdin? string|false bytes that are the whole input, or false for /dev/null; default: a pipe to write to

---@class luarium.native.process.Status
---@field exit_code? integer nil when a signal or the timeout ended it; 127: not found, 126: not executable
---@field signal? string "SIGKILL" ...; also after a timeout
---@field timed_out boolean
---@field duration number seconds

---@class luarium.native.process.Result: luarium.native.process.Status
---@field stdout string
---@field stderr string
---@field stdout_bytes integer how many there were, also of those not kept
---@field stderr_bytes integer
---@field stdout_cut? integer the offset in stdout at which bytes are missing; nil: none
---@field stderr_cut? integer
---@field truncated boolean whether bytes are missing in either
---@field held_open boolean somebody else still had the pipes open when the grace was over

--- Runs a command to its end. A program that is missing or not executable is a result, with a line on stderr.
--- Cancelling kills everything it has started. Raises on unknown or wrong options.
---@param opts luarium.native.process.RunOptions
---@return luarium.native.Op? op its result is a luarium.native.process.Result
---@return luarium.Error? err not_found (cwd, stdin_file), invalid (argv or env too large), io (a limit), quota
function process.run(opts) end

--- Starts a live process. A program that cannot be run gives one that has ended with 127 or 126 already.
---@param opts luarium.native.process.SpawnOptions
---@return luarium.native.Process? process
---@return luarium.Error? err as for run
function process.spawn(opts) end

--- Kills everything that has the cookie in its environment, and all descendants of that, until a look at all processes
--- that began after the call finds nothing more. Processes of other users are left alone, unless the host is root.
---@param cookie string exactly "NAME=value"
---@return luarium.native.Op? op its result is the number of processes killed
---@return luarium.Error? err
function process.sweep(cookie) end

---@class luarium.native.process.Found
---@field pid integer
---@field ppid integer
---@field comm string
---@field state string "R", "S", "D", "T" ...

--- Lists the processes that have the cookie in their environment.
---@param cookie string exactly "NAME=value"
---@return luarium.native.Op? op its result is a list of luarium.native.process.Found
---@return luarium.Error? err
function process.find(cookie) end

---@class luarium.native.Process
local Process = {}

--- Reads what has arrived on either stream, in order of arrival; the end (nil, no error) comes when both are at their
--- end, or the grace after the exit is over. Nothing is read ahead. One read at a time, otherwise `conflict`.
---@param max? integer bytes, at most and by default 256 KiB
---@return luarium.native.Op? op its results are the bytes and "stdout" or "stderr", or nil at the end; once
---@return luarium.Error? err
function Process:read(max) end

--- Writes all bytes, in order with other writes; waits while the pipe is full. Fails with io (name EPIPE) when nobody
--- reads any more.
---@param bytes string
---@return luarium.native.Op? op its result is true once all bytes are in the pipe
---@return luarium.Error? err
function Process:write(bytes) end

--- Ends the input when everything written before is in the pipe. On a terminal this types the end-of-file character.
function Process:close_stdin() end

--- Waits for the process itself, not for its streams.
---@return luarium.native.Op? op its result is a luarium.native.process.Status
---@return luarium.Error? err
function Process:wait() end

--- Signals the whole group; KILL also ends what has left the group but carries the cookie or is still a descendant.
---@param signal? string|integer "TERM", "SIGTERM" or a number; default "KILL". Raises when there is no such signal.
---@return true? ok
---@return luarium.Error? err not_found when it has ended
function Process:kill(signal) end

--- Sets the size of the terminal.
---@param cols integer
---@param rows integer
---@return true? ok
---@return luarium.Error? err unsupported without a terminal
function Process:resize(cols, rows) end

---@return integer? pid nil when the program could not be run
function Process:pid() end

--- Kills it with all it has started when it still runs, ends what waits for it as cancelled, releases everything.
function Process:close() end

return process
