-- Luarium on Neovim's own loop: sandboxes work while you type.
--   :lua require("sandboxes").exec("make test")
local luarium = require "luarium"

local M = {}
local poll, timer = vim.loop.new_poll(luarium.task.fd()), vim.loop.new_timer()

local step = vim.schedule_wrap(function()
  luarium.task.step(0.002)
  M.sleep()
end)

--- Waits for the descriptor, or until the next timer of Luarium is due.
function M.sleep()
  local seconds = luarium.task.next_wakeup()
  poll:start("r", function()
    poll:stop() -- until the step has been made, or it would be called again and again
    step()
  end)
  timer:stop()
  if seconds then
    timer:start(math.ceil(seconds * 1000), 0, step)
  end
end

local function append(buffer, text)
  local last = vim.api.nvim_buf_line_count(buffer)
  local line = vim.api.nvim_buf_get_lines(buffer, last - 1, last, true)[1]
  vim.api.nvim_buf_set_lines(buffer, last - 1, last, true, vim.split(line .. text, "\n", { plain = true }))
end

--- Runs a command in a sandbox of its own; its output grows in a buffer below. Returns the task and the buffer.
function M.exec(command, options)
  local buffer = vim.api.nvim_create_buf(true, true)
  vim.cmd("botright sbuffer " .. buffer .. " | wincmd p")
  local task = luarium.task.start(function()
    return luarium.with(options or {}, function(box)
      return box:exec(command, { on_stdout = function(text) append(buffer, text) end, merge = true })
    end)
  end)
  task:on_done(function()
    local ok, result = task:result()
    append(buffer, ok and ("\n[exit code %s]"):format(result.exit_code or result.signal) or "\n[" .. tostring(result) .. "]")
  end)
  M.sleep()
  return task, buffer
end

-- Before Neovim ends, what still works is cancelled and its sandboxes are destroyed.
vim.api.nvim_create_autocmd("VimLeavePre", { callback = function() luarium.task.shutdown(5) end })

return M
