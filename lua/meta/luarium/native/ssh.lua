---@meta luarium.native.ssh

--- SSH: sessions with many commands at a time, ports that lead to the other side, host keys and agents.
---@class luarium.native.ssh
local ssh = {}

---@class luarium.native.ssh.Options
---@field host string a name or an address
---@field port? integer default 22
---@field via? luarium.native.ssh.Session reach the host through this one
---@field proxy? string or through a line of sh whose stdin and stdout lead there
---@field hostkeys? string kinds of host keys in the order wanted, with commas
---@field keepalive? number seconds between signs of life; default 0: none. After three without an answer it ends

--- Makes a session; nothing is sent yet.
---@param options luarium.native.ssh.Options
---@return luarium.native.ssh.Session? session
---@return luarium.Error? err
function ssh.session(options) end

--- Looks a key up in the text of a known_hosts file; lines that begin with @ are not looked at.
---@param text string
---@param host string
---@param port integer
---@param key string the public key's bytes
---@return "known"|"changed"|"unknown"
function ssh.known_host(text, host, port, key) end

--- The public keys that an agent offers.
---@param socket string
---@return luarium.native.Op? op its result is a list of { key = bytes, comment = text }
---@return luarium.Error? err
function ssh.agent_keys(socket) end

---@class luarium.native.ssh.Session
local Session = {}

--- Finds the host, connects and agrees on keys. A failure or a cancel ends the session.
---@return luarium.native.Op? op its result is true; errors: unavailable (name SSH_LOST when the other side went away,
---  SSH_TURNED_AWAY when it did before both had agreed on keys), unsupported (no common way to encrypt)
---@return luarium.Error? err
function Session:connect() end

--- The public key that the host has shown.
---@return string? bytes
function Session:hostkey() end

--- Asks how the user may prove himself.
---@param user string
---@return luarium.native.Op? op its result is such as "publickey,password", or "" when nothing is asked for
---@return luarium.Error? err
function Session:methods(user) end

---@param user string
---@param password string
---@param interactive? boolean as the answer to every question of `keyboard-interactive`
---@return luarium.native.Op? op its result is true; error: auth
---@return luarium.Error? err
function Session:password(user, password, interactive) end

---@param user string
---@param key string a private key in the formats of OpenSSH or PEM
---@param passphrase? string
---@return luarium.native.Op? op its result is true; error: auth
---@return luarium.Error? err unsupported: an RSA key with a passphrase in OpenSSH's format
function Session:key(user, key, passphrase) end

---@param user string
---@param socket string of the agent
---@param key string the public key's bytes
---@return luarium.native.Op? op its result is true; error: auth
---@return luarium.Error? err
function Session:agent(user, socket, key) end

---@class luarium.native.ssh.ExecOptions
---@field command string for the login shell
---@field input? string what is written to its stdin first
---@field pty? boolean
---@field term? string default "xterm-256color"
---@field cols? integer
---@field rows? integer
---@field window? integer bytes that may come before they are read; default 2 MiB
---@field marker? string what comes before the line with it is dropped
---@field marks_stderr? boolean stderr has such a line too
---@field mutes_stderr? boolean all of stderr is dropped

--- Asks for a command.
---@param options luarium.native.ssh.ExecOptions
---@return luarium.native.ssh.Channel? channel
---@return luarium.Error? err
function Session:exec(options) end

--- Listens on a free port of 127.0.0.1, or on a unix socket, for connections that lead to a port of the other side or to
--- the stdin and stdout of a command there. Ends with the session.
---@param options {path?: string, host?: string, port?: integer, command?: string, marker?: string}
---@return luarium.native.ssh.Forward? forward
---@return luarium.Error? err
function Session:forward(options) end

---@return integer channels in use, those that are being closed included
function Session:load() end

---@return luarium.Error? err why it ended; nil while it lives
function Session:error() end

--- The same, having read what has come: before something is given to a session that was idle.
---@return luarium.Error? err
function Session:look() end

function Session:close() end

---@class luarium.native.ssh.Channel
local Channel = {}

--- Waits until the command runs: for its marker, or for the host's consent.
---@return luarium.native.Op? op its result is true; errors: quota (name SSH_REFUSED: too many channels), protocol
---  (SSH_SHELL: the end came before the marker), unavailable (SSH_LOST)
---@return luarium.Error? err
function Channel:start() end

---@return string note what followed the marker in its line
function Channel:note() end

---@return boolean asked whether the host may have been asked for the command
function Channel:asked() end

---@return integer bytes of stderr that were dropped
function Channel:noise() end

--- As for processes: bytes of whichever stream has some, with its name; nil at the end of both.
---@param max? integer bytes, at most and by default 128 KiB
---@return luarium.native.Op? op
---@return luarium.Error? err
function Channel:read(max) end

--- A read of stdout into a file, in large blocks; nobody else may use the writer meanwhile.
---@param writer luarium.native.fs.Writer
---@return luarium.native.Op? op its results are the bytes written and whether to go on; not: read tells what comes next,
---  stderr or the end
---@return luarium.Error? err
function Channel:pour(writer) end

---@param bytes string
---@return luarium.native.Op? op its result is true once all bytes are on their way; error: io (EPIPE)
---@return luarium.Error? err
function Channel:write(bytes) end

--- Writes without anybody waiting for it.
---@param bytes string
function Channel:send(bytes) end

function Channel:close_stdin() end

--- Waits for the command itself, not for its streams.
---@return luarium.native.Op? op
---@return luarium.Error? err
function Channel:wait() end

---@return {exit_code: integer?, signal: string?, held_open: boolean}? status nil while it runs
function Channel:status() end

---@param cols integer
---@param rows integer
---@return true? ok
---@return luarium.Error? err unsupported without a terminal
function Channel:resize(cols, rows) end

--- Gives it up; what runs on the other side is not killed by that.
function Channel:close() end

---@class luarium.native.ssh.Forward
local Forward = {}

---@return integer? port nil for a unix socket
function Forward:port() end

function Forward:close() end

return ssh
