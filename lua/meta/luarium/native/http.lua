---@meta

--- The HTTP client of the engine. Times are seconds. Options of a wrong type and unknown ones raise; what the world
--- or the rules refuse is `nil, err`. Messages name method, scheme, host and path only.
---@class luarium.native.http
local M = {}

---@class luarium.native.http.Options
---@field url string
---@field method string? default "GET", or "POST" with a body
---@field headers table<string, string>|string[][]|nil by name, or a list of {name, value}
---@field secret_headers string[]? names that never go to another origin, besides Authorization and Cookie
---@field body string|true? bytes; true (open only): written later
---@field body_file string? path of a regular file
---@field body_offset integer? into the file
---@field body_size integer? how much of the file; or what a body written later will have (without: chunked)
---@field ca_file string? PEM
---@field ca_path string?
---@field cert string? PEM
---@field key string? PEM
---@field key_password string?
---@field verify boolean? default true
---@field unix_socket string?
---@field proxy string? "" for none
---@field version "auto"|"1.1"|"2"|"h2c"|nil
---@field connect_timeout number? default 10, 0 for none
---@field timeout number? whole exchange with its redirects; 0 for none
---@field idle_timeout number? no byte for so long while the other side could send one; default none
---@field max_body integer? request: default 16 MiB; open: default 0, no limit
---@field max_header integer? default 262144
---@field follow integer? redirects to follow, 0 to 50, default 0
---@field allow_plain boolean? http to other than loopback
---@field decompress boolean? gzip and deflate
---@field raw_chunks boolean? keep HTTP/1.1 chunk framing
---@field own_connection boolean? neither share nor keep the connection

--- Everything but the status is made when it is first asked for, so that `pairs` shows little.
---@class luarium.native.http.Head
---@field status integer
---@field headers table<string, string> lower case name to value, repeated ones joined by ", "
---@field headers_list string[][] {name, value} as they came
---@field version "1.0"|"1.1"|"2"
---@field url string the effective one, without userinfo
---@field reused boolean

---@class luarium.native.http.Response: luarium.native.http.Head
---@field body string
---@field timing {dns: number, connect: number, tls: number, first_byte: number, total: number}

--- The whole exchange, the body in memory.
---@param options luarium.native.http.Options
---@param timeout number? when the options have none; default none
---@return userdata? op result: luarium.native.http.Response; ask for it once
---@return luarium.Error? err
function M.request(options, timeout) end

--- A part of a head or response by its name, for those who put a metatable of their own on one.
---@param head luarium.native.http.Head
---@param name string
---@return any value nil for a name that is no part
function M.field(head, name) end

---@class luarium.native.http.Stream
local Stream = {}

--- Starts an exchange and returns its stream at once. At most 256 KiB are read ahead; then the server waits.
---@param options luarium.native.http.Options
---@return luarium.native.http.Stream? stream
---@return luarium.Error? err
function M.open(options) end

--- Completes when the head of the final response is in.
---@return userdata? op result: luarium.native.http.Head
---@return luarium.Error? err `conflict` while another one waits
function Stream:response() end

--- Completes when bytes, the end or an error are there. Cancelling it loses nothing. Bytes that came before an
--- error are read first.
---@param max integer? at most so many bytes, default 65536
---@return userdata? op result: bytes, or nil at the end; ask for it once
---@return luarium.Error? err `conflict` while another one waits
function Stream:read(max) end

--- Completes when all bytes went to the connection. Cancelling it half-way ends the exchange.
---@param bytes string
---@return userdata? op result: true
---@return luarium.Error? err `conflict` while another one waits, `invalid` when the body is complete
function Stream:write(bytes) end

--- The body is complete.
---@return boolean? ok
---@return luarium.Error? err
function Stream:finish_write() end

--- What came after the body so far, also when the exchange has failed.
---@return table<string, string>
---@return string[][] list
function Stream:trailers() end

--- Aborts what is not finished; pending operations end as `cancelled`. Idempotent; also __gc and __close.
function Stream:close() end

---@class luarium.native.http.Raw
local Raw = {}

--- Connects as a request would (names, proxies by CONNECT, TLS with ALPN http/1.1, unix sockets) and sends nothing.
--- `timeout` bounds the connecting.
---@param options luarium.native.http.Options
---@return userdata? op result: luarium.native.http.Raw
---@return luarium.Error? err
function M.connect(options) end

---@param max integer? default 65536
---@return userdata? op result: bytes, or nil when the other side has closed
---@return luarium.Error? err
function Raw:read(max) end

---@param bytes string
---@return userdata? op result: true when all is sent
---@return luarium.Error? err
function Raw:write(bytes) end

--- Closes our direction, over TLS by its close_notify; the other one stays open.
---@return boolean? ok
---@return luarium.Error? err
function Raw:finish_write() end

--- Idempotent; also __gc and __close.
function Raw:close() end

--- Closes kept connections, and with them every handle and descriptor of the client, when nothing is in flight but
--- streams that keep nobody waiting (`background`).
function M.close_idle() end

return M
