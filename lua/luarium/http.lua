--- The HTTP client: requests, streams and raw connections with plain options. A status is never turned into an
--- error here; that is for whoever knows what the server means by it.
local ascii = require "luarium.ascii"
local check = require "luarium.check"
local errors = require "luarium.error"
local json = require "luarium.json"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"

local await = task.await
local http = native.http

local M = {}

--- Seconds that a whole request may take when nothing else is said. A stream has no such limit.
M.default_timeout = 60

---@class luarium.http.Options
---@field url string https://host/path; plain http is refused except on loopback, a unix socket or with allow_plain
---@field method string? default GET, or POST when there is a body
---@field headers table<string, string|number|luarium.Secret>? secrets never follow a redirect to another origin
---@field secret_headers string[]? further names of such headers; Authorization and Cookie always are
---@field query table<string, string|number|boolean|list>? appended to the url, encoded, sorted by name
---@field body string|true? bytes; true (open only): written later with stream:write
---@field body_file string? path of a regular file to send, read as it goes
---@field body_offset integer? where in the file to begin
---@field body_size integer? how much of the file, or the announced size of a body written later (else chunked)
---@field json any? a value to send as JSON
---@field timeout number? seconds for the whole exchange; request: default 60, 0 for none; open: default none
---@field connect_timeout number? seconds until connected, default 10
---@field idle_timeout number? seconds without a single byte, while the other side could send one
---@field max_body integer? bytes; request: default 16 MiB; open: default 0, which is no limit
---@field max_header integer? bytes of the response's head, default 256 KiB
---@field follow integer? redirects to follow, default 0
---@field version "auto"|"1.1"|"2"|"h2c"|nil auto and 2: HTTP/2 when a TLS server offers it; h2c: without TLS
---@field ca_file string? certificate authorities (PEM) instead of the system's
---@field ca_path string? folder of them
---@field cert string? client certificate (PEM)
---@field key string? its key (PEM)
---@field key_password string|luarium.Secret|nil
---@field verify boolean? false: accept any certificate
---@field unix_socket string? path to connect to; the host of the url is then only a name
---@field proxy string? instead of http_proxy and https_proxy; loopback and unix sockets never use one
---@field allow_plain boolean?
---@field decompress boolean? ask for and decode gzip and deflate; max_body counts decoded bytes
---@field raw_chunks boolean? leave HTTP/1.1 chunk framing in the body
---@field own_connection boolean? neither share nor keep a connection
---@field background boolean? open only: waiting for it keeps nobody waiting, so that a deadlock is still told

local template = {
  url = { type = "text", required = true },
  method = "text",
  headers = "map|list",
  secret_headers = "strings",
  query = "table",
  body = "string",
  body_file = "text",
  body_offset = "size",
  body_size = "size",
  json = "any",
  timeout = "seconds",
  connect_timeout = "seconds",
  idle_timeout = "seconds",
  max_body = "size",
  max_header = "size",
  follow = "size",
  version = { type = "text", one_of = { "auto", "1.1", "2", "h2c" } },
  ca_file = "text",
  ca_path = "text",
  cert = "text",
  key = "text",
  key_password = "secret",
  verify = "boolean",
  unix_socket = "text",
  proxy = "secret",
  allow_plain = "boolean",
  decompress = "boolean",
  raw_chunks = "boolean",
  own_connection = "boolean",
}

local stream_template = setmetatable({ body = "string|boolean", background = "boolean" }, { __index = template })
for name, row in pairs(template) do
  stream_template[name] = rawget(stream_template, name) or row
end

-- The names that are handed on as they are, with the Lua type that needs no closer look. What does not fit takes
-- the slow way through check.options, which also knows how to complain.
local plain = {}
for name, row in pairs(template) do
  local kind = type(row) == "table" and row.type or row
  plain[name] = ({ text = "string", string = "string", boolean = "boolean" })[kind]
end
plain.version = nil

-- ---- building a request ----

local function encode(text)
  return (text:gsub("[^%w%-%._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

local function scalar(name, value)
  local kind = type(value)
  if kind == "number" and value == math.floor(value) and value > -2 ^ 53 and value < 2 ^ 53 then
    return ("%.0f"):format(value)
  elseif kind == "number" then
    return require("luarium.text").number(value, "%.14g")
  elseif kind == "string" or kind == "boolean" then
    return tostring(value)
  end
  errors.raise("invalid", ("http: query '%s': expected text, a number, a boolean or a list of them, got %s"):format(
    name, kind))
end

--- The text after the question mark, names in order; a list repeats its name.
---@param query table<string, string|number|boolean|list>
---@return string
function M.encode_query(query)
  local parts = {}
  for _, name in ipairs(check.keys(query)) do
    local value = query[name]
    for _, item in ipairs(type(value) == "table" and value or { value }) do
      parts[#parts + 1] = encode(name) .. "=" .. encode(scalar(name, item))
    end
  end
  return table.concat(parts, "&")
end

--- Percent-encodes one segment of a path or one value.
---@param text string
---@return string
function M.escape(text)
  return encode(text)
end

local function with_query(url, query)
  local text = M.encode_query(query)
  if text == "" then
    return url
  end
  local base, fragment = url:match("^([^#]*)(.*)$")
  return base .. (base:find("?", 1, true) and "&" or "?") .. text .. fragment
end

local function has_header(headers, wanted)
  for _, header in ipairs(headers) do
    if ascii.lower(header[1]) == wanted then
      return true
    end
  end
  return false
end

local credentials = { authorization = true, ["proxy-authorization"] = true, cookie = true }

--- Headers as the native wants them, and the names of those whose values are secrets.
local function build_headers(options)
  local headers, private = {}, {}
  for _, name in ipairs(options.secret_headers or {}) do
    private[#private + 1] = name
  end
  local function add(name, value)
    if secret.is(value) then
      private[#private + 1] = name
      local revealed = secret.reveal(value)
      secret.register_header(revealed, value.name)
      value = revealed
    elseif type(value) == "string" and credentials[ascii.lower(name)] then
      secret.register_header(value, name)
    end
    headers[#headers + 1] = { name, type(value) == "string" and value or scalar(name, value) }
  end
  local given = options.headers or {}
  if given[1] then
    for _, pair in ipairs(given) do
      add(pair[1], pair[2])
    end
  else
    for name, value in pairs(given) do
      add(name, value)
    end
  end
  return headers, private
end

local function is_plain(options)
  if type(options) ~= "table" or not options.url then
    return false
  end
  for name, value in pairs(options) do
    if plain[name] ~= type(value) then
      return false
    end
  end
  return true
end

--- The options of the native; nil and an error when the value for `json` cannot be written.
local function build(options)
  local built = {}
  for name, value in pairs(options) do
    built[name] = value
  end
  built.json, built.query = nil, nil
  built.key_password, built.proxy = secret.reveal(options.key_password), secret.reveal(options.proxy)
  if options.query then
    built.url = with_query(options.url, options.query)
  end
  if options.headers or options.secret_headers or options.json ~= nil then
    built.headers, built.secret_headers = build_headers(options)
  end
  if options.json ~= nil then
    local text, err = json.encode(options.json)
    if not text then
      return nil, err
    end
    built.body = text
    if not has_header(built.headers, "content-type") then
      built.headers[#built.headers + 1] = { "Content-Type", "application/json" }
    end
  end
  return built
end

local PROXIES = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY" }
local knows_proxies = false

--- Passwords within addresses are secrets like any other: an answer may repeat them.
local function register_passwords(options)
  if not knows_proxies then
    knows_proxies = true
    for _, variable in ipairs(PROXIES) do
      secret.register_url(os.getenv(variable) or "", variable)
    end
  end
  if type(options) ~= "table" then
    return
  end
  if type(options.url) == "string" and options.url:find("@", 1, true) then
    secret.register_url(options.url, "url")
  end
  if options.proxy ~= nil then
    local proxy = secret.reveal(options.proxy)
    secret.register_url(type(proxy) == "string" and proxy or "", "proxy")
  end
end

--- Checks the options and makes those of the native. Raises `invalid` for wrong ones.
local function prepare(options, rows, where)
  register_passwords(options)
  if is_plain(options) then
    return options
  end
  check.options(options, rows, where)
  local bodies = (options.body ~= nil and 1 or 0) + (options.body_file and 1 or 0) + (options.json ~= nil and 1 or 0)
  if bodies > 1 then
    errors.raise("invalid", where .. ": expected one of body, body_file and json, got more")
  end
  return build(options)
end

-- ---- responses ----

---@class luarium.http.Response
---@field status integer
---@field headers table<string, string> lower case names; repeated ones joined by ", "
---@field headers_list string[][] {name, value} as they came
---@field body string
---@field version "1.0"|"1.1"|"2"
---@field url string where it came from in the end
---@field reused boolean whether a kept connection was used
---@field timing {dns: number, connect: number, tls: number, first_byte: number, total: number} seconds
local Response = {}
local response_mt = { __name = "luarium.http.Response" }

-- Most of a response becomes a Lua value only when somebody looks at it.
function response_mt.__index(self, name)
  return Response[name] or http.field(self, name)
end

--- The body as a value.
---@return any value
---@return luarium.Error? err `protocol` when it is no JSON
function Response:json()
  return json.decode(self.body)
end

--- Sends a request and waits for all of the response.
---@async
---@param options luarium.http.Options
---@return luarium.http.Response? response whatever its status
---@return luarium.Error? err unavailable, timeout, protocol, invalid ...; raises `invalid` for wrong options
function M.request(options)
  local built, build_err = prepare(options, template, "http.request")
  if not built then
    return nil, build_err
  end
  local response, err = await(http.request(built, M.default_timeout))
  if not response then
    return nil, err
  end
  return setmetatable(response, response_mt)
end

-- ---- streams ----

---@class luarium.http.Stream
---@field status integer? these five are there once the head of the response is
---@field headers table<string, string>?
---@field headers_list string[][]?
---@field version string?
---@field url string?
local Stream = {}
local stream_mt = { __index = Stream, __name = "luarium.http.Stream" }

--- Waits for the head of the response.
---@async
---@return luarium.http.Stream? self with status, headers, headers_list, version and url
---@return luarium.Error? err
function Stream:response()
  if self.status then
    return self
  end
  local head, err = await(self.native:response())
  if not head then
    return nil, err
  end
  self.status, self.version, self.url = head.status, head.version, head.url
  self.headers, self.headers_list = head.headers, head.headers_list
  return self
end

--- The next bytes of the body.
---@async
---@param max integer? default 65536
---@return string? bytes nil at the end
---@return luarium.Error? err
function Stream:read(max)
  return await(self.native:read(max))
end

--- Sends a part of the body; returns when it is on its way, so that a slow server slows the writer.
---@async
---@param bytes string
---@return boolean? ok
---@return luarium.Error? err
function Stream:write(bytes)
  return await(self.native:write(bytes))
end

--- Says that the body is complete.
---@return boolean? ok
---@return luarium.Error? err
function Stream:finish_write()
  return self.native:finish_write()
end

--- What came after the body (gRPC puts its status there).
---@return table<string, string>
---@return string[][] list
function Stream:trailers()
  return self.native:trailers()
end

--- Aborts what is not finished. Idempotent.
function Stream:close()
  self.native:close()
end

stream_mt.__close = Stream.close

--- Sends a request and gives its response as a stream. Without a body that is written later (`body = true`) it
--- waits for the head of the response; with one it returns at once, and stream:response() waits.
---@async
---@param options luarium.http.Options
---@return luarium.http.Stream? stream close it
---@return luarium.Error? err
function M.open(options)
  local built, build_err = prepare(options, stream_template, "http.open")
  if not built then
    return nil, build_err
  end
  local handle, open_err = http.open(built)
  if not handle then
    return nil, open_err
  end
  local stream = setmetatable({ native = handle }, stream_mt)
  if built.body == true then
    return stream
  end
  local ok, opened, err = pcall(stream.response, stream)
  if ok and opened then
    return stream
  end
  stream:close()
  if not ok then
    error(opened, 0)
  end
  return nil, err
end

-- ---- raw connections ----

---@class luarium.http.Connection
local Connection = {}
local connection_mt = { __index = Connection, __name = "luarium.http.Connection" }

--- The next bytes.
---@async
---@param max integer? default 65536
---@return string? bytes nil when the other side has closed
---@return luarium.Error? err
function Connection:read(max)
  local ahead = self.ahead
  if ahead then -- came with the head of the answer to an upgrade
    max = max or 65536
    self.ahead = #ahead > max and ahead:sub(max + 1) or nil
    return #ahead > max and ahead:sub(1, max) or ahead
  end
  return await(self.native:read(max))
end

--- Sends all of the bytes.
---@async
---@param bytes string
---@return boolean? ok
---@return luarium.Error? err
function Connection:write(bytes)
  return await(self.native:write(bytes))
end

--- Closes our direction only; over TLS by its own message for that.
---@return boolean? ok
---@return luarium.Error? err
function Connection:finish_write()
  return self.native:finish_write()
end

--- Closes it. Idempotent.
function Connection:close()
  self.native:close()
end

connection_mt.__close = Connection.close

--- Connects to the host of the url (or the unix socket) and hands over the bytes: TLS for https, nothing sent.
---@async
---@param options luarium.http.Options url and what concerns the connection
---@return luarium.http.Connection? connection close it
---@return luarium.Error? err
function M.connect(options)
  local built, build_err = prepare(options, template, "http.connect")
  if not built then
    return nil, build_err
  end
  local handle, err = await(http.connect(built))
  if not handle then
    return nil, err
  end
  return setmetatable({ native = handle }, connection_mt)
end

---@class luarium.http.Upgraded: luarium.http.Connection
---@field status integer 101
---@field headers table<string, string>
---@field headers_list string[][]

--- Sends a request that asks for another protocol on its connection (RFC 9110, 7.8) and, when the server agrees, hands
--- over the bytes that follow its head, in both directions.
---@async
---@param protocol string for the header Upgrade: "websocket", "tcp"
---@param options luarium.http.Options a body as text or json; timeout: until the answer is there (default 60, 0 none)
---@return luarium.http.Upgraded? connection close it
---@return luarium.Error? err
---@return {status: integer, headers: table<string, string>, headers_list: string[][], body: string}? refusal the
---  server's answer when it is none of 101; there is no err then
function M.upgrade(protocol, options)
  check.argument(protocol, "text", "http.upgrade", "the protocol")
  check.options(options, template, "http.upgrade")
  local built, build_err = build(options)
  if not built then
    return nil, build_err
  end
  local headers, body, method = built.headers, built.body, options.method or built.body and "POST" or "GET"
  built.headers, built.body, built.method, built.secret_headers = nil, nil, nil, nil
  local seconds = options.timeout or M.default_timeout
  built.timeout = seconds
  local handle, err = await(http.connect(built))
  if not handle then
    return nil, err
  end
  local ok, head
  ok, head, err = pcall(require("luarium.http.upgrade").ask, handle,
    { url = built.url, method = method, headers = headers, body = body, max_header = options.max_header }, protocol,
    seconds)
  if ok and head and head.ahead then
    return setmetatable({ native = handle, status = head.status, headers = head.headers,
      headers_list = head.headers_list, ahead = head.ahead ~= "" and head.ahead or nil }, connection_mt)
  end
  handle:close()
  if not ok then
    error(head, 0)
  end
  return nil, err, head
end

return M
