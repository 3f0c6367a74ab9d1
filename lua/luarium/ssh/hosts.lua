--- Whether a host is the one it says: known_hosts, pinned fingerprints, and what to tell when it is not.
local errors = require "luarium.error"
local native = require "luarium.native"
local task = require "luarium.task"

local await = task.await
local crypto, fs = native.crypto, native.fs

local M = {}

local FILE_MAX = 16777216 -- bytes of a known_hosts
local KINDS = { "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa" }

--- As ssh shows it.
---@param key string
---@return string
function M.fingerprint(key)
  return "SHA256:" .. crypto.base64_encode(crypto.sha256_raw(key)):gsub("=+$", "")
end

--- The kind of a public key, which its bytes begin with.
---@param key string
---@return string
function M.kind(key)
  local a, b, c, d = key:byte(1, 4)
  return d and key:sub(5, 4 + ((a * 256 + b) * 256 + c) * 256 + d) or ""
end

--- The keys that a text of known_hosts has for a host.
---@param text string
---@param host string
---@param port integer
---@return string[] keys
---@return table<string, boolean> revoked
function M.keys(text, host, port)
  local keys, revoked = {}, {}
  for line in text:gmatch("[^\r\n]+") do
    local mark, rest = line:match("^@(%S+)%s+(.*)$")
    local encoded = not line:find("^%s*#") and (rest or line):match("^%s*%S+%s+%S+%s+(%S+)")
    local ok, key = pcall(crypto.base64_decode, encoded or "")
    if encoded and ok and key and mark ~= "cert-authority"
      and native.ssh.known_host((rest or line):gsub("^%s+", ""), host, port, key) == "known" then
      if mark == "revoked" then
        revoked[key] = true
      else
        keys[#keys + 1] = key
      end
    end
  end
  return keys, revoked
end

local function read(path)
  local text, err = await(fs.read_file(path, { max = FILE_MAX }))
  if not text and err.kind ~= "not_found" then
    return nil, err
  end
  return text or ""
end

--- What is known of a host before it is asked: its keys, and the kinds of keys to ask for in their order.
---@async
---@param target luarium.ssh.Target
---@return {keys: string[], revoked: table, kinds: string}? known
---@return luarium.Error? err
function M.look_up(target)
  local keys, revoked = {}, {}
  for _, path in ipairs(target.known_hosts) do
    local text, err = read(path)
    if not text then
      return nil, err
    end
    local found, bad = M.keys(text, target.alias, target.port)
    for _, key in ipairs(found) do
      keys[#keys + 1] = key
    end
    for key in pairs(bad) do
      revoked[key] = true
    end
  end
  local order, seen = {}, {}
  local function add(kind)
    if not seen[kind] then
      seen[kind] = true
      order[#order + 1] = kind
    end
  end
  for _, key in ipairs(keys) do
    add(M.kind(key))
  end
  for _, kind in ipairs(KINDS) do
    add(kind)
  end
  return { keys = keys, revoked = revoked, kinds = table.concat(order, ",") }
end

local function place(target)
  return target.port == 22 and target.alias or ("[%s]:%d"):format(target.alias, target.port)
end

local function remember(target, key)
  local path = target.known_hosts[1]
  local line = ("%s %s %s\n"):format(place(target), M.kind(key), crypto.base64_encode(key))
  local text, err = read(path)
  if not text then
    return nil, err
  end
  if text ~= "" and text:sub(-1) ~= "\n" then
    line = "\n" .. line
  end
  return await(fs.write_file(path, line, { append = true, mode = 384, parents = true }))
end

local function refuse(name, message, ...)
  return nil, errors.new("auth", message:format(...), { name = name })
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return false
end

--- Decides about the key that a host has shown.
---@async
---@param target luarium.ssh.Target
---@param known table from look_up
---@param key string
---@return boolean? ok
---@return luarium.Error? err
function M.verify(target, known, key)
  local print, kind, host = M.fingerprint(key), M.kind(key), place(target)
  if known.revoked[key] then
    return refuse("SSH_HOST_KEY_REVOKED", "ssh: the key of %s (%s %s) is marked as revoked in known_hosts", host, kind,
      print)
  elseif #target.pins > 0 then
    if contains(target.pins, print) then
      return true
    end
    return refuse("SSH_HOST_KEY_CHANGED", "ssh: %s shows the key %s %s, but host_key is %s: somebody may be in "
      .. "between; if the host has another key now, change host_key", host, kind, print,
      table.concat(target.pins, " or "))
  elseif contains(known.keys, key) then
    return true
  elseif #known.keys > 0 then
    return refuse("SSH_HOST_KEY_CHANGED", "ssh: the key of %s has changed: it is %s %s now, known is %s: somebody may "
      .. "be in between; if the change is right, remove the old key with `ssh-keygen -R '%s' -f %s`", host, kind, print,
      M.fingerprint(known.keys[1]), host, target.known_hosts[1])
  elseif target.accept_new then
    return remember(target, key)
  end
  return refuse("SSH_HOST_KEY_UNKNOWN", "ssh: the host %s is not known: its key is %s %s: compare it with what the "
    .. "host's owner says, then set host_key = \"%s\", or connect once with `ssh -p %d %s`, or set accept_new = true "
    .. "to trust new hosts", host, kind, print, print, target.port, target.host)
end

return M
