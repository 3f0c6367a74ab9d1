--- luarium snapshot
local boxes = require "luarium.cli.boxes"

--- demo-20260131-120000: of the sandbox, and when.
local function default_name(box)
  local name = (box.name or box.id):gsub("[^%w_.-]", "-"):sub(1, 60)
  return name .. os.date("!-%Y%m%d-%H%M%S")
end

return {
  summary = "save the state of a sandbox and print the id of what was saved",
  about = "`luarium snapshots` lists and deletes what was saved; `luarium create --image ID` begins with it.",
  example = "luarium snapshot demo --name base\nid=$(luarium snapshot demo)",
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "-n --name", value = "NAME", about = "what it is called (default: the sandbox's name and the time, in UTC)" },
  },
  run = function(args, context)
    context:task(function()
      local box = boxes.open(context:api(), args.box)
      local name = args.name or default_name(box)
      context:show()
      local made = box:snapshot(name)
      if context.json then
        context:print_json({ id = made.id, name = made.name, image = made.image, sandbox = box.id })
      else
        context:print("%s", made.id or made.name)
        context:note("luarium: saved as %s; `luarium create --image %s` begins with it", made.name,
          made.image or made.id or made.name)
      end
    end)
  end,
}
