--- luarium snapshots
return require("luarium.cli.saved").command("snapshot", {
  summary = "list what `luarium snapshot` saved, or delete it",
  about = "Asks the provider; --provider says which.",
  example = "luarium snapshots --provider docker\nluarium snapshots --delete base --delete older",
  none = "no snapshots; `luarium snapshot BOX` makes one",
})
