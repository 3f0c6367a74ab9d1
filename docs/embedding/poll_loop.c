/* A server-like host: it sleeps in poll() on its own descriptors (here standard input) and
 * Luarium's. */
#define _POSIX_C_SOURCE 200809L
#include <lauxlib.h>
#include <luarium.h>
#include <lualib.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static const char script[] = "local luarium = require 'luarium'\n"
                             "function handle(line)\n"
                             "  luarium.task.start(function()\n"
                             "    local result = luarium.with({}, function(box) return "
                             "box:exec(line, { timeout = 60 }) end)\n"
                             "    print(line .. ' -> ' .. (result.stdout:match('[^\\n]*')))\n"
                             "  end)\n"
                             "end\n";

static int fail(lua_State *L) {
  fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  lua_close(L);
  return 1;
}

/* What is typed is a command for a sandbox of its own. */
static bool read_line(lua_State *L) {
  char line[1024];
  ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
  if (n <= 0)
    return false;
  lua_getglobal(L, "handle");
  lua_pushlstring(L, line, (size_t)(line[n - 1] == '\n' ? n - 1 : n));
  lua_call(L, 1, 0);
  return true;
}

int main(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  if (luaL_dostring(L, script))
    return fail(L);

  bool open = true;
  int tasks = 0, wakeups = 0;
  while (open || tasks > 0) {
    struct pollfd fds[] = {{luarium_fd(L), POLLIN, 0}, {open ? STDIN_FILENO : -1, POLLIN, 0}};
    double seconds = luarium_next_wakeup(L);
    poll(fds, 2, seconds < 0 ? -1 : (int)(seconds * 1000) + 1);
    if (fds[1].revents)
      open = read_line(L);
    tasks = luarium_step(L, 0.01);
    if (tasks < 0)
      return fail(L);
    wakeups++;
  }
  fprintf(stderr, "%d wake-ups\n", wakeups);
  luarium_close(L, 5);
  lua_close(L);
  return 0;
}
