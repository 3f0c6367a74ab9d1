--- Writes tar archives block by block, so that a spec can put anything into them.
local M = {}

local function field(text, width)
  assert(#text <= width, "field too long: " .. text)
  return text .. ("\0"):rep(width - #text)
end

local function octal(number, width)
  return ("%0" .. (width - 1) .. "o\0"):format(number)
end

local function pad(bytes)
  return bytes .. ("\0"):rep(-#bytes % 512)
end

--- One header block. Fields: name, type ("0" file, "1" hard link, "2" link, "3" char, "4" block, "5" folder, "6" fifo),
--- mode, size, mtime, target, prefix, magic, checksum.
function M.header(f)
  local parts = {
    field(f.name or "", 100), octal(f.mode or 420, 8), octal(f.uid or 0, 8), octal(f.gid or 0, 8),
    f.raw_size or octal(f.size or 0, 12), octal(f.mtime or 0, 12), "        ", f.type or "0",
    field(f.target or "", 100), f.magic or "ustar\00000", field("", 32), field("", 32),
    octal(f.major or 0, 8), octal(f.minor or 0, 8), field(f.prefix or "", 155), ("\0"):rep(12),
  }
  local block, sum = table.concat(parts), 0
  for i = 1, 512 do sum = sum + block:byte(i) end
  return block:sub(1, 148) .. ("%06o\0 "):format(f.checksum or sum) .. block:sub(157)
end

--- A header with its data.
function M.entry(f)
  local data = f.data or ""
  f.size = f.size or #data
  return M.header(f) .. pad(data)
end

--- A pax header for the entry that follows.
function M.pax(records)
  local data = ""
  for _, record in ipairs(records) do
    local body = " " .. record[1] .. "=" .. record[2] .. "\n"
    local len = #body
    while #tostring(len) + #body ~= len do len = #tostring(len) + #body end
    data = data .. len .. body
  end
  return M.entry { name = "PaxHeader", type = "x", data = data }
end

--- A GNU long name for the entry that follows.
function M.long_name(name)
  return M.entry { name = "././@LongLink", type = "L", data = name .. "\0", magic = "ustar  \0" }
end

M.END = ("\0"):rep(1024)

--- An archive of entries: tables for M.entry, or strings taken as they are.
function M.archive(entries)
  local out = {}
  for i, entry in ipairs(entries) do
    out[i] = type(entry) == "string" and entry or M.entry(entry)
  end
  return table.concat(out) .. M.END
end

return M
