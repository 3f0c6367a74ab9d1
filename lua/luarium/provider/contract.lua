--- The provider contract: the operations there are, which of them an adapter must bring, and what to say when one
--- is missing. `docs/providers.md` explains it to authors.
local M = {}

---@class luarium.Operation
---@field name string
---@field required boolean?
---@field needs string[]? emulated from these operations when the adapter does not bring it
---@field instead string? advice when it is unsupported
---@field about string one line for the matrix

--- In the order of the matrix.
---@type luarium.Operation[]
M.operations = {
  { name = "create", required = true, about = "make a sandbox" },
  { name = "get", required = true, about = "look one up by its external id" },
  { name = "list", required = true, about = "all sandboxes of this account that Luarium made" },
  { name = "destroy", required = true, about = "end one and everything in it" },
  { name = "exec", required = true, about = "run a command to its end" },
  { name = "spawn", about = "a live process with streams, stdin and signals",
    instead = "use exec with on_stdout and stdin" },
  { name = "pty", about = "a terminal for exec and spawn", instead = "use exec without pty" },
  { name = "start", about = "start a stopped sandbox", instead = "create another one" },
  { name = "stop", about = "stop it and keep its files", instead = "destroy it, or leave it running" },
  { name = "pause", about = "freeze its processes", instead = "leave it running, or use stop where it is there" },
  { name = "resume", about = "thaw them", instead = "there is nothing to thaw where nothing can be paused" },
  { name = "archive", about = "move a stopped sandbox to cold storage",
    instead = "leave it as it is, or use stop where it is there" },
  { name = "recover", about = "bring back one in an error state", instead = "create another one" },
  { name = "extend", about = "push its end of life further out",
    instead = "create it with a longer timeout" },
  { name = "url", about = "an address for a port in it", instead = "read the service through exec" },
  { name = "read_file", needs = { "exec" }, about = "the bytes of a file" },
  { name = "write_file", needs = { "exec" }, about = "make or replace a file" },
  { name = "ls", needs = { "exec" }, about = "list a folder" },
  { name = "stat", needs = { "exec" }, about = "facts of one path" },
  { name = "mkdir", needs = { "exec" }, about = "make a folder" },
  { name = "move", needs = { "exec" }, about = "rename" },
  { name = "remove", needs = { "exec" }, about = "delete a file or tree" },
  { name = "upload", needs = { "exec" }, about = "local file or tree into the sandbox" },
  { name = "download", needs = { "exec" }, about = "file or tree out of it" },
  { name = "git", needs = { "exec" }, about = "clone and the other git operations" },
  { name = "job", needs = { "exec" }, about = "a detached command that is found again" },
  { name = "snapshot", about = "save its state under a name", instead = "download what matters" },
  { name = "snapshot_list", about = "the saved states", instead = "keep your own list" },
  { name = "snapshot_delete", about = "delete a saved state", instead = "use the vendor's own tool" },
  { name = "fork", about = "a copy of a live sandbox", instead = "create another one and upload into it" },
  { name = "volume", about = "get or make a named volume", instead = "upload into each sandbox" },
  { name = "volume_list", about = "the volumes there are", instead = "keep your own list" },
  { name = "volume_delete", about = "delete a volume", instead = "use the vendor's own tool" },
  { name = "find_by_label", needs = { "list" }, about = "sandboxes that carry these labels" },
  { name = "find_by_name", needs = { "list" }, about = "the sandbox of this name" },
}

--- By name.
---@type table<string, luarium.Operation>
M.by_name = {}
for _, operation in ipairs(M.operations) do
  M.by_name[operation.name] = operation
end

--- What `create` may be asked for. A provider that has no use for one ignores it only if it says so in `ignores`.
M.create_options = {
  provider = "text|table", name = "name", image = "text", env = "map", labels = "map", cwd = "text",
  timeout = "seconds", cpu = "number", memory = "number", disk = "number", network = "boolean|text",
  user = "text", command = "strings", ports = "list", volumes = "list", options = "table",
}

--- The options of exec and spawn, as scripts give them.
M.exec_options = {
  cwd = "text", env = "map", stdin = "string|table|function", user = "text", timeout = "seconds",
  max_output = "size", pty = "boolean", cols = { type = "integer", min = 1, max = 10000 },
  rows = { type = "integer", min = 1, max = 10000 }, on_stdout = "function", on_stderr = "function",
  check = "boolean", merge = "boolean",
}

return M
