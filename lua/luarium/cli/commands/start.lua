--- luarium start
return require("luarium.cli.many").command("start", "started", {
  summary = "start sandboxes that were stopped",
  about = "Their files are as they were; processes do not come back.",
  example = "luarium start demo",
})
