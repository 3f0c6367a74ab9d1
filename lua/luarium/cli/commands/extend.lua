--- luarium extend
local boxes = require "luarium.cli.boxes"
local duration = require "luarium.duration"
local format = require "luarium.cli.format"

return {
  summary = "move the end of a sandbox's life",
  about = "Its life is over so long from now, whatever its --timeout was: see `luarium help create`.",
  example = "luarium extend demo 2h",
  arguments = {
    { "box", about = "id, its beginning or end, or name" },
    { "seconds", type = "seconds", about = duration.FORM },
  },
  run = function(args, context)
    context:task(function()
      local box = boxes.open(context:api(), args.box)
      box:extend(args.seconds)
      if context.json then
        return context:print_json({ id = box.id, expires_at = box.expires_at })
      end
      context:note("%s ends in %s", box.id, format.duration(args.seconds))
    end)
  end,
}
