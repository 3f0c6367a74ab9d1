--- The benchmarks: every figure is taken beside a peer in the same run, repetition by repetition (A B A B ...), and
--- the medians are compared. bench/README.md explains the rows.
---
---   lua5.4 bench/run.lua [--quick] [--json] [--reps N] [--build DIR] [--list] [NAME...]
---
--- Exit code: 0 all within their limits, 1 a limit is exceeded or a benchmark failed, 2 wrong usage.
local script = arg and arg[0] or debug.getinfo(1, "S").source:sub(2)
local root = script:match("^(.*)/bench/run%.lua$") or script == "bench/run.lua" and "." or ".."
package.path = root .. "/?.lua;" .. package.path

local harness = require "bench.harness"

local FILES = {
  "start", "exec", "jobs", "sandboxes", "clones", "timeout", "transfer", "http", "tasks", "host", "display", "ssh",
  "docker",
}

local USAGE = "usage: lua5.4 bench/run.lua [--quick] [--json] [--reps N] [--build DIR] [--list] [NAME...]"

local function usage(message)
  io.stderr:write("bench: ", message, "\n", USAGE, "\n")
  os.exit(2)
end

local function parse(words)
  local options, i = { names = {} }, 1
  local function value()
    i = i + 1
    return words[i] or usage(words[i - 1] .. " needs a value")
  end
  while words[i] do
    local word = words[i]
    if word == "--quick" or word == "--json" or word == "--list" then
      options[word:sub(3)] = true
    elseif word == "--reps" then
      options.reps = tonumber(value()) or usage("--reps needs a number")
    elseif word == "--build" then
      options.build = value()
    elseif word == "--child" then
      options.child = { value(), value(), value() }
    elseif word:sub(1, 1) == "-" then
      usage("there is no option " .. word)
    else
      options.names[#options.names + 1] = word
    end
    i = i + 1
  end
  return options
end

-- ---- measuring ----

--- Each side of a case returns a table of numbers; keeps them all, by side and key.
local function sample(into, numbers)
  for key, value in pairs(numbers) do
    into[key] = into[key] or {}
    table.insert(into[key], value)
  end
end

local function measure(case, context)
  local ours, floor = {}, {}
  local reps = context.reps or context.quick and 1 or case.reps or 5
  if case.warm and not context.quick then
    case.ours(context)
  end
  for _ = 1, reps do
    sample(ours, case.ours(context))
    if case.floor then
      sample(floor, case.floor(context))
    end
  end
  return ours, floor
end

local function worst(list)
  return math.max(table.unpack(list))
end

--- The ratio of each side's best repetition: what is left when the machine was busy with something else.
local function best_ratio(row, ours, floor)
  local best = row.least and math.max or math.min
  return best(table.unpack(ours[row.of])) / best(table.unpack(floor[row.of]))
end

--- A row compares by `most` (ours/floor at most), `least` (ours/floor at least), `extra` (ours minus floor at
--- most) or `bound` (ours alone, the worst repetition, at most). Without any of them it is only shown.
local function judge(row, ours, floor)
  local result = { name = row.name, unit = row.unit, samples = { ours = ours[row.of], floor = floor[row.of] } }
  result.ours = row.bound and worst(ours[row.of]) or harness.median(ours[row.of])
  if floor[row.of] then
    result.floor = harness.median(floor[row.of])
    result.ratio, result.best_ratio = result.ours / result.floor, best_ratio(row, ours, floor)
  end
  local within = true
  if row.most then
    result.limit, within = ("<= %.2fx"):format(row.most), result.ratio <= row.most
  elseif row.least then
    result.limit, within = (">= %.2fx"):format(row.least), result.ratio >= row.least
  elseif row.extra then
    result.limit, within = ("<= +%g"):format(row.extra), result.ours - result.floor <= row.extra
  elseif row.bound then
    result.limit, within = ("<= %g"):format(row.bound), result.ours <= row.bound
  end
  result.verdict = within and "ok" or "over"
  return result
end

-- ---- showing ----

local function number(value)
  if not value then
    return "-"
  end
  local size = math.abs(value)
  return (size >= 1000 and "%.0f" or size >= 100 and "%.1f" or size >= 1 and "%.2f"
    or size == 0 and "%.0f" or "%.4f"):format(value)
end

local LINE = "%-34s %12s %12s %9s %12s  %s"

local function show(result)
  local unit = result.unit and result.unit ~= "" and " " .. result.unit or ""
  print(LINE:format(result.name, number(result.ours) .. unit, number(result.floor) .. (result.floor and unit or ""),
    result.ratio and ("%.2fx"):format(result.ratio) or "-", result.limit or "-",
    result.verdict .. (result.reason and ": " .. result.reason or "")))
  io.stdout:flush()
end

local function warn_when_busy()
  local load, processors = tonumber(harness.read("/proc/loadavg"):match("^%S+")), 0
  for _ in harness.read("/proc/cpuinfo"):gmatch("processor%s*:") do
    processors = processors + 1
  end
  if load > processors then
    io.stderr:write(("bench: the machine is busy (load %.1f on %d processors): figures of time are not to be "
      .. "believed\n"):format(load, processors))
  end
end

local function run_case(case, context, emit)
  local reason = case.needs and case.needs(context)
  if reason then
    return emit { name = case.name, verdict = "skipped", reason = reason }
  end
  local ok, ours, floor = pcall(measure, case, context)
  if not ok then
    return emit { name = case.name, verdict = "failed", reason = tostring(ours) }
  end
  for _, row in ipairs(case.rows) do
    local result = judge(row, ours, floor)
    if context.quick and not row.exact then
      result.verdict = "quick" -- counts this small say nothing about time
    end
    emit(result)
  end
end

local function chosen(case, names)
  for _, name in ipairs(names) do
    if case.name == name or case.file == name then
      return true
    end
  end
  return #names == 0
end

local function collect(names)
  local cases, known = {}, {}
  for _, file in ipairs(FILES) do
    known[file] = true
    for _, case in ipairs(require("bench." .. file).cases) do
      case.file, known[case.name] = file, true
      if chosen(case, names) then
        cases[#cases + 1] = case
      end
    end
  end
  for _, name in ipairs(names) do
    if not known[name] then
      usage("there is no benchmark " .. name .. " (--list shows them)")
    end
  end
  return cases
end

local function list(cases)
  for _, case in ipairs(cases) do
    print(("%-10s %-24s %s"):format(case.file, case.name, case.about))
  end
end

local function main(options)
  harness.locate(root, options.build)
  if options.child then
    return harness.serve_child(table.unpack(options.child))
  end
  local cases = collect(options.names)
  if options.list then
    return list(cases)
  end
  harness.build_floors()
  if not options.quick then
    warn_when_busy()
  end
  harness.patience = options.quick and 30 or harness.patience
  harness.make_folder()
  local results, failed = {}, false
  if not options.json then
    print(LINE:format("name", "ours", "floor", "ratio", "limit", "verdict"))
  end
  local ok, err = pcall(function()
    for _, case in ipairs(cases) do
      run_case(case, options, function(result)
        results[#results + 1] = result
        failed = failed or result.verdict == "over" or result.verdict == "failed"
        if not options.json then
          show(result)
        end
      end)
    end
  end)
  harness.remove_folder()
  if not ok then
    error(err, 0)
  end
  if options.json then
    print(require("cjson").encode(results))
  end
  os.exit(failed and 1 or 0, true)
end

main(parse(arg))
