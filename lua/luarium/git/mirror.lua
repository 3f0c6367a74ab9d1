--- Mirrors on this machine: many clones of one repository, few fetches from its server.
---
--- A mirror is a folder <cache>/git/<sha256 of the address>.git with
---   lock      held by the one process that may change the folder
---   current   JSON: which generation counts, and what it looked like when it was finished
---   g-<ulid>  generations: bare repositories that are never changed once they have their name
---   t-<ulid>  one that is being made; a leftover when the lock is free
--- An update that finds something makes a generation from the last one, whose objects it shares by hard links. So a
--- clone may read an older generation while a newer one is made, also across processes, and no half-made mirror is
--- ever seen. Every update asks the server with the caller's own credentials: a mirror opens no private repository to
--- who may not read it.
local config = require "luarium.config"
local errors = require "luarium.error"
local host = require "luarium.git.host"
local json = require "luarium.json"
local native = require "luarium.native"
local secret = require "luarium.secret"
local task = require "luarium.task"
local url = require "luarium.git.url"

local await, fs, crypto = task.await, native.fs, native.crypto

local M = {}

--- A finished check of the server also serves requests that were made up to so many seconds after it began. With 0
--- only those that were waiting already, so that nobody misses what was pushed before their call.
M.max_age = 0

--- Seconds that an older generation stays for those who still read it.
M.keep_older = 3600

--- Packs that a generation may have before it is packed anew.
M.max_packs = 40

local OP = "git.mirror"
local PRIVATE = 448 -- 0700
local REFS = { "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*" }
local LISTING_LIMIT = 268435456

local locks = task.keyed_lock("git mirror")
local checked = {} -- folder -> { began, credential, mirror }

---@class luarium.GitMirror
---@field path string the bare repository; it never changes
---@field folder string
---@field head string the default branch's name
---@field fingerprint string of all branches and tags

local function now()
  return native.loop.monotonic()
end

local function folder_of(address)
  return ("%s/git/%s.git"):format(config.cache_dir(), crypto.sha256(url.normal(address)))
end

-- ---- what the server has ----

local function read_listing(text)
  local lines, head = {}, nil
  for line in text:gmatch("[^\n]+") do
    local target = line:match("^ref: refs/heads/(%S+)\tHEAD$")
    local sha, ref = line:match("^(%x+)\t(refs/%S+)$")
    if target then
      head = target
    elseif sha and (ref:find("^refs/heads/") or ref:find("^refs/tags/") and not ref:find("^{}", 1, true)) then
      lines[#lines + 1] = sha .. " " .. ref
    end
  end
  table.sort(lines)
  return {
    empty = #lines == 0, head = head, sha256 = (lines[1] or ""):find(" ", 1, true) == 65,
    fingerprint = crypto.sha256((head or "") .. "\n" .. table.concat(lines, "\n")),
  }
end

local function ask_server(address, credentials)
  local result, err = host.git(OP, { "ls-remote", "--symref", "--quiet", "--", address.url },
    { credentials = credentials, max_output = LISTING_LIMIT })
  if not result then
    return nil, err
  end
  return read_listing(result.stdout)
end

-- ---- generations ----

--- Name, size and time of what a generation consists of: enough to see that somebody damaged it.
local function facts_of(path)
  local packs, err = await(fs.ls(path .. "/objects/pack"))
  if not packs then
    return nil, err
  end
  local facts = {}
  for _, entry in ipairs(packs) do
    facts["objects/pack/" .. entry.name] = { entry.size, entry.mtime }
  end
  for _, name in ipairs({ "HEAD", "packed-refs", "config" }) do
    local stat, fault = await(fs.stat(path .. "/" .. name))
    if not stat then
      return nil, fault
    end
    facts[name] = { stat.size, stat.mtime }
  end
  return facts
end

local function same_facts(a, b)
  for name, fact in pairs(a) do
    local other = b[name]
    if not other or other[1] ~= fact[1] or math.abs(other[2] - fact[2]) > 0.001 then
      return false
    end
  end
  for name in pairs(b) do
    if not a[name] then
      return false
    end
  end
  return true
end

--- The generation that counts, or nil when there is none or it is not what it was.
local function read_current(folder)
  local text = await(fs.read_file(folder .. "/current", { max = 1048576 }))
  local current = text and json.decode_plain(text)
  if type(current) ~= "table" or type(current.generation) ~= "string" or type(current.facts) ~= "table"
    or not current.generation:match("^g%-%w+$") then
    return nil
  end
  local path = folder .. "/" .. current.generation
  local facts = facts_of(path)
  if not facts or not same_facts(facts, current.facts) then
    return nil
  end
  return { path = path, folder = folder, head = current.head, fingerprint = current.fingerprint,
    generation = current.generation }
end

local function remove(path)
  return await(fs.remove(path, { recursive = true }))
end

--- Leftovers of makers that died, and generations that nobody can be reading any more.
local function tidy(folder, keep)
  for _, entry in ipairs(await(fs.ls(folder)) or {}) do
    local old = native.loop.realtime() - entry.mtime > M.keep_older
    local stale = entry.name:match("^t%-") or (entry.name:match("^g%-") or entry.name:match("^b%-")) and old
    if stale and entry.name ~= keep then
      remove(folder .. "/" .. entry.name)
    end
  end
end

--- Runs git commands one after the other; the first error ends it.
local function each(commands)
  for _, item in ipairs(commands) do
    local result, err = host.git(OP, item, { credentials = item.credentials, timeout = item.timeout,
      on_progress = item.on_progress })
    if not result then
      return nil, err
    end
  end
  return true
end

local function fill(temporary, address, credentials, listing, current, on_progress)
  local start = current and { "clone", "--quiet", "--mirror", "--local", "--", current.path, temporary }
    or { "init", "--quiet", "--bare", listing.sha256 and "--object-format=sha256" or "--template=", "--", temporary }
  local ok, err = each({
    start,
    { "-C", temporary, "config", "remote.origin.url", address.url },
    { "-C", temporary, "-c", "fetch.unpackLimit=1", "fetch", on_progress and "--progress" or "--quiet", "--prune",
      "--no-tags", "--no-auto-gc", "--no-recurse-submodules", "--", address.url, REFS[1], REFS[2],
      credentials = credentials, on_progress = on_progress },
    { "-C", temporary, "symbolic-ref", "HEAD", "refs/heads/" .. listing.head },
    { "-C", temporary, "pack-refs", "--all", "--prune" },
  })
  if not ok then
    return nil, err
  end
  local packs = await(fs.ls(temporary .. "/objects/pack"))
  if packs and #packs > 2 * M.max_packs then
    return each({ { "-C", temporary, "-c", "gc.autoDetach=false", "gc", "--quiet" } })
  end
  return true
end

local function publish(folder, temporary, id, listing)
  local generation = "g-" .. id
  local facts, err = facts_of(temporary)
  if not facts then
    return nil, err
  end
  local ok
  ok, err = await(fs.move(temporary, folder .. "/" .. generation))
  if not ok then
    return nil, err
  end
  ok, err = await(fs.write_file(folder .. "/current", json.encode({
    generation = generation, head = listing.head, fingerprint = listing.fingerprint, facts = facts,
  }), { mode = 384, atomic = true }))
  if not ok then
    return nil, err
  end
  return { path = folder .. "/" .. generation, folder = folder, head = listing.head,
    fingerprint = listing.fingerprint, generation = generation }
end

local function make(folder, address, credentials, listing, current, on_progress)
  local id = crypto.ulid():lower()
  local temporary = folder .. "/t-" .. id
  local ok, made, err = pcall(function()
    local filled, fault = fill(temporary, address, credentials, listing, current, on_progress)
    if not filled then
      return nil, fault
    end
    return publish(folder, temporary, id, listing)
  end)
  if not ok or not made then
    task.shield(60, remove, temporary)
  end
  if not ok then
    error(made, 0)
  end
  return made, err
end

--- Kinds of errors that say something about the server or the caller, not about the mirror.
local final = { auth = true, not_found = true, unavailable = true, timeout = true, cancelled = true,
  rate_limited = true, unsupported = true }

local function update(folder, address, credentials, on_progress)
  local listing, err = ask_server(address, credentials)
  if not listing then
    return nil, err
  elseif listing.empty or not listing.head then
    return nil, errors.new("unsupported", "an empty repository, or one without a default branch, has no mirror",
      { name = "NO_MIRROR" })
  end
  local current = read_current(folder)
  if current and current.fingerprint == listing.fingerprint then
    return current
  end
  local made
  made, err = make(folder, address, credentials, listing, current, on_progress)
  if not made and current and not final[err.kind] then -- the old generation may be damaged where nobody looked
    made, err = make(folder, address, credentials, listing, nil, on_progress)
  end
  if made then
    tidy(folder, made.generation)
  end
  return made, err
end

-- ---- locks ----

local function with_file_lock(folder, fn)
  local pause = 0.01
  while true do
    local lock, err = fs.trylock(folder .. "/lock")
    if lock then
      local ok, value, fault = pcall(fn)
      lock:unlock()
      if not ok then
        error(value, 0)
      end
      return value, fault
    elseif lock == nil then
      return nil, err
    end
    task.sleep(pause)
    pause = math.min(pause * 1.5, 0.2)
  end
end

local function credential_key(credentials)
  return credentials and crypto.sha256(credentials.username .. "\0" .. secret.reveal(credentials.token)) or ""
end

---@param address luarium.GitUrl
---@param credentials luarium.GitCredentials?
---@param options {max_age?: number, on_progress?: luarium.OnProgress}?
---@return luarium.GitMirror?
---@return luarium.Error? err name NO_MIRROR when this repository cannot have one
local function ensure(address, credentials, options)
  local requested, key = now(), credential_key(credentials)
  local folder = folder_of(address)
  local max_age = options and options.max_age or M.max_age
  return locks:with(folder, function()
    local last = checked[folder]
    if last and last.credential == key and last.began >= requested - max_age then
      local current = read_current(folder)
      if current then
        return current
      end
    end
    local ok, err = await(fs.mkdir(folder, { parents = true, mode = PRIVATE }))
    if not ok then
      return nil, err
    end
    return with_file_lock(folder, function()
      local began = now()
      local made, fault = update(folder, address, credentials, options and options.on_progress)
      checked[folder] = made and { began = began, credential = key } or nil
      return made, fault
    end)
  end)
end

--- A mirror that has everything the server had when this was called. Concurrent callers share the work.
---@async
---@param address luarium.GitUrl
---@param credentials luarium.GitCredentials?
---@param options {max_age?: number, timeout?: number, on_progress?: luarium.OnProgress}? max_age: seconds, see
---  M.max_age; on_progress is told only when this call asks the server
---@return luarium.GitMirror?
---@return luarium.Error? err name NO_MIRROR when this repository cannot have one
function M.ensure(address, credentials, options)
  local limit = options and options.timeout
  if not limit then
    return ensure(address, credentials, options)
  end
  return task.timeout(limit, ensure, address, credentials, options)
end

--- After a push: the next clone asks the server again, whatever max_age says.
---@param text string the repository's address
function M.outdated(text)
  local address = url.parse(text)
  if address then
    checked[folder_of(address)] = nil
  end
end

--- After a clone from a mirror that failed: it is made anew for the next one.
---@param mirror luarium.GitMirror
function M.discard(mirror)
  checked[mirror.folder] = nil
  local current = read_current(mirror.folder)
  if current and current.path == mirror.path then
    await(fs.remove(mirror.folder .. "/current"))
  end
end

-- ---- bundles, for sandboxes that do not see this machine's files ----

local bundles = {} -- path of a generation -> { users, ready, path, err }

--- Calls fn(path of a bundle of the mirror). Concurrent callers share one file, which goes with the last of them.
---@async
---@param mirror luarium.GitMirror
---@param fn fun(path: string): any
---@return any ... what fn returned; nil, err when there can be no bundle
function M.with_bundle(mirror, fn)
  local entry = bundles[mirror.path]
  if not entry then
    entry = { users = 0, path = ("%s/b-%s.bundle"):format(mirror.folder, crypto.ulid():lower()) }
    bundles[mirror.path] = entry
  end
  entry.users = entry.users + 1
  local function done(ok, ...)
    entry.users = entry.users - 1
    if entry.users == 0 then
      if bundles[mirror.path] == entry then
        bundles[mirror.path] = nil
      end
      task.shield(60, remove, entry.path)
    end
    if not ok then
      error((...), 0)
    end
    return ...
  end
  return done(pcall(function()
    local made, err = locks:with(entry.path, function()
      if not entry.made then
        remove(entry.path .. ".lock") -- of a maker that was cancelled
        entry.made, entry.err = host.git("git.bundle", { "-C", mirror.path, "bundle", "create", "--quiet", entry.path,
          "HEAD", "--branches", "--tags" })
      end
      return entry.made, entry.err
    end)
    if not made then
      return nil, err
    end
    return fn(entry.path)
  end))
end

return M
