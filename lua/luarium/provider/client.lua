--- What an adapter for a vendor's HTTP interface needs beside its names and shapes: JSON, the auth header, errors by
--- status, retries of what is safe to repeat, limits per account, pages, polling.
local ascii = require "luarium.ascii"
local check = require "luarium.check"
local errors = require "luarium.error"
local http = require "luarium.http"
local json = require "luarium.json"
local log = require "luarium.log"
local native = require "luarium.native"
local retry = require "luarium.retry"
local secret = require "luarium.secret"
local task = require "luarium.task"

local M = {}

--- What a status means when the adapter says nothing else.
local STATUS = {
  [400] = "invalid", [401] = "auth", [402] = "quota", [403] = "auth", [404] = "not_found", [405] = "unsupported",
  [408] = "timeout", [409] = "conflict", [410] = "not_found", [413] = "invalid", [422] = "invalid",
  [425] = "unavailable", [429] = "rate_limited", [500] = "unavailable", [501] = "unsupported", [502] = "unavailable",
  [503] = "unavailable", [504] = "timeout",
}
local RETRYABLE = { rate_limited = true, unavailable = true, timeout = true }

--- Methods that may be repeated although the first attempt might have worked.
local IDEMPOTENT = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true }

local MAX_AFTER = 3600 -- seconds that a vendor may ask us to stay away

---@class luarium.ClientOptions
---@field base_url string
---@field provider string for messages
---@field peer string? what answers, for messages; default: the vendor
---@field bearer luarium.Secret|string|nil sent as `Authorization: Bearer ...`
---@field headers table<string, string|luarium.Secret>? sent with every request
---@field rate number? requests a second at most
---@field concurrency integer? requests at a time at most
---@field status table<integer, string>? kinds of errors that differ from the usual ones
---@field message (fun(body: any): string?)? finds the vendor's words in an error body
---@field retry luarium.RetryPolicy?
---@field http table|(fun(): table?, luarium.Error?)|nil more options for every request, such as ca_file or unix_socket;
---  or what gives them for one attempt, and may wait

---@class luarium.Client
local Client = {}
Client.__index = Client

local template = {
  base_url = { type = "text", required = true }, provider = { type = "text", required = true },
  peer = "text", bearer = "secret",
  headers = "map", rate = { type = "number", min = 0.001 }, concurrency = { type = "integer", min = 1 },
  status = "table", message = "function", retry = "table", http = "table|function",
}

---@param options luarium.ClientOptions
---@return luarium.Client
function M.new(options)
  check.options(options, template, "provider.client")
  local self = setmetatable({ options = options, base = options.base_url:gsub("/+$", "") }, Client)
  self.headers = { Accept = "application/json" }
  for name, value in pairs(options.headers or {}) do
    self.headers[name] = value
  end
  if options.bearer then
    local token = secret.reveal(options.bearer)
    self.headers.Authorization = secret.new("Bearer " .. token, "authorization")
    secret.register(token, secret.is(options.bearer) and options.bearer.name or "token")
  end
  self.places = options.concurrency and task.semaphore(options.concurrency, options.provider .. "'s connections")
  self.next_slot = 0
  return self
end

--- Waits until the account's rate allows another request.
local function take_slot(self)
  local rate = self.options.rate
  local now = native.loop.monotonic()
  local at = math.max(now, self.next_slot)
  if rate then
    self.next_slot = at + 1 / rate
  end
  if at > now then
    task.sleep(at - now)
  end
end

local function vendor_message(self, body)
  if type(body) ~= "table" then
    return nil
  end
  local found = self.options.message and self.options.message(body)
  if not found then
    for _, key in ipairs({ "message", "error", "detail", "title" }) do
      local value = body[key]
      found = type(value) == "string" and value or type(value) == "table" and type(value.message) == "string"
        and value.message
      if found then
        break
      end
    end
  end
  return found and log.neutral(secret.excerpt(tostring(found), 300))
end

--- The error for a status of at least 400.
local function status_error(self, request, response, body)
  local status = response.status
  local kind = (self.options.status or {})[status] or STATUS[status] or (status >= 500 and "unavailable" or "protocol")
  local words = vendor_message(self, body)
  local after = retry.after(response.headers, MAX_AFTER)
  if kind == "rate_limited" and after then
    self.next_slot = math.max(self.next_slot, native.loop.monotonic() + after)
  end
  return errors.new(kind, ("%s %s: %s answered %d%s"):format(request.method, request.path,
    self.options.peer or "the vendor", status, words and ": " .. words or ""), {
    status = status, provider = self.options.provider, retry_after = after, retryable = RETRYABLE[kind] or false,
  })
end

local function decode(response)
  if response.body == "" then
    return nil
  end
  return json.decode_plain(response.body)
end

local function once(self, request)
  take_slot(self)
  local options, more = {}, self.options.http or {}
  if type(more) == "function" then
    local err
    more, err = more()
    if not more then
      return nil, err
    end
  end
  for key, value in pairs(more) do
    options[key] = value
  end
  options.method, options.url = request.method, self.base .. request.path
  options.query, options.json, options.body = request.query, request.json, request.body
  options.timeout = request.timeout or options.timeout
  options.headers = {}
  for _, list in ipairs({ self.headers, request.headers or {} }) do
    for name, value in pairs(list) do
      options.headers[name] = value
    end
  end
  local response, err = http.request(options)
  if not response then
    return nil, err
  end
  local body, fault = decode(response)
  if response.status >= 400 then
    return nil, status_error(self, request, response, body)
  end
  if fault and not request.raw then
    return nil, fault:wrap(request.method .. " " .. request.path)
  end
  return { body = request.raw and response.body or body, status = response.status, headers = response.headers }
end

--- Whether another attempt is safe: the method may be repeated, or the first one surely did nothing. Who was given all
--- the time of an attempt and has not answered is not asked again: a call would take several times its own limit.
local function may_repeat(self, request, began)
  local usual = type(self.options.http) == "table" and self.options.http.timeout or http.default_timeout
  local limit = request.timeout or usual
  return function(err)
    if not err.retryable or err.kind == "timeout" and native.loop.monotonic() - began >= limit then
      return false
    end
    return request.safe or IDEMPOTENT[request.method] or err.kind == "rate_limited"
      or err.name == "CURLE_COULDNT_CONNECT" or err.name == "CURLE_COULDNT_RESOLVE_HOST"
  end
end

---@class luarium.ClientRequest
---@field method string
---@field path string begins with /
---@field query table?
---@field json any?
---@field body string?
---@field headers table<string, string>?
---@field timeout number? seconds for one attempt
---@field safe boolean? may be repeated although its method does not say so
---@field raw boolean? the body is not JSON

local request_template = {
  method = { type = "text", required = true }, path = { type = "text", required = true }, query = "table", json = "any",
  body = "string", headers = "map", timeout = "seconds", safe = "boolean", raw = "boolean",
}

--- Sends a request, again if that is safe and may help.
---@async
---@param request luarium.ClientRequest
---@return {body: any, status: integer, headers: table<string, string>}? response
---@return luarium.Error? err
function Client:request(request)
  check.options(request, request_template, "client:request")
  local function attempt()
    local policy = { on = may_repeat(self, request, native.loop.monotonic()) }
    for key, value in pairs(self.options.retry or {}) do
      policy[key] = value
    end
    return retry.call(policy, function()
      return once(self, request)
    end)
  end
  if self.places then
    return self.places:with(attempt)
  end
  return attempt()
end

for _, method in ipairs({ "get", "delete" }) do
  --- The decoded body of an answer; `true` when it has none.
  Client[method] = function(self, path, options)
    local request = { method = ascii.upper(method), path = path }
    for key, value in pairs(options or {}) do
      request[key] = value
    end
    local response, err = self:request(request)
    if not response then
      return nil, err
    end
    return response.body == nil and true or response.body
  end
end

for _, method in ipairs({ "post", "put", "patch" }) do
  --- The same with a value to send as JSON.
  Client[method] = function(self, path, value, options)
    local request = { method = ascii.upper(method), path = path, json = value }
    for key, item in pairs(options or {}) do
      request[key] = item
    end
    local response, err = self:request(request)
    if not response then
      return nil, err
    end
    return response.body == nil and true or response.body
  end
end

--- All items of a paged list. `read(response)` returns the items of a page and the query of the next one, or nil.
---@async
---@param path string
---@param query table?
---@param read fun(response: table): table, table?
---@param limit integer? pages at most, default 1000
---@return table? items
---@return luarium.Error? err
function Client:pages(path, query, read, limit)
  local items, page = {}, 0
  repeat
    page = page + 1
    if page > (limit or 1000) then
      return nil, errors.new("protocol", ("GET %s: more than %d pages"):format(path, limit or 1000))
    end
    local response, err = self:request({ method = "GET", path = path, query = query })
    if not response then
      return nil, err
    end
    local found, following = read(response)
    for _, item in ipairs(found or {}) do
      items[#items + 1] = item
    end
    query = following
  until not query
  return items
end

---@class luarium.PollOptions
---@field what string for the error
---@field timeout number seconds in all
---@field every number? seconds between the first looks, default 0.5; grows to `at_most`
---@field at_most number? default 5

--- Calls look() until it gives a value other than nil and false, or an error.
---@async
---@param options luarium.PollOptions
---@param look fun(): any, luarium.Error?
---@return any value
---@return luarium.Error? err
function M.poll(options, look)
  local delay, finish_at = options.every or 0.5, native.loop.monotonic() + options.timeout
  while true do
    local value, err = look()
    if value or err then
      return value or nil, err
    end
    if native.loop.monotonic() + delay > finish_at then
      return nil, errors.new("timeout", ("%s: not within %g s"):format(options.what, options.timeout),
        { retryable = true })
    end
    task.sleep(delay)
    delay = math.min(delay * 1.5, options.at_most or 5)
  end
end

return M
