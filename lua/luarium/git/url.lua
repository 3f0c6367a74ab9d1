--- Addresses of repositories: which are accepted, which server may be given a token for one, and one spelling for
--- each, so that a mirror is found again. What is a credential in an address is taken out of it.
local ascii = require "luarium.ascii"
local errors = require "luarium.error"

local M = {}

local default_port = { http = 80, https = 443, ssh = 22, git = 9418 }
local schemes = { http = true, https = true, ssh = true, git = true, file = true }

---@class luarium.GitUrl
---@field url string without credentials; a host's name in small letters
---@field scheme "http"|"https"|"ssh"|"git"|"file"|"path"
---@field host string?
---@field path string
---@field origin string? scheme, host and port: what a token is bound to
---@field loopback boolean? the host is this machine
---@field username string? that stood in the address (http only)
---@field password string? the same
---@field name string the folder that a clone makes unless it is told otherwise

local function invalid(...)
  return nil, errors.new("invalid", string.format(...))
end

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

local function is_loopback(host)
  return host == "localhost" or host:match("%.localhost$") ~= nil or host:match("^127%.%d+%.%d+%.%d+$") ~= nil
    or host == "[::1]"
end

--- The last part of the path without ".git".
local function folder_name(path)
  local name = path:gsub("[?#].*$", ""):gsub("/+$", ""):gsub("/%.git$", ""):match("([^/:]*)$") or ""
  name = decode(name):gsub("^%-+", ""):gsub("%.git$", ""):gsub("%.bundle$", ""):gsub("[%c/]", "")
  if name == "" or name == "." or name == ".." then
    return "repository"
  end
  return name
end

local function split_authority(authority)
  local userinfo, rest = authority:match("^(.*)@([^@]*)$")
  rest = rest or authority
  local host, port = rest:match("^(%[[%x:%.]+%]):?(%d*)$")
  if not host then
    host, port = rest:match("^([^:%[%]]*):?(%d*)$")
  end
  return userinfo, host, port
end

local function with_authority(scheme, rest)
  local authority, path = rest:match("^([^/?#]*)(.*)$")
  local userinfo, host, port = split_authority(authority)
  if rest:find(" ", 1, true) then
    return invalid("the repository's address contains a blank: write it as %%20")
  elseif not host or host == "" or host:find("[^%w%.%-_%[%]:]") or host:sub(1, 1) == "-" then
    return invalid("the repository's address names no host that could exist: expected %s://host/path", scheme)
  elseif path == "" or path == "/" then
    return invalid("the repository's address names only a server: expected %s://%s/path", scheme, host)
  end
  local result = { scheme = scheme, host = ascii.lower(host), path = path }
  local user, password
  if userinfo then
    user, password = userinfo:match("^([^:]*):?(.*)$")
    user, password = decode(user), password ~= "" and decode(password) or nil
  end
  if scheme == "ssh" or scheme == "git" then
    if password then
      return invalid("a password in a %s:// address is not supported: use a key, and leave the password out", scheme)
    elseif user and (user:find("[^%w%.%-_]") or user:sub(1, 1) == "-") then
      return invalid("the user's name in the %s:// address has characters that no name has", scheme)
    end
  else
    result.username, result.password = user ~= "" and user or nil, password
  end
  local number = tonumber(port)
  if number and (number < 1 or number > 65535) then
    return invalid("the repository's address has the port %s: expected 1 to 65535", port)
  end
  local shown = number and number ~= default_port[scheme] and ":" .. port or ""
  result.origin = ("%s://%s%s"):format(scheme, result.host, shown)
  local at = user and (scheme == "ssh" or scheme == "git") and user .. "@" or ""
  result.url = ("%s://%s%s%s%s"):format(scheme, at, result.host, shown, path)
  result.loopback = is_loopback(result.host)
  return result
end

local function scp_like(text)
  local login, path = text:match("^([%w%.%-_@]+):(.+)$")
  local host = login and (login:match("@([%w%.%-_]+)$") or login)
  if not host or host == "" or login:sub(1, 1) == "-" or host:sub(1, 1) == "-" then
    return nil
  end
  return { scheme = "ssh", host = ascii.lower(host), path = path, url = text, origin = "ssh://" .. ascii.lower(host) }
end

local function parse(text)
  if text == "" or text:sub(1, 1) == "-" then
    return invalid("the repository's address is empty or begins with a dash")
  elseif text:find("[%z\1-\31\127]") then
    return invalid("the repository's address contains a control character")
  elseif text:match("^%w[%w%+%-%.]*::") then
    return invalid("'%s' is a transport that runs programs and is refused: use https, ssh or file",
      text:match("^[^:]*::"))
  end
  local scheme, rest = text:match("^(%a[%w%+%-%.]*)://(.*)$")
  if not scheme then
    if not text:match("^[^/]*:") then
      return { scheme = "path", path = text, url = text }
    end
    local result = scp_like(text)
    if result then
      return result
    end
    return invalid("this is no repository's address: expected https://host/path, ssh://, user@host:path or a path")
  end
  scheme = ascii.lower(scheme)
  if not schemes[scheme] then
    return invalid("'%s://' is refused: use https, http, ssh, git or file", scheme)
  elseif scheme == "file" then
    local path = rest:match("^localhost(/.*)$") or rest
    if path:sub(1, 1) ~= "/" or #path < 2 then
      return invalid("a file:// address needs an absolute path: file:///folder/repository.git")
    end
    return { scheme = "file", path = decode(path), url = "file://" .. path }
  end
  return with_authority(scheme, rest)
end

--- Takes an address apart.
---@param text string
---@return luarium.GitUrl?
---@return luarium.Error? err `invalid`; it never shows what might be a credential
function M.parse(text)
  local result, err = parse(text)
  if result then
    result.name = folder_name(result.path)
  end
  return result, err
end

--- The spelling under which a mirror is kept: the same repository at the same server, however it was written.
---@param parsed luarium.GitUrl
---@return string
function M.normal(parsed)
  return (parsed.url:gsub("/+$", ""))
end

return M
