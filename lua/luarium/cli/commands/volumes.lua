--- luarium volumes
return require("luarium.cli.saved").command("volume", {
  summary = "list the provider's volumes, or delete them",
  about = "`luarium create --volume NAME:PATH` makes one where it is missing; it stays when the sandbox ends.",
  example = "luarium volumes --provider docker\nluarium volumes --delete data",
  none = "no volumes; `luarium create --volume NAME:PATH` makes one",
})
