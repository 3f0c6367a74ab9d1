--- Whether nobody knows how the terminal is moved about in and coloured: TERM is dumb or not set.
---@return boolean
return function()
  local term = os.getenv("TERM") or ""
  return term == "" or term == "dumb"
end
