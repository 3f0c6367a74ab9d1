--- What only bubblewrap has: a user that programs can ask about.
local async = require "spec.support.async"
local luarium = require "luarium"
local scratch = require "spec.support.scratch"
local state = require "spec.support.state"

local missing = require("spec.support.bwrap").missing()

if missing then
  describe("bubblewrap", function()
    pending(missing)
  end)
  return
end

describe("the user of a bubblewrap sandbox", function()
  it("has a name, so that whoami, ssh and git commit work; the host's users are not shown", async(60, function()
    state.with(function()
      local box = luarium.create({ provider = "bubblewrap" })
      local function run(command)
        return box:exec(command, { check = true, env = { LC_ALL = "C" } }).stdout
      end
      assert.equal("sandbox\nsandbox\n", run("whoami; id -gn"))
      assert.equal("root\nsandbox\nnobody\n", run("cut -d: -f1 /etc/passwd"))
      assert.equal("/home/sandbox\n", run("unset HOME; eval echo ~sandbox"))
      assert.equal("Sandbox <sandbox@localhost>\n",
        run("git init -q r && cd r && git commit -q --allow-empty -m begun && git log --format='%an <%ae>'"))
      assert.truthy(run("ssh -G somewhere"):find("\nuser sandbox\n", 1, true))
      local own = scratch.sh("id -un")
      if own ~= "root" then
        assert.not_equal(0, box:exec({ "id", own }).exit_code)
      end
      box:destroy()
      assert.same({}, luarium.list())
    end)
  end))
end)
