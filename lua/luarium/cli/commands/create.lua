--- luarium create
local boxes = require "luarium.cli.boxes"
local duration = require "luarium.duration"
local format = require "luarium.cli.format"

--- What --network means: words for the booleans of the library, else a network's name.
local function network_of(word)
  if word == "none" then
    return false
  end
  return word == "on" or word
end

return {
  summary = "make a sandbox and print its id",
  about = "The sandbox stays until `luarium destroy`, or until its --timeout is over: the program that works with it\n"
    .. "then ends it, else the next command that names it, or `luarium destroy --expired`.\n"
    .. "What the provider has no use for, such as an image for `local`, is told on standard error; with --json it\n"
    .. "is in `ignored`.\n"
    .. "A name that a sandbox on record has already is refused, because a name is an address.",
  example = "box=$(luarium create --name demo --env GREETING=hello)\n"
    .. "luarium create --provider docker --image debian:12 --cpu 2 --memory 2g --port 8080:8080 --timeout 1h",
  options = {
    { "-n --name", value = "NAME", type = "name", about = "a name of your own, to find it by: up to 100 bytes, "
      .. "without control characters, `:` and `/`, not beginning with `-`, `sbx_` or `run_`" },
    { "-i --image", value = "IMAGE", about = "the image to start from, where the provider has images" },
    { "-e --env", value = "NAME[=VALUE]", type = "env", many = true,
      about = "environment of every command in it; NAME alone: a secret, read from our environment" },
    { "-l --label", value = "KEY=VALUE", type = "pair", many = true, about = "a label, shown by ls" },
    { "-t --timeout", value = "TIME", type = "seconds",
      about = "its life is over after so long: " .. duration.FORM },
    { "-w --cwd", value = "DIR", about = "the working directory" },
    { "-u --user", value = "USER", about = "as whom commands run" },
    { "--cpu", value = "CORES", type = "number", about = "at most so many cores" },
    { "--memory", value = "SIZE", type = "size", about = "at most so much memory: bytes, or such as 512m or 2g" },
    { "--disk", value = "SIZE", type = "size", about = "at most so much disk" },
    { "--network", value = "NAME", about = "none, on, or the name of a network" },
    { "-p --port", value = "PORT", many = true, about = "a port to reach from outside; 9000:8080: ours first" },
    { "--volume", value = "NAME:PATH", many = true, about = "a volume of the provider, at a path" },
  },
  run = function(args, context)
    context:task(function()
      local luarium = context:api()
      boxes.check_free(luarium, args.name)
      context:show()
      local ignored
      luarium.on("log", function(record)
        ignored = record.fields and record.fields.ignored or ignored
      end)
      local box = luarium.create({
        provider = args.provider, name = args.name, image = args.image, env = format.map(args.env),
        labels = format.map(args.label), timeout = args.timeout, cwd = args.cwd,
        user = args.user, cpu = args.cpu, memory = args.memory, disk = args.disk, network = network_of(args.network),
        ports = #args.port > 0 and args.port or nil, volumes = #args.volume > 0 and args.volume or nil,
      })
      boxes.print_made(context, box, ignored)
    end)
  end,
}
