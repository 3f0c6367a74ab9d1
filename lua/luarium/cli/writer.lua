--- Hands output on as it comes.

--- A function that writes chunks to a descriptor of ours. It raises when the reader went away.
---@param fd integer
---@return fun(chunk: string)
return function(fd)
  local tty = require("luarium.native").tty
  return function(chunk)
    local ok, err = tty.write(fd, chunk)
    if not ok then
      error(err, 0)
    end
  end
end
