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

--- What the code learns of the login shell: the version of bash, or nothing.
local WHO = [["$BASH_VERSION"]]

local START = "lum_n=${IFS#??};"
local READ = [[IFS= read -r lum_l && eval "$lum_l"]]
local READ_IN_BASH = [[IFS= builtin read -r lum_l && builtin eval "$lum_l"]]

---@class luarium.ssh.Text
---@field command string for the exec request
---@field line string? what must be written to stdin first

---@class luarium.ssh.Parts
---@field env string[] "NAME=value" of plain characters: there before anything else is looked at
---@field secret table<string, string>? more of the environment; never an argument of anything
---@field code fun(quote: fun(text: string): string, shell: string?): string sh code on one line, run before the
---  command; shell: "bash" in bash itself, where functions of the user's may have the names of commands; "ask" when $7
---  tells the version of bash
---@field argv string[] the command
---@field careful boolean? the login shell is none of Bourne's family
---@field bash boolean? it is bash

--- What a shell that waits for its line is started with.
M.waiting = ("exec sh -c '%s' sh"):format(READ)

local function prefix_of(parts)
  local words = {}
  for i, entry in ipairs(parts.env) do
    words[i] = plain(entry)
  end
  local assignments = table.concat(words, " ")
  if assignments == "" then
    return "exec"
  elseif parts.careful then
    return "exec env " .. assignments
  end
  return assignments .. " exec"
end

--- The words of a list, quoted.
local function join(list, quote)
  local words = {}
  for i, word in ipairs(list) do
    words[i] = quote(word)
  end
  return table.concat(words, " ")
end

--- The code that sets variables, and what must go in front of the command for those that sh itself cannot have.
local function exports(parts, quote, word)
  local code, odd = {}, {}
  for name, value in pairs(parts.secret or {}) do
    if name:match("^[%a_][%w_]*$") then
      code[#code + 1] = ("%s %s=%s;"):format(word or "export", name, quote(value))
    else
      odd[#odd + 1] = name .. "=" .. value
    end
  end
  return table.concat(code, " "), #odd > 0 and "env " .. join(odd, quote) .. " " or ""
end

local function whole(parts, quote, shell)
  local set, odd = exports(parts, quote)
  return ('%s%s %s set -- %s; exec %s"$@"'):format(START, parts.code(quote, shell), set, join(parts.argv, quote), odd)
end

--- The code for bash. The descriptor 9 is what destroy finds it by until the command, with its environment, has begun.
local function in_bash(parts)
  local set, odd = exports(parts, for_line, "builtin export")
  local cookies = #parts.env > 0 and "builtin export " .. table.concat(parts.env, " ") .. ";" or ""
  return ('%s%s%s %s builtin set -- %s; builtin exec %s"$@" 9<&-'):format(START, cookies, parts.code(for_line, "bash"),
    set, join(parts.argv, for_line), odd)
end

--- The text of a command.
---@param parts luarium.ssh.Parts
---@return luarium.ssh.Text
function M.build(parts)
  local secret = parts.secret and next(parts.secret)
  if parts.bash then
    local code = in_bash(parts)
    if not secret and #code < MAX then
      return { command = code }
    end
    return { command = READ_IN_BASH, line = code .. "\n" }
  end
  local prefix = prefix_of(parts)
  if not secret then
    local code = whole(parts, for_arguments, not parts.careful and "ask" or nil)
    if #code + #prefix < MAX and not code:find("[^\32-\126]") then
      return { command = ("%s sh -c '%s' sh %s %s"):format(prefix, code, HELPERS, parts.careful and "" or WHO) }
    end
  end
  return { command = ("%s sh -c '%s' sh"):format(prefix, READ), line = whole(parts, for_line) .. "\n" }
end

--- The line for a shell that waits already. What must be in the environment from the beginning needs another shell:
--- only what a program was started with can be seen from outside.
---@param parts luarium.ssh.Parts
---@return string line
function M.line(parts)
  if #parts.env == 0 then
    return whole(parts, for_line) .. "\n"
  end
  local set, odd = exports(parts, for_line)
  local code = START .. parts.code(for_line) .. ' exec "$@"'
  return ("%sexport %s; %s exec %ssh -c %s sh %s\n"):format(START, table.concat(parts.env, " "), set, odd,
    for_line(code), join(parts.argv, for_line))
end

--- The text of a command that has its first line in a file, which it removes: where stdin is a terminal.
---@param parts luarium.ssh.Parts
---@param path string
---@return luarium.ssh.Text
function M.from_file(parts, path)
  if parts.bash then
    local name = for_line(path)
    return {
      command = ('IFS= builtin read -r lum_l <%s; command rm -f %s; builtin eval "$lum_l"'):format(name, name),
    }
  end
  local code = ('IFS= read -r lum_l <%s; rm -f %s; eval "$lum_l"'):format(for_arguments(path), for_arguments(path))
  return { command = ("%s sh -c '%s%s' sh %s"):format(prefix_of(parts), START, code, HELPERS) }
end

return M
