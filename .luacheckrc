-- Library and provider code stays in the common subset of Lua 5.4 and LuaJIT 2.1.
std = "min"
max_line_length = 120
self = false
unused_secondaries = true

files["lua"] = { std = "min" }
files["lua/meta"] = { ignore = { "21.", "241" }, max_line_length = 140 }
files["providers"] = { std = "min" }
files["scripts"] = { std = "lua54" }
files["docs"] = { std = "lua54" }
files["docs/embedding/neovim"] = { std = "luajit", read_globals = { "vim" } }
files["docs/embedding/love"] = { std = "luajit+love" }
files["docs/embedding/prosody"] = { std = "lua54", globals = { "module" } }
files["bench"] = { std = "lua54" }
files["spec"] = { std = "lua54+busted", globals = { "jit" }, max_line_length = 130 }
files["lua/luarium/compat.lua"] = { std = "lua54+luajit" }
