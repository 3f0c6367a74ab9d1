--- What a command works with: its global options, where results go, and the run of a body as the main task.
local M = {}

---@class luarium.cli.Context
---@field json boolean
---@field quiet boolean
---@field verbose boolean
---@field command luarium.cli.Command
---@field color boolean whether standard error may be coloured
---@field provider string?
---@field display luarium.cli.Display?
---@field reads_lines boolean? somebody types them, into the repl
---@field edits_lines boolean? the repl has its line editor on the terminal
---@field open table<string, string>? ids of the sandboxes that this process made and has not destroyed
local Context = {}
Context.__index = Context

local function wants_color(choice)
  if choice == "always" or choice == "never" then
    return choice == "always"
  end
  local no_color = os.getenv("NO_COLOR")
  if no_color and no_color ~= "" or require("luarium.cli.dumb")() then
    return false
  end
  return require("luarium.native").tty.isatty(2)
end

---@param args table
---@param command luarium.cli.Command
---@return luarium.cli.Context
function M.new(args, command)
  return setmetatable({
    json = args.json or false, quiet = args.quiet or false, verbose = args.verbose or false,
    color_choice = args.color, provider = args.provider, config_file = args.config, state_dir = args.state_dir,
    failed_code = command.failed_code, command = command,
  }, Context)
end

---@return boolean
function Context:has_color()
  if self.color == nil then
    self.color = wants_color(self.color_choice)
  end
  return self.color
end

local function names_collector()
  for _, kind in ipairs({ "", "TRACES_", "METRICS_" }) do
    if (os.getenv("OTEL_EXPORTER_OTLP_" .. kind .. "ENDPOINT") or "") ~= "" then
      return true
    end
  end
  return false
end

--- The configuration files and the variables of OpenTelemetry, which win over them.
---@return table config luarium.config
function Context:settings()
  if not self.config then
    local config = require "luarium.config"
    config.load(self.config_file)
    if config.telemetry() or names_collector() then
      local fault = require("luarium.otlp").use_variables()
      if fault then
        self:note("luarium: %s", fault)
      end
    end
    self.config = config
  end
  return self.config
end

--- Whether a run may be reported, so that its operations should be parts of one.
---@return boolean
function Context:may_report()
  if self.config_file or names_collector() or #require("luarium.config.files")() > 0 then
    self:settings()
  end
  return package.loaded["luarium.otlp"] ~= nil
end

--- Sends the telemetry that is left, and says when there was trouble with it that no display has shown.
function Context:finish()
  local otlp = package.loaded["luarium.otlp"]
  if otlp then
    local shown = self.close_display and otlp.trouble()
    otlp.flush()
    if otlp.trouble() and not shown then
      self:note("luarium: %s", otlp.trouble())
    end
  end
end

--- The public API, with configuration files and options applied. Read as late as possible: a script that touches no
--- sandbox needs none of it.
---@return table luarium
function Context:api()
  if not self.luarium then
    local luarium = require "luarium"
    local config = self:settings()
    if self.busy_limit then -- the argument wins over the file
      require("luarium.cli.main_task").guard(self.busy_limit)
    end
    if self.state_dir then
      luarium.configure({ state_dir = self.state_dir })
    end
    if self.provider then
      luarium.configure({ default = self.provider })
      self:check_provider(config)
    end
    self.luarium = luarium
    require("luarium.outlog").start()
    if self.on_api then
      self.on_api()
    end
  end
  return self.luarium
end

--- --provider wins over the variables, which win over the configured default.
function Context:check_provider(config)
  local provider_name = config.provider_name
  local chosen = self.provider
  config.provider_name = function(name)
    return provider_name(name or chosen)
  end
end

--- Makes room on the terminal for what is written now.
function Context:clear()
  if self.display then
    self.display:clear()
  end
end

--- A result that cannot be written is no success.
local function put(self, text)
  local writer = require("luarium.cli.writer").of(1)
  writer:push(text)
  self.writes_through = self.writes_through or writer.failure ~= nil
  writer:settle(0)
end

--- Writes a result to standard output.
---@param text string
function Context:write(text)
  self:clear()
  put(self, text)
end

--- Writes a line to standard output.
---@param format string
function Context:print(format, ...)
  self:clear()
  put(self, (select("#", ...) > 0 and format:format(...) or format) .. "\n")
end

--- Writes a value as one line of JSON to standard output.
function Context:print_json(value)
  local text, err = require("luarium.json").encode_bytes(value)
  if not text then
    error(err, 0)
  end
  put(self, text .. "\n")
end

--- Tells the user something beside the result.
function Context:note(format, ...)
  if not self.quiet and not self.json then
    self:clear()
    local text = (select("#", ...) > 0 and format:format(...) or format) .. "\n"
    if self.edits_lines then -- the editor must know
      io.stderr:write(text)
    else
      require("luarium.cli.writer").of(2):tell(text)
    end
  end
end

--- From now on standard error shows what goes on; until the main task ends. Called in it.
---@param script luarium.Script? whose run it is
function Context:show(script)
  self.display = self.display or require("luarium.cli.display").open(self, script)
end

--- Runs the body as the main task: signals cancel it, its error is raised.
---@param body fun(): any
---@return any
function Context:task(body)
  local ok, value = pcall(require("luarium.cli.main_task").run, body, self)
  if self.display then
    self.display:close()
  end
  if not ok then
    error(value, 0)
  end
  return value
end

return M
