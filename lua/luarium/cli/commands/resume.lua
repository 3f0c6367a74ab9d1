--- luarium resume
return require("luarium.cli.many").command("resume", "resumed", {
  summary = "thaw the processes of sandboxes that were paused",
  example = "luarium resume demo",
})
