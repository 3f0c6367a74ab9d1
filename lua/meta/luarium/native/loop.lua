---@meta

--- The engine's loop: its clock, the poll that the scheduler sleeps in, and the guard against scripts that compute for
--- ever. One engine for each Lua state, made at the first call that needs it.
---@class luarium.native.loop
local loop = {}

--- What a native has started and somebody may wait for: `luarium.task.await(op)`.
---@class luarium.Op
local Op = {}

---@return boolean
function Op:done() end

---@return number id unique in the engine
function Op:id() end

---@return string name such as "process.run"
function Op:name() end

--- Asks it to end soon; it still completes.
function Op:cancel() end

--- Its results once it is done; raises before.
---@return any ... or nil and an error
function Op:result() end

--- How far it is, in bytes or items; nothing for one that does not count.
---@return number? done
---@return number? total 0 while unknown
function Op:progress() end

--- The metatable of the errors that natives give; luarium.error fills it.
---@return table
function loop.error_metatable() end

--- Runs the loop until something has completed. Fills out[1..n] with the ids of completed operations, at most as many as
--- it has items; an empty one grows.
---@param timeout_ms number negative: without a limit
---@param out number[]
---@return integer n
---@return "done"|"timeout"|"woken"|"idle" state idle: nothing is left that could ever complete
function loop.poll(timeout_ms, out) end

--- Raises in a fork of the process that the engine belongs to.
function loop.check_process() end

---@return integer fd readable when a poll would find something
function loop.fd() end

---@return number? seconds until a poll is due although the descriptor is silent; nil: never
function loop.next() end

---@return number seconds on the monotonic clock
function loop.monotonic() end

---@return number seconds since the epoch
function loop.realtime() end

---@param seconds number
---@param background? boolean it keeps nobody waiting: a loop that has nothing else is idle
---@return luarium.Op? op
---@return luarium.Error? err
function loop.sleep(seconds, background) end

---@return number inflight operations in flight
---@return number alive operations that somebody still refers to
---@return number handles of libuv, without the engine's own
function loop.counts() end

--- How long a coroutine that is armed may compute; 0: for ever.
---@param seconds number
function loop.guard(seconds) end

---@param co thread whose instructions are counted from now on
function loop.arm(co) end

---@param co thread a task's that is about to run: its time begins now
function loop.mark(co) end

return loop
