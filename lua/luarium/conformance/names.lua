--- File names that careless quoting, listing or packing breaks. In the order of their bytes.
local names = {
  " ", " lead and trail ", "!x", "#comment", "$HOME", "%s%n", "&", "'single'", "(a)", "*", "--", "-rf", "...",
  "..hidden", ".dot", ";exit 9", "<in>", "=", "?", "@file", "A", "[a-z]", "a", "a\tb", "a\nb", "b", "back\\slash",
  "carriage\rreturn", 'double"quote', "ends in newline\n", "gr\195\188n \226\152\131", "tick`id`", "{a,b}", "|", "~",
  "\1\27[31m", "\128\255\254",
}
table.sort(names)
return names
