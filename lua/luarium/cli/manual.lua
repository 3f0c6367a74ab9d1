--- The manual: one source, the commands' own rows, for the man page and for docs/cli.md.
local cli = require "luarium.cli"
local options = require "luarium.cli.options"

local M = {}

M.exit_codes = {
  { "0", "it worked" },
  { "1", "it failed; the reason is on standard error" },
  { "2", "the command line is wrong" },
  { "124", "a time limit was reached" },
  { "125", "`exec` and `shell`: Luarium itself failed, not the command" },
  { "128+N", "`exec` and `shell`: the command was ended by signal N" },
  { "129, 130, 143", "Luarium was ended by SIGHUP, SIGINT, SIGTERM, after its cleanup" },
  { "141", "whoever read the output went away" },
}

M.environment = {
  { "LUARIUM_PROVIDER", "the provider to use; also SANDBOX_PROVIDER" },
  { "LUARIUM_STATE_DIR", "records of sandboxes; default: $XDG_STATE_HOME/luarium, ~/.local/state/luarium" },
  { "LUARIUM_CACHE_DIR", "git mirrors; default: $XDG_CACHE_HOME/luarium, ~/.cache/luarium" },
  { "NO_COLOR", "when set, no colours" },
  { "TERM", "`dumb` or not set: no live display, no colours, no editing of lines" },
}

M.files = {
  { "./luarium.lua", "configuration of the project" },
  { "~/.config/luarium/luarium.lua", "that of the user, which wins over the project's; $XDG_CONFIG_HOME counts" },
}

local INTRODUCTION = "Luarium runs AI coding agents in sandboxes: a Lua script creates a sandbox, clones a repository "
  .. "into it, runs an agent, collects the results and destroys it. A sandbox is named by its id, its beginning or "
  .. "end, or its name."

local JSON = "With --json standard output has JSON, one value a line: `run` every event and at the end the result, "
  .. "`logs` every record, others one value; help and the script of `completion` stay text. An error is one "
  .. "line on standard error, with its `kind`, `message`, `hint` and `exit_code`. Each line is UTF-8. A text "
  .. "that is not, such as the output of `cat photo.jpg`, has U+FFFD in place of each wrong byte, and the "
  .. "exact bytes beside it: `stdout` is then joined by `stdout_base64`, `text` by `text_base64`, and so is "
  .. "any other field; beside a list of texts that is a list. Output that comes in pieces is never cut within "
  .. "a character."

--- A row of an option as in the help: -n, --name NAME.
local function option_rows(rows)
  local list = {}
  for _, line in ipairs(options.option_lines(rows)) do
    list[#list + 1] = { (line[1]:gsub("^%s+", "")), line[2] }
  end
  return list
end

local function argument_rows(command)
  local list = {}
  for _, row in ipairs(command.arguments or {}) do
    list[#list + 1] = { options.placeholder(row), row.about }
  end
  return list
end

--- Walks the manual; `out` has heading, section, text, code and list.
local function write(out)
  out.heading("luarium", "sandboxes for coding agents, driven from Lua")
  out.section("SYNOPSIS")
  out.code("luarium COMMAND [OPTIONS] ...")
  out.section("DESCRIPTION")
  out.text(INTRODUCTION)
  out.section("COMMANDS")
  for _, name in ipairs(cli.commands) do
    local command = cli.command(name)
    out.command("luarium " .. name)
    out.text(command.summary:gsub("^%l", string.upper) .. ".")
    out.code((options.usage(command):gsub("^Usage: ", "")))
    if command.about then
      out.text((command.about:gsub("\n", " ")))
    end
    out.list(argument_rows(command))
    out.list(option_rows(command.options or {}))
    out.example(command.example)
  end
  out.section("OPTIONS OF EVERY COMMAND")
  out.list(option_rows(options.global))
  out.section("JSON")
  out.text(JSON)
  out.section("EXIT STATUS")
  out.list(M.exit_codes)
  out.section("ENVIRONMENT")
  out.list(M.environment)
  out.section("FILES")
  out.list(M.files)
end

local function collect()
  local parts = {}
  return parts, function(format, ...)
    parts[#parts + 1] = select("#", ...) > 0 and format:format(...) or format
  end
end

-- ---- Markdown ----

--- The manual as Markdown.
---@return string
function M.markdown()
  local parts, add = collect()
  local function title(text)
    return text:sub(1, 1) .. text:sub(2):lower()
  end
  local function code(text)
    add("```text\n%s\n```\n\n", text)
  end
  write({
    heading = function(name, summary)
      add("# %s\n\n%s. `./dev docs` writes this page, `man luarium` shows the same.\n\n", name,
        (summary:gsub("^%l", string.upper)))
    end,
    section = function(text) add("## %s\n\n", title(text)) end,
    command = function(text) add("### %s\n\n", text) end,
    text = function(text) add("%s\n\n", text) end,
    code = code,
    example = code,
    list = function(rows)
      if #rows > 0 then
        add("| | |\n|---|---|\n")
        for _, row in ipairs(rows) do
          add("| `%s` | %s |\n", (row[1]:gsub("|", "\\|")), (row[2]:gsub("|", "\\|")))
        end
        add("\n")
      end
    end,
  })
  return (table.concat(parts):gsub("\n+$", "\n"))
end

-- ---- roff ----

--- Text for man(7): nothing in it is taken for a request or an escape.
local function roff(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-")
  return (("\n" .. text):gsub("\n([.'])", "\n\\&%1"):sub(2))
end

--- The manual as a man page.
---@return string
function M.man()
  local parts, add = collect()
  local function code(text)
    add(".PP\n.nf\n%s\n.fi\n", roff(text))
  end
  write({
    heading = function(name, summary)
      add('.TH LUARIUM 1 "" "luarium %s" "User Commands"\n', require("luarium.native").version)
      add(".SH NAME\n%s \\- %s\n", name, roff(summary))
    end,
    section = function(text) add('.SH "%s"\n', text) end,
    command = function(text) add('.SS "%s"\n', roff(text)) end,
    text = function(text) add(".PP\n%s\n", roff((text:gsub("`", "")))) end,
    code = code,
    example = function(text) add(".PP\nExample:\n.RS\n") code(text) add(".RE\n") end,
    list = function(rows)
      for _, row in ipairs(rows) do
        add(".TP\n.B %s\n%s\n", roff(row[1]), roff((row[2]:gsub("`", ""))))
      end
    end,
  })
  return table.concat(parts)
end

return M
