--- luarium stop
return require("luarium.cli.many").command("stop", "stopped", {
  summary = "stop sandboxes and keep their files",
  about = "Their processes end. `luarium start` starts them again.",
  example = "luarium stop demo\nluarium stop demo other --json",
})
