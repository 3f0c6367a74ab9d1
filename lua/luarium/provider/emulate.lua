--- What an adapter does not bring is built here from what it does: exec from spawn, files and transfers from exec,
--- searches from list. Signatures and results are those of the contract.
local exec = require "luarium.provider.emulate.exec"
local files = require "luarium.provider.emulate.files"
local find = require "luarium.provider.emulate.find"
local transfer = require "luarium.provider.emulate.transfer"

local M = {
  exec = exec.exec_over_spawn,
  exec_over_spawn = exec.exec_over_spawn,

  read_file = files.read_file,
  write_file = files.write_file,
  ls = files.ls,
  stat = files.stat,
  mkdir = files.mkdir,
  move = files.move,
  remove = files.remove,

  upload = transfer.upload,
  download = transfer.download,

  find_by_label = find.find_by_label,
  find_by_name = find.find_by_name,
}

return M
