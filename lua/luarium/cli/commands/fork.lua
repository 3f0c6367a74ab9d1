--- luarium fork
local boxes = require "luarium.cli.boxes"

return {
  summary = "copy a sandbox and print the id of the copy",
  about = "The copy has the files as they are now, and a life of its own.",
  example = "luarium fork demo --name second",
  arguments = { { "box", about = "id, its beginning or end, or name" } },
  options = {
    { "-n --name", value = "NAME", type = "name", about = "a name for the copy, as in `luarium create`" },
  },
  run = function(args, context)
    context:task(function()
      local luarium = context:api()
      local box = boxes.open(luarium, args.box)
      boxes.check_free(luarium, args.name)
      context:show()
      boxes.print_made(context, box:fork({ name = args.name }))
    end)
  end,
}
