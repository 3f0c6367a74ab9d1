--- What people call the types of files that are neither file nor folder nor link; as stat and ls give them.
---@type table<string, string>
return { fifo = "FIFO", socket = "socket", char = "device", block = "device" }
