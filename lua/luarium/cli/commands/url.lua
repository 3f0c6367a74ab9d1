--- luarium url
local boxes = require "luarium.cli.boxes"
local check = require "luarium.check"

local LONG = 3600 -- seconds of one wait of many

--- Keeps the address open until Ctrl-C, which is the way to end it.
local function hold(context)
  local task = require "luarium.task"
  local left = false
  task.scope(function(scope)
    context.interrupt = function(reason)
      if left then
        return false
      end
      left = true
      scope:cancel(reason)
      return true
    end
    while not left do
      local ok, err = pcall(task.sleep, LONG)
      if not ok and not left then
        error(err, 0)
      end
    end
  end, "url")
  context.interrupt = nil
end

return {
  summary = "print the address of a port in a sandbox",
  about = "Where the address is a tunnel of this program, as with `ssh`, it is open until Ctrl-C.",
  example = "curl \"$(luarium url demo 8080)\"\nluarium url demo 8080 --json",
  arguments = {
    { "box", about = "id, its beginning or end, or name" },
    { "port", type = "port", about = "in the sandbox, 1 to 65535" },
  },
  run = function(args, context)
    context:task(function()
      local box = boxes.open(context:api(), args.box)
      local url, headers, held = box:url(args.port)
      if context.json then
        context:print_json({ url = url, headers = headers or {}, held = held })
      else
        context:print("%s", url)
        if headers and next(headers) then
          context:note("luarium: requests must carry %s; --json shows what", table.concat(check.keys(headers), ", "))
        end
      end
      if held then
        context:note("luarium: open until Ctrl-C")
        hold(context)
      end
    end)
  end,
}
