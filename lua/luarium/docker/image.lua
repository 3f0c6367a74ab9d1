--- Images: pulled with live progress, or built from a folder. The engine answers 200 before it knows whether that
--- works: failures come as lines of the stream.
local auth = require "luarium.docker.auth"
local engines = require "luarium.docker.engine"
local errors = require "luarium.error"
local http = require "luarium.http"
local ignore = require "luarium.docker.ignore"
local json = require "luarium.json"
local log = require "luarium.log"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"
local trim_end = require("luarium.text").trim_end

local M = {}

local LINE = 1048576 -- bytes that one line of the stream may have
local SILENCE = 300 -- seconds without a word of the engine
local TRIES = 3
local SAID = 1000 -- bytes of what a build step said that an error shows

-- ---- streams of JSON lines ----

--- Calls on_value for every line; the first that reports an error ends it.
local function each_line(stream, what, on_value)
  local held = {}
  local size = 0
  local function take(text)
    if text:find("%S") then
      local value, err = json.decode_plain(text)
      if type(value) ~= "table" then
        return nil, err or errors.new("protocol", what .. ": the engine sent a line that makes no sense")
      end
      local detail = type(value.errorDetail) == "table" and value.errorDetail.message or value.error
      if detail then
        return nil, engines.error(what, tostring(detail), "invalid")
      end
      on_value(value)
    end
    return true
  end
  while true do
    local bytes, err = stream:read()
    if err then
      return nil, errors.is(err, "protocol") and err or err:wrap(what, { retryable = true })
    end
    local from = 1
    local stop = bytes and bytes:find("\n", 1, true)
    while stop do
      held[#held + 1] = bytes:sub(from, stop - 1)
      local ok, fault = take(table.concat(held))
      if not ok then
        return nil, fault
      end
      held, size, from = {}, 0, stop + 1
      stop = bytes:find("\n", from, true)
    end
    if not bytes then
      return take(table.concat(held))
    end
    held[#held + 1] = bytes:sub(from)
    size = size + #bytes - from + 1
    if size > LINE then
      return nil, errors.new("protocol", what .. ": the engine sent a line that is too long")
    end
  end
end

local function read_lines(stream, what, on_value)
  local ok, value, err = pcall(each_line, stream, what, on_value)
  stream:close()
  if not ok then
    error(value, 0)
  end
  return value, err
end

--- Adds up what the layers of a pull report.
local function layers(report, what)
  local done, total = {}, {}
  return function(value)
    local detail = value.progressDetail
    if value.status == "Downloading" and type(detail) == "table" and value.id and tonumber(detail.current) then
      done[value.id], total[value.id] = detail.current, tonumber(detail.total) or detail.current
    elseif total[value.id or ""] and (value.status == "Download complete" or value.status == "Pull complete") then
      done[value.id] = total[value.id]
    else
      return
    end
    local sum, all = 0, 0
    for id, bytes in pairs(done) do
      sum, all = sum + bytes, all + total[id]
    end
    report(sum, all, what)
  end
end

-- ---- pulling ----

--- Name and tag of an image: without a tag the engine would pull every one there is.
local function split(image)
  if image:find("@", 1, true) then
    return image, nil
  end
  local name, tag = image:match("^(.*):([^:/]+)$")
  return name or image, tag or "latest"
end

local function pull_once(self, engine, image, options)
  local name, tag = split(image)
  local path = "/images/create?" .. http.encode_query({ fromImage = name, tag = tag, platform = options.platform })
  local stream, err = engine:open("POST", path, {
    headers = auth.pull_headers(self.config.registries, image), idle_timeout = SILENCE, body = "",
  })
  local what = "pull " .. image
  if not stream then
    return nil, err:wrap(what)
  end
  return read_lines(stream, what, options.on_progress and layers(options.on_progress, what) or function() end)
end

--- Pulls an image.
---@async
---@param self luarium.ProviderInstance
---@param engine luarium.docker.Engine
---@param image string
---@param options {platform: string?, on_progress: luarium.OnProgress?}
---@return boolean? ok
---@return luarium.Error? err
function M.pull(self, engine, image, options)
  local attempt = 0
  while true do
    local ok, err = pull_once(self, engine, image, options)
    attempt = attempt + 1
    if ok or not err.retryable or attempt >= TRIES then
      return ok, err
    end
    task.sleep(0.5 * attempt) -- the layers that came are kept by the engine
  end
end

--- Whether the engine has an image.
---@async
---@return boolean? there
---@return luarium.Error? err
function M.exists(engine, image)
  local facts, err = engine:request("GET", "/images/" .. image .. "/json")
  if facts then
    return true
  elseif err.status == 404 or err.kind == "not_found" then
    return false
  end
  return nil, err
end

-- ---- building ----

local function build_query(build, platform)
  local args = {}
  for name, value in pairs(build.args or {}) do
    args[name] = tostring(value)
  end
  return http.encode_query({
    dockerfile = build.dockerfile or "Dockerfile", buildargs = json.encode(args), target = build.target, t = build.tag,
    nocache = build.no_cache and 1 or nil, pull = build.pull and 1 or nil, rm = 1, forcerm = 1, platform = platform,
    labels = json.encode({ ["luarium.build"] = "1" }),
  })
end

--- Sends the folder while the engine unpacks it.
local function send(stream, packer)
  while true do
    local bytes, err = task.await(packer:read())
    if err then
      return nil, err
    elseif not bytes then
      return stream:finish_write()
    end
    local ok, fault = stream:write(bytes)
    if not ok then
      return nil, fault
    end
  end
end

local function converse(engine, stream, packer, path, on_value)
  local sent, send_error = send(stream, packer)
  if not sent and errors.is(send_error, "conflict") then
    return nil, send_error -- of the folder
  end
  local answer, err = stream:response()
  if not answer then
    return nil, send_error or err
  elseif answer.status >= 400 then
    return nil, engine:refusal(stream, "POST", path:match("^[^?]*"))
  elseif not sent then
    return nil, send_error
  end
  return read_lines(stream, "build", on_value)
end

--- What went wrong, in which step, and what that had said.
local function at_step(message, step, said)
  said = said:gsub("\27%[[%d;]*%a", ""):gsub("%-%-%->[^\n]*\n?", "")
  said = trim_end((log.neutral(said):gsub("^%s+", "")))
  return ("%s (%s)%s"):format(message, log.neutral(secret.excerpt(step, 100)), said ~= "" and ": " .. said or "")
end

--- Builds an image from a folder with a Dockerfile.
---@async
---@param self luarium.ProviderInstance
---@param engine luarium.docker.Engine
---@param build string|table the folder, or the checked options
---@param options {platform: string?, on_progress: luarium.OnProgress?}
---@return string? image its id
---@return luarium.Error? err
function M.build(self, engine, build, options)
  build = type(build) == "string" and { context = build } or build
  local exclude, err = ignore.read(build.context, build.dockerfile or "Dockerfile")
  if not exclude then
    return nil, err
  end
  local packer
  packer, err = native.archive.pack({ root = build.context, paths = exclude.paths, format = "tar" })
  if not packer then
    return nil, err
  end
  local image, last, step
  local said = ""
  local function on_value(value)
    if type(value.aux) == "table" and type(value.aux.ID) == "string" then
      image = value.aux.ID
    elseif type(value.stream) == "string" then
      local done, total = value.stream:match("^Step (%d+)/(%d+)")
      if done and options.on_progress then
        options.on_progress(tonumber(done) - 1, tonumber(total), "build", "steps")
      end
      local begun = value.stream:match("^Step [^\n]*")
      step, said = begun or step, begun and "" or (said .. value.stream):sub(-SAID)
      last = value.stream:match("Successfully built (%x+)") or last
    end
  end
  local path = "/build?" .. build_query(build, options.platform)
  local headers = auth.build_headers(self.config.registries)
  headers["Content-Type"] = "application/x-tar"
  local stream
  stream, err = engine:open("POST", path, { body = true, headers = headers, idle_timeout = SILENCE * 4 })
  if not stream then
    packer:close()
    return nil, err
  end
  local ok, done, fault = pcall(converse, engine, stream, packer, path, on_value)
  packer:close()
  stream:close()
  if not ok then
    error(done, 0)
  elseif not done then
    return nil, step and fault:wrap("docker", { message = at_step(fault.message, step, said) }) or fault
  end
  image = image or last
  if not image then
    return nil, errors.new("protocol", "build: the engine ended without naming an image")
  end
  return image
end

return M
