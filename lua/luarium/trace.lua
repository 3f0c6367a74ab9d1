--- W3C trace context in environment variables: the trace that we were started in, and what the commands in a sandbox
--- get of it.
local M = {}

---@class luarium.TraceContext
---@field trace string 32 hexadecimal digits
---@field span string 16 hexadecimal digits
---@field flags string two hexadecimal digits
---@field state string? what vendors keep in TRACESTATE

--- What a traceparent says; nil when it is malformed, which by the standard counts as absent.
---@param text string?
---@return luarium.TraceContext?
function M.parse(text)
  local version, trace, span, flags, rest = (text or ""):match("^(%x%x)%-(%x+)%-(%x+)%-(%x%x)(.*)$")
  if not version or text:find("%u") or version == "ff" or #trace ~= 32 or #span ~= 16 then
    return nil
  elseif not trace:find("[^0]") or not span:find("[^0]") then
    return nil
  elseif rest ~= "" and (version == "00" or rest:sub(1, 1) ~= "-") then -- later versions may say more
    return nil
  end
  return { trace = trace, span = span, flags = flags }
end

---@param context luarium.TraceContext
---@return string traceparent
function M.format(context)
  return ("00-%s-%s-%s"):format(context.trace, context.span, context.flags)
end

--- Whether whoever began the trace wants it recorded.
---@param context luarium.TraceContext
---@return boolean
function M.is_sampled(context)
  return tonumber(context.flags, 16) % 2 == 1
end

--- The trace that this process was started in.
---@return luarium.TraceContext?
function M.remote()
  local context = M.parse(os.getenv("TRACEPARENT"))
  local state = context and os.getenv("TRACESTATE")
  if state and state ~= "" and #state <= 512 and not state:find("[^\32-\126]") then
    context.state = state
  end
  return context
end

--- Gives the place of the current operation in its trace; set by luarium.otlp while it records.
---@type (fun(): luarium.TraceContext?)|nil
M.source = nil

--- Adds the trace to the environment of a command, unless it has one already. While nothing is recorded our own parent
--- is the parent of the command too.
---@param env table<string, string>
function M.extend(env)
  if env.TRACEPARENT then
    return
  end
  local context = M.source and M.source() or M.remote()
  if context then
    env.TRACEPARENT, env.TRACESTATE = M.format(context), context.state
  end
end

return M
