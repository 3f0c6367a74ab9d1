local async = require "spec.support.async"
local errors = require "luarium.error"
local luarium = require "luarium"
local native = require "luarium.native"
local retry = require "luarium.retry"
local task = require "luarium.task"

local now = native.loop.monotonic

local function flaky(failures, fields)
  local calls = 0
  return function()
    calls = calls + 1
    if calls <= failures then
      return nil, errors.new("unavailable", "down", fields or { retryable = true })
    end
    return "up", calls
  end, function()
    return calls
  end
end

describe("retry", function()
  it("tries again until it works", async(function()
    local fn, calls = flaky(2)
    assert.equal("up", retry.call({ initial = 0.001 }, fn))
    assert.equal(3, calls())
  end))

  it("gives up after max attempts, or at once when it is of no use", async(function()
    local fn, calls = flaky(9)
    local value, err = retry.call({ max = 3, initial = 0.001 }, fn)
    assert.is_nil(value)
    assert.equal("down", err.message)
    assert.equal(3, calls())
    fn, calls = flaky(9, { retryable = false })
    retry.call({ max = 3, initial = 0.001 }, fn)
    assert.equal(1, calls())
  end))

  it("waits at least as long as the other side asked for", async(function()
    local began = now()
    retry.call({ initial = 0.0001 }, (flaky(1, { retryable = true, retry_after = 0.05 })))
    assert.is_true(now() - began >= 0.05)
  end))

  it("reads Retry-After as seconds, and as a date by the server's clock", function()
    local function after(value, date)
      return retry.after({ ["retry-after"] = value, date = date }, 3600)
    end
    assert.same({ 0, 7, 3600 }, { after("0"), after("7"), after("99999") })
    for _, text in ipairs({ "", "-1", "nan", "0x10", "1e3", "soon", "Sun, 06 Now 1994 08:49:37 GMT" }) do
      assert.is_nil(after(text))
    end
    assert.is_nil(after(nil))
    assert.equal(83, after("Sun, 06 Nov 1994 08:50:00 GMT", "Sun, 06 Nov 1994 08:48:37 GMT"))
    assert.equal(1, after("Thu, 29 Feb 2024 00:00:00 GMT", "Wed, 28 Feb 2024 23:59:59 GMT"))
    assert.equal(61, after("Wed, 01 Mar 2000 00:00:01 GMT", "Tue, 29 Feb 2000 23:59:00 GMT"))
    assert.equal(0, after("Sun, 06 Nov 1994 08:49:37 GMT"))
    assert.equal(3600, after("Fri, 01 Jan 2100 00:00:00 GMT"))
    local soon = after(os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 100))
    assert.is_true(soon > 90 and soon <= 100)
  end)

  it("does not begin a wait that would pass the deadline", async(function()
    local began = now()
    local _, err = task.timeout(1, retry.call, {}, (flaky(9, { retryable = true, retry_after = 30 })))
    assert.equal("unavailable", err.kind)
    assert.is_true(now() - began < 0.5)
  end))

  it("draws its delays from a range that grows to a cap", function()
    local policy = { initial = 1, factor = 2, cap = 3 }
    local low, high = math.huge, 0
    for _ = 1, 300 do
      local delay = retry.delay(policy, 2, {})
      low, high = math.min(low, delay), math.max(high, delay)
      assert.is_true(retry.delay(policy, 9, {}) < 3)
    end
    assert.is_true(low < 0.5 and high > 1.5 and high < 2)
  end)

  it("tells about each new attempt and refuses unknown options", async(function()
    local told = {}
    retry.call({ initial = 0.001, on_retry = function(err, attempt, delay)
      told[#told + 1] = { err.kind, attempt, type(delay) }
    end }, (flaky(2)))
    assert.same({ { "unavailable", 1, "number" }, { "unavailable", 2, "number" } }, told)
    local ok, err = pcall(retry.call, { attempts = 3 }, print)
    assert.is_false(ok)
    assert.equal("invalid", err.kind)
  end))

  it("lets the end of its task through", async(function()
    local ok, err = pcall(task.timeout, 0.02, retry.call, { initial = 60, cap = 60 }, function()
      task.sleep(60)
    end)
    assert.is_false(ok)
    assert.equal("timeout", err.kind)
  end))
end)

describe("luarium.retry", function()
  it("raises the last error, gives what the function returned, and passes the attempt on", async(function()
    local asked = {}
    local function down(attempt)
      asked[#asked + 1] = attempt
      errors.raise("unavailable", "down " .. attempt, { retryable = true })
    end
    local value, err = luarium.try(luarium.retry, { max = 3, initial = 0.001 }, down)
    assert.same({ nil, "down 3", { 1, 2, 3 } }, { value, err.message, asked })
    assert.equal(2, luarium.retry({ initial = 0.001 }, function(attempt)
      return attempt == 2 and attempt or down(attempt)
    end))
    assert.is_nil(luarium.retry(nil, function() end))
    assert.is_false(luarium.retry(nil, function() return false end))
  end))

  it("leaves alone what trying again does not help, and the end of its own task", async(function()
    local calls = 0
    local _, err = luarium.try(luarium.retry, nil, function()
      calls = calls + 1
      error("a mistake of the script")
    end)
    assert.matches("a mistake of the script", err.message)
    local waiting = task.start(luarium.retry, { on = function() return true end }, function()
      calls = calls + 1
      task.sleep(60)
    end)
    task.yield()
    waiting:cancel()
    local ok, reason = pcall(waiting.wait, waiting)
    assert.same({ false, "cancelled", 2 }, { ok, reason.kind, calls })
  end))

  it("refuses wrong options with one clear error", async(function()
    assert.matches("did you mean 'max'", select(2, luarium.try(luarium.retry, { mx = 3 }, print)).message, 1, true)
    assert.equal("invalid", select(2, luarium.try(luarium.retry, {})).kind)
  end))
end)
