--- An HTTP/1.1 request that asks for the connection itself (Upgrade: websocket, tcp ...): when the server agrees, the
--- bytes after its head are ours in both directions. The head is read here, strictly and bounded.
local ascii = require "luarium.ascii"
local errors = require "luarium.error"
local native = require "luarium.native"
local task = require "luarium.task"

local M = {}

local READ = 65536
local MAX_HEADER = 262144
local MAX_BODY = 1048576 -- of an answer that is no upgrade: a text that says why

local function protocol(what, text)
  return errors.new("protocol", what .. ": " .. text)
end

-- ---- the request ----

--- Host, path with query, and a label for messages without userinfo and query.
local function parts_of(url)
  local scheme, authority, rest = url:match("^(https?)://([^/?#]*)([^#]*)")
  if not scheme then
    errors.raise("invalid", "http.upgrade: expected an http or https url")
  end
  local host = authority:gsub("^.*@", "")
  local target = rest:sub(1, 1) == "/" and rest or "/" .. rest
  return host, target, scheme .. "://" .. host .. target:match("^[^?]*")
end

local function check_field(name, value)
  if not name:find("^[%w!#$%%&'*+%-.^_`|~]+$") or value:find("[%z\r\n]") then
    errors.raise("invalid", ("http.upgrade: the header %q cannot be sent"):format(name))
  end
end

local function request_text(options, host, target, protocol_name)
  if target:find("[%z\1-\32\127]") then
    errors.raise("invalid", "http.upgrade: the url contains spaces or control characters")
  end
  local lines = { ("%s %s HTTP/1.1"):format(options.method or "GET", target), "Host: " .. host,
    "User-Agent: luarium/" .. native.version, "Connection: Upgrade", "Upgrade: " .. protocol_name }
  for _, header in ipairs(options.headers or {}) do
    check_field(header[1], header[2])
    lines[#lines + 1] = header[1] .. ": " .. header[2]
  end
  if options.body then
    lines[#lines + 1] = "Content-Length: " .. #options.body
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or "")
end

-- ---- the answer ----

local function parse_head(what, text)
  local status = text:match("^HTTP/1%.[01] (%d%d%d)[ \r]")
  if not status then
    return nil, protocol(what, "the answer is no HTTP")
  end
  local headers, list = {}, {}
  for line in text:gsub("^[^\n]*\n", "", 1):gmatch("([^\r\n]+)\r\n") do
    local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.-)[ \t]*$")
    if not name then
      return nil, protocol(what, "the head of the answer is malformed")
    end
    local key = ascii.lower(name)
    headers[key] = headers[key] and headers[key] .. ", " .. value or value
    list[#list + 1] = { name, value }
  end
  return { status = tonumber(status), headers = headers, headers_list = list }
end

--- Bytes up to and with the empty line, and what came after them.
local function read_head(what, handle, limit)
  local text, from = "", 1
  while true do
    local bytes, err = task.await(handle:read(READ))
    if not bytes then
      return nil, err or errors.new("unavailable", what .. ": the server closed the connection without an answer",
        { retryable = true })
    end
    text = text .. bytes
    if text:sub(1, 5) ~= ("HTTP/"):sub(1, #text) then
      return nil, protocol(what, "the answer is no HTTP")
    end
    local _, stop = text:find("\r\n\r\n", from, true)
    if stop and stop <= limit then
      return text:sub(1, stop - 2), text:sub(stop + 1)
    elseif #text > limit then
      return nil, protocol(what, ("the head of the answer is larger than %d bytes"):format(limit))
    end
    from = math.max(1, #text - 2)
  end
end

--- A source of bytes over the connection that begins with those read ahead.
local function source(what, handle, ahead)
  return function()
    if ahead ~= "" then
      local bytes = ahead
      ahead = ""
      return bytes
    end
    local bytes, err = task.await(handle:read(READ))
    if err then
      error(err, 0)
    end
    return bytes or errors.raise("unavailable", what .. ": the connection ended within the answer")
  end
end

local function exactly(next_bytes, held, count)
  while #held < count do
    held = held .. next_bytes()
  end
  return held:sub(1, count), held:sub(count + 1)
end

local function chunked(what, next_bytes)
  local parts, total, held = {}, 0, ""
  while true do
    while not held:find("\r\n", 1, true) do
      held = held .. next_bytes()
      if #held > READ * 2 then
        errors.raise("protocol", what .. ": a chunk of the answer is malformed")
      end
    end
    local hex, rest = held:match("^(%x%x?%x?%x?%x?%x?%x?%x?)[^\r\n]*\r\n(.*)$")
    local size = hex and tonumber(hex, 16)
    total = total + (size or 0)
    if not size or total > MAX_BODY then
      errors.raise("protocol", what .. ": a chunk of the answer is malformed or too large")
    elseif size == 0 then
      return table.concat(parts)
    end
    local chunk
    chunk, held = exactly(next_bytes, rest, size + 2)
    parts[#parts + 1] = chunk:sub(1, -3)
  end
end

--- The body of an answer that is no upgrade.
local function read_body(what, handle, head, ahead)
  local next_bytes = source(what, handle, ahead)
  local length = head.headers["content-length"]
  if ascii.lower(head.headers["transfer-encoding"] or ""):find("chunked", 1, true) then
    return chunked(what, next_bytes)
  elseif not length or not length:find("^%d+$") or head.status == 204 or head.status == 304 then
    return "" -- one that would last until the connection ends is not waited for
  elseif tonumber(length) > MAX_BODY then
    errors.raise("protocol", ("%s: the answer is larger than %d bytes"):format(what, MAX_BODY))
  end
  return (exactly(next_bytes, "", tonumber(length)))
end

local function converse(what, handle, text, limit)
  local ok, err = task.await(handle:write(text))
  if not ok then
    return nil, err
  end
  local head_text, ahead = read_head(what, handle, limit)
  if not head_text then
    return nil, ahead
  end
  local head
  head, err = parse_head(what, head_text)
  if not head then
    return nil, err
  elseif head.status == 101 then
    head.ahead = ahead
  else
    head.body = read_body(what, handle, head, ahead)
  end
  return head
end

--- Asks over an open raw connection. The answer has `ahead`, the first bytes of the new protocol, when the server
--- agreed, and `body` when it did not.
---@async
---@param handle luarium.native.http.Raw
---@param options table as the native wants them, with url, method, headers, body, max_header
---@param protocol_name string
---@param seconds number? until the answer is there
---@return {status: integer, headers: table<string, string>, headers_list: string[][], ahead: string?, body: string?}?
---@return luarium.Error? err
function M.ask(handle, options, protocol_name, seconds)
  local host, target, label = parts_of(options.url)
  local what = ("%s %s"):format(options.method or "GET", label)
  local text = request_text(options, host, target, protocol_name)
  local function run()
    return converse(what, handle, text, options.max_header or MAX_HEADER)
  end
  local ok, head, err
  if seconds and seconds > 0 then
    ok, head, err = pcall(task.timeout, seconds, run)
  else
    ok, head, err = pcall(run)
  end
  if ok then
    return head, err
  end
  local reason = task.cancel_reason()
  if reason or not errors.is(head) then
    error(reason or head, 0)
  elseif head.kind == "timeout" then
    head = errors.new("timeout", ("%s: no answer within %g s"):format(what, seconds), { retryable = true })
  end
  return nil, head
end

return M
