--- luarium completion
local options = require "luarium.cli.options"

local scripts = {}

scripts.bash = [==[
# bash completion for luarium: eval "$(luarium completion bash)"
_luarium() {
  local line=${COMP_LINE:0:COMP_POINT} words current candidate files=
  read -ra words <<<"$line"
  current=
  [[ $line == *[[:space:]] ]] || { current=${words[-1]}; unset 'words[-1]'; }
  COMPREPLY=()
  while IFS=$'\t' read -r candidate _; do
    if [[ $candidate == :files ]]; then files=yes; else COMPREPLY+=("$candidate"); fi
  done < <("${words[0]/#\~\//$HOME/}" __complete -- "${words[@]:1}" "$current" 2>/dev/null)
  if [[ -n $files ]]; then
    local prefix= mixed=${#COMPREPLY[@]} quoted
    [[ $current == --*=* || $current == [a-zA-Z_]*=* ]] && prefix=${current%%=*}=
    (( mixed )) || compopt -o filenames 2>/dev/null # it would quote the colon of a sandbox, too
    while IFS= read -r candidate; do
      if (( mixed )); then
        printf -v quoted %q "$candidate"
        [[ -d $candidate ]] && quoted+=/
        candidate=$quoted
      fi
      COMPREPLY+=("$prefix$candidate")
    done < <(compgen -f -- "${current#"$prefix"}")
  fi
  # bash splits words at = and : and replaces only what follows the last of them.
  local break last=$current
  for break in = :; do
    [[ $COMP_WORDBREAKS == *$break* ]] && last=${last##*"$break"}
  done
  COMPREPLY=("${COMPREPLY[@]#"${current%"$last"}"}")
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:/] ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -F _luarium luarium
]==]

scripts.zsh = [==[
#compdef luarium
# zsh completion for luarium: eval "$(luarium completion zsh)", or a file _luarium in $fpath
_luarium() {
  local line word about
  local -a found joined
  local files=0
  while IFS= read -r line; do
    if [[ $line == :files ]]; then
      files=1
      continue
    fi
    word=${line%%$'\t'*} about=${line#*$'\t'}
    word=${word//:/\\:}
    if [[ $word == *[=/] || $word == *\\: ]]; then joined+=("$word:$about"); else found+=("$word:$about"); fi
  done < <("${words[1]/#\~\//$HOME/}" __complete -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
  (( ${#found} )) && _describe luarium found
  (( ${#joined} )) && _describe luarium joined -S ''
  (( files )) && { compset -P '[a-zA-Z_-]*='; _files; }
  return 0
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _luarium "$@"; else compdef _luarium luarium; fi
]==]

scripts.fish = [==[
# fish completion for luarium: luarium completion fish | source
function __luarium_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' $HOME/ -- $words[1])
    for line in ($program __complete -- $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (string replace -r '^[A-Za-z_-]+=' '' -- "$current")
        else
            echo $line
        end
    end
end
complete -c luarium -f -a '(__luarium_complete)'
]==]

return {
  summary = "print the completion script of a shell",
  about = "It completes commands, options, sandboxes, paths in them (BOX:PATH), providers, and the inputs that a\n"
    .. "script declares. It reads luarium.lua as every command does, and offers nothing when that takes more than 5\n"
    .. "seconds.",
  example = "eval \"$(luarium completion bash)\"       # in ~/.bashrc; zsh likewise\n"
    .. "luarium completion fish > ~/.config/fish/completions/luarium.fish",
  arguments = { { "shell", about = "bash, zsh or fish" } },
  run = function(args, context)
    local script = scripts[args.shell]
    if not script then
      local near = require("luarium.check").nearest(args.shell, { "bash", "zsh", "fish" })
      options.usage_error(("completion: expected bash, zsh or fish, got '%s'%s"):format(args.shell,
        near and (": did you mean '%s'?"):format(near) or ""), "luarium completion bash")
    end
    context:write(script)
  end,
}
