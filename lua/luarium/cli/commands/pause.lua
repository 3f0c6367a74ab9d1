--- luarium pause
return require("luarium.cli.many").command("pause", "paused", {
  summary = "freeze the processes of sandboxes",
  about = "`luarium resume` thaws them.",
  example = "luarium pause demo",
})
