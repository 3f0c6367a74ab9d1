--- Output for busted: a line per file, every failure whole, every skip with its reason; the counts go to the file that
--- LUARIUM_TEST_COUNT names, or to the end.
return function(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local passed, failed, skipped = 0, 0, 0
  local file_passed, file_failed, file_skipped = 0, 0, 0
  local started
  local reasons = {} -- skipped test -> why

  local function out(...)
    io.stdout:write(string.format(...), "\n")
    io.stdout:flush()
  end

  local function text(message)
    if type(message) == "table" then
      return tostring(message.message or message)
    end
    return tostring(message)
  end

  local MOST = 8000 -- bytes of a message: a comparison may show all of two large values

  --- What may be printed of a message, whatever is in it.
  local function shown(message)
    if #message > MOST then
      message = message:sub(1, MOST) .. (" [and %d bytes more]"):format(#message - MOST)
    end
    local unfit = message:find("%z") and "[%z\1-\8\11-\31\127-\255]" or "[\1-\8\11-\31\127]" -- bytes, or else text
    return (message:gsub(unfit, function(byte)
      return ("\\x%02X"):format(byte:byte())
    end):gsub("\n", "\n  "))
  end

  local function problem(kind, element, message, debug)
    out("%s: %s", kind, handler.getFullName(element))
    if element.trace and element.trace.short_src then
      out("  at %s:%d", element.trace.short_src, element.trace.currentline)
    end
    out("  %s", shown(text(message)))
    if type(debug) == "table" and debug.traceback and not text(message):find("stack traceback", 1, true) then
      out("  %s", (debug.traceback:gsub("\n", "\n  ")))
    end
  end

  handler.fileStart = function(file)
    file_passed, file_failed, file_skipped = 0, 0, 0
    started = os.time()
    return nil, file ~= nil
  end

  handler.fileEnd = function(file)
    local took = os.difftime(os.time(), started)
    out("%-46s %3d passed%s%s%s", file.name, file_passed,
      file_failed > 0 and (", %d FAILED"):format(file_failed) or "",
      file_skipped > 0 and (", %d skipped"):format(file_skipped) or "",
      took >= 2 and (" (%d s)"):format(took) or "")
    return nil, true
  end

  handler.testEnd = function(element, _, status, debug)
    if status == "success" then
      passed, file_passed = passed + 1, file_passed + 1
    elseif status == "pending" then
      skipped, file_skipped = skipped + 1, file_skipped + 1
      local named = element.descriptor == "pending" -- its name is the reason
      out("skipped: %s%s", handler.getFullName(element),
        named and "" or ": " .. text(reasons[element] or "no reason given"))
    else
      failed, file_failed = failed + 1, file_failed + 1
      local list = status == "failure" and handler.failures or handler.errors
      local entry = list[#list] or {}
      problem(status == "failure" and "FAILED" or "ERROR", element, entry.message, entry.trace or debug)
    end
    return nil, true
  end

  handler.pending = function(element, _, message)
    reasons[element] = message
    return nil, true
  end

  handler.error = function(element, _, message, debug)
    if element.descriptor ~= "it" then -- a broken file or hook
      failed, file_failed = failed + 1, file_failed + 1
      problem("ERROR", element, message, debug)
    end
    return nil, true
  end

  handler.suiteEnd = function()
    local path = os.getenv("LUARIUM_TEST_COUNT")
    if path then
      local count = assert(io.open(path, "w"))
      count:write(("%d %d %d\n"):format(passed, failed, skipped))
      count:close()
    else
      out("%d passed, %d failed, %d skipped", passed, failed, skipped)
    end
    return nil, true
  end

  handler:subscribe(options)
  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "pending" }, handler.pending)
  busted.subscribe({ "error" }, handler.error)
  busted.subscribe({ "failure" }, handler.error)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
