--- Git in sandboxes: `box:clone(url, {...})` and `box:git(path)` return a repository object.
---
--- A token reaches exactly one git command, through a credential helper that takes it from that command's environment
--- and answers only the server of the address. It is never in an argument, an address, a configuration or a file.
--- What runs in the sandbox as the same user can look into that environment while the command runs; a clone through a
--- mirror keeps the token out of the sandbox altogether.
local check = require "luarium.check"
local clone = require "luarium.git.clone"
local errors = require "luarium.error"
local repo = require "luarium.git.repo"
local url = require "luarium.git.url"

local M = {
  clone = clone.clone,
  is_repo = repo.is,
}

--- The repository at a path of the sandbox. Nothing is looked at yet.
---@param box luarium.Sandbox
---@param path string? default the working directory
---@param options {url?: string, base?: string}? url: the server that may be given a token; base: the commit to compare
---  with
---@return luarium.GitRepo
function M.open(box, path, options)
  options = check.options(options, { url = "text", base = "text" }, "git")
  local facts = { base = options.base }
  if options.url then
    local address, err = url.parse(options.url)
    if not address then
      error(err:wrap("git"), 0)
    elseif address.password then
      errors.raise("invalid", "git: option 'url' contains a password: leave it out and pass a token to push")
    end
    facts.url = address.url
  end
  return repo.new(box, path or ".", facts)
end

return M
