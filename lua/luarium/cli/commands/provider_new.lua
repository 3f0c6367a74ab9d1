--- luarium provider new
local errors = require "luarium.error"
local options = require "luarium.cli.options"

local function write_new(name, path, text)
  local native = require "luarium.native"
  local await = require("luarium.task").await
  if native.fs.exists(path) then
    errors.raise("conflict", ("%s exists already: nothing was changed"):format(path),
      { data = { hint = "luarium provider test " .. name } })
  end
  local ok, err = await(native.fs.write_file(path, text, { parents = true, atomic = true }))
  if not ok then
    error(err, 0)
  end
end

return {
  summary = "write the skeleton of a provider and its spec",
  about = "The skeleton works at once: its sandboxes are folders on this machine. Its comments say what to replace.",
  example = "luarium provider new acme && luarium provider test acme",
  arguments = { { "name", about = "small letters, digits, underscores" } },
  options = {
    { "-d --dir", value = "DIR", about = "where the adapter goes (default: providers)" },
    { "-s --spec-dir", value = "DIR", about = "where its spec goes (default: spec/providers)" },
  },
  run = function(args, context)
    if not args.name:match("^[a-z][a-z0-9_]*$") then
      options.usage_error(("provider new: '%s' is no name: expected small letters, digits and underscores"):format(
        args.name), "luarium help provider new")
    end
    if require("luarium.provider").is_builtin(args.name) then
      options.usage_error(("provider new: '%s' is built in: choose another name, or it would be hidden"):format(
        args.name), "luarium providers")
    end
    local dir = (args.dir or "providers"):gsub("(.)/+$", "%1")
    local spec_dir = (args.spec_dir or "spec/providers"):gsub("(.)/+$", "%1")
    local files = require("luarium.cli.skeleton").files(args.name, dir)
    local adapter, spec = dir .. "/" .. args.name .. ".lua", spec_dir .. "/" .. args.name .. "_spec.lua"
    context:task(function()
      write_new(args.name, adapter, files.adapter)
      write_new(args.name, spec, files.spec)
      if context.json then
        context:print_json({ adapter = adapter, spec = spec })
      else
        context:print("%s\n%s", adapter, spec)
        context:note("next: `luarium provider test %s`%s", args.name, dir ~= "providers"
          and (", with provider_path = { %q } in luarium.lua"):format(dir) or "")
      end
    end)
  end,
}
