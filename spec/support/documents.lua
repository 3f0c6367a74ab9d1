--- Reads the code blocks of a Markdown file. A block's language is followed by what is done with it:
---   sh run       lines that begin with "$ " are commands, the lines below what they print; "…" stands for anything
---   lua run      a script, run by the program
---   lua host     a script, run by a stock lua5.4
---   lua luajit   the same, run by luajit
---   lua config   a configuration file
---   lua adapter  a provider's file
--- Any other block of sh or lua is a fault: what is documented is executed.
local M = {}

---@return {language: string, use: string, text: string, line: integer}[]
function M.blocks(path)
  local blocks, block, number = {}, nil, 0
  for line in assert(io.open(path)):lines() do
    number = number + 1
    local info = line:match("^```(.*)$")
    if info and not block then
      block = { language = info:match("^%S+") or "", use = info:match("^%S+%s+(%S+)") or "", line = number, lines = {} }
    elseif info then
      block.text = table.concat(block.lines, "\n") .. "\n"
      blocks[#blocks + 1] = block
      block = nil
    elseif block then
      block.lines[#block.lines + 1] = line
    end
  end
  assert(not block, path .. ": a code block is not closed")
  return blocks
end

--- The commands of a transcript with the output each is expected to print.
---@return {command: string, expected: string[]}[]
function M.transcript(text)
  local steps = {}
  for line in text:gmatch("([^\n]*)\n") do
    local command = line:match("^%$ (.*)$")
    if command then
      steps[#steps + 1] = { command = command, expected = {} }
    elseif #steps > 0 and steps[#steps].command:sub(-1) == "\\" then
      steps[#steps].command = steps[#steps].command .. "\n" .. line
    elseif #steps > 0 then
      table.insert(steps[#steps].expected, line)
    end
  end
  return steps
end

local function to_pattern(line)
  local quoted = line:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")
  return "^" .. quoted:gsub("…", ".*") .. "$"
end

--- nil when the printed text fits the expected lines, else what does not. A line of "…" alone stands for any lines.
---@return string?
function M.mismatch(expected, printed)
  local lines = {}
  for line in (printed:gsub("\n*$", "\n")):gmatch("([^\n]*)\n") do
    lines[#lines + 1] = line
  end
  if #lines == 1 and lines[1] == "" then
    lines = {}
  end
  local function fits(e, l)
    while e <= #expected do
      if expected[e] == "…" then
        for skip = l, #lines + 1 do
          if fits(e + 1, skip) then
            return true
          end
        end
        return false
      elseif not lines[l] or not lines[l]:gsub("%s+$", ""):find(to_pattern((expected[e]:gsub("%s+$", "")))) then
        return false
      end
      e, l = e + 1, l + 1
    end
    return l > #lines
  end
  if fits(1, 1) then
    return nil
  end
  return "expected:\n" .. table.concat(expected, "\n") .. "\nprinted:\n" .. printed
end

return M
