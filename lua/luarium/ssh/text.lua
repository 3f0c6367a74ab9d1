--- The text of a command for a host whose login shell may be anything: bash, csh, fish, or somebody's wrapper.
---
--- sshd hands one text to the login shell. Ours is `NAME=value exec sh -c 'BODY' sh \' \\ ...`, with `exec env
--- NAME=value sh` for shells that do not know the first form. Inside its single quotes there is no quote, backslash,
--- exclamation mark or newline, which is where shells differ. BODY names these as its arguments. What does not fit
--- (bytes that are not ASCII, long texts, secrets) goes as the first line of stdin.
local M = {}

local MAX = 24000 -- bytes of a text: libssh2 sends it in one packet

--- The arguments of BODY, as every shell reads them when they are not quoted.
local HELPERS = [[\' \\ \! \" \$ \`]]

local names = {
  ["'"] = "${1}", ["\\"] = "${2}", ["!"] = "${3}", ['"'] = "${4}", ["$"] = "${5}", ["`"] = "${6}",
  ["\n"] = "${lum_n}",
}

--- A text as a word of BODY.
local function for_arguments(text)
  return '"' .. text:gsub("['\\!\"$`\n]", names) .. '"'
end

--- A text as a word of the first line of stdin.
local function for_line(text)
  return "'" .. text:gsub("'", "'\\''"):gsub("\n", "'\"$lum_n\"'") .. "'"
end

--- An argument for the login shell; there are only letters, digits and a few signs in it.
local function plain(text)
  assert(not text:find("[^%w_%.=/:-]"), "not a plain argument")
  return text
end

local START = "lum_n=${IFS#??};"
local READ = [[IFS= read -r lum_l && eval "$lum_l"]]

---@class luarium.ssh.Text
---@field command string for the exec request
---@field line string? what must be written to stdin first

---@class luarium.ssh.TextOptions
---@field env string[] "NAME=value" of plain characters, in the environment before anything of the body runs
---@field hidden boolean? it has secrets: nothing of it may be an argument
---@field careful boolean? the login shell is none of Bourne's family

local function prefix_of(options)
  local words = {}
  for i, entry in ipairs(options.env) do
    words[i] = plain(entry)
  end
  local names_and_values = table.concat(words, " ")
  if names_and_values == "" then
    return "exec"
  elseif options.careful then
    return "exec env " .. names_and_values
  end
  return names_and_values .. " exec"
end

--- Builds the text of a command.
---@param options luarium.ssh.TextOptions
---@param body fun(quote: fun(text: string): string): string makes the sh code, on one line
---@return luarium.ssh.Text
function M.build(options, body)
  local prefix = prefix_of(options)
  if not options.hidden then
    local code = START .. body(for_arguments)
    if #code + #prefix < MAX and not code:find("[^\32-\126]") then
      return { command = ("%s sh -c '%s' sh %s"):format(prefix, code, HELPERS) }
    end
  end
  return { command = ("%s sh -c '%s' sh"):format(prefix, READ), line = START .. body(for_line) .. "\n" }
end

--- The text of a command that has its first line in a file, which it removes: where stdin is a terminal.
---@param options luarium.ssh.TextOptions
---@param path string
---@return luarium.ssh.Text
function M.from_file(options, path)
  return M.build({ env = options.env, careful = options.careful }, function(quote)
    local name = quote(path)
    return ('IFS= read -r lum_l <%s; rm -f %s; eval "$lum_l"'):format(name, name)
  end)
end

return M
