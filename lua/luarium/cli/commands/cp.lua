--- luarium cp
local json = require "luarium.json"
local boxes = require "luarium.cli.boxes"
local errors = require "luarium.error"
local file_type = require "luarium.file_type"
local format = require "luarium.cli.format"
local options = require "luarium.cli.options"

--- "box:path" has its colon before any slash; everything else is a local path.
local function split(word)
  local box, path = word:match("^([^/:]+):(.*)$")
  if box then
    return box, path == "" and "." or path
  end
  return nil, word
end

--- The name that a path ends in; nil where that is none, as with . and .. and /.
local function own_name(path)
  local last = path:gsub("/+$", ""):match("[^/]*$")
  return last ~= "" and last ~= "." and last ~= ".." and last or nil
end

local function stat_local(path)
  local native = require "luarium.native"
  local facts, err = require("luarium.task").await(native.fs.stat(path))
  if not facts and err.kind ~= "not_found" then
    error(err, 0)
  end
  return facts
end

local function stat_box(box, path)
  local ok, facts = pcall(box.stat, box, path)
  if not ok and not errors.is(facts, "not_found") then
    error(facts, 0)
  end
  return ok and facts or nil
end

--- A FIFO would be waited for, a device has no end.
local function check_kind(path, facts)
  local kind = facts and file_type[facts.type]
  if kind then
    errors.raise("invalid", ("cp: %s is a %s: expected a file or a folder"):format(path, kind))
  end
end

--- As `cp -r` does: into a folder that exists, else to exactly that path. A source without a name of its own, such as
--- one that ends in /., means its contents.
local function target(from, to, source, existing, where)
  if not source then
    errors.raise("not_found", ("cp: there is no %s %s"):format(from, where))
  end
  check_kind(from, source)
  check_kind(to, existing)
  local into, name = existing and existing.type == "dir" or to:match("/$"), own_name(from)
  if into and name then
    return (to:gsub("/+$", "")) .. "/" .. name
  end
  return to
end

local function copy(context, args, from_box, from, to_box, to)
  local luarium = context:api()
  local box = boxes.open(luarium, from_box or to_box)
  local given = { exclude = #args.exclude > 0 and args.exclude or nil }
  context:show()
  if to_box then
    return box:upload(from, target(from, to, stat_local(from), stat_box(box, to), "here"), given)
  end
  return box:download(from, target(from, to, stat_box(box, from), stat_local(to), "in " .. from_box), given)
end

return {
  summary = "copy files or folders into a sandbox or out of it",
  about = "As `cp -r` does. TO is the name of the copy, unless it is a folder that is there or ends in /: then the\n"
    .. "copy goes into it, under its own name. Folders that are missing are made. FROM/. means what is in the\n"
    .. "folder, and so does .. or /: it goes into TO itself. Otherwise a / at the end of FROM changes nothing.\n"
    .. "A folder that is there already keeps what else it has, and files of the same names are replaced; a file\n"
    .. "never replaces a folder, nor a folder a file. Modes are kept, owners are not.\n"
    .. "A link that is named is followed, also one in a sandbox to a file that is replaced; one here is replaced\n"
    .. "itself. Links inside a folder stay links; out of a sandbox, those that are absolute or lead out of the\n"
    .. "folder are skipped.\n"
    .. "A FIFO, socket or device is an error when it is named, and is skipped inside a folder. What was skipped\n"
    .. "is told, and is no failure.",
  example = "luarium cp src demo:/app/src\nluarium cp src/. demo:\nluarium cp demo:out/report.json .\n"
    .. "luarium cp --exclude node_modules . demo:work/",
  arguments = {
    { "from", about = "PATH or BOX:PATH" },
    { "to", about = "PATH or BOX:PATH; relative paths of a sandbox start at its working directory" },
  },
  options = {
    { "-x --exclude", value = "GLOB", many = true, about = "leave these out" },
  },
  run = function(args, context)
    local from_box, from = split(args.from)
    local to_box, to = split(args.to)
    if (from_box == nil) == (to_box == nil) then
      options.usage_error("cp: exactly one of the two paths is BOX:PATH (write ./name for a local name with a colon)",
        "luarium help cp")
    end
    return context:task(function()
      local result = copy(context, args, from_box, from, to_box, to)
      local skipped = result.skipped or {}
      local count = math.max(#skipped, result.skipped_count or 0)
      if context.json then
        context:print_json({ files = result.files, bytes = result.bytes,
          skipped = json.array(skipped), skipped_count = count })
      else
        context:note("copied %d file%s, %s", result.files, result.files == 1 and "" or "s", format.size(result.bytes))
        for _, item in ipairs(skipped) do
          context:note("skipped %s: %s", require("luarium.log").neutral(item.path or item.name or "?"),
            file_type[item.reason] or item.reason or "it cannot be copied")
        end
        if count > #skipped then
          context:note("skipped %d%s that %s neither file, folder nor link", count - #skipped,
            #skipped > 0 and " more" or "", count - #skipped == 1 and "is" or "are")
        end
      end
    end)
  end,
}
