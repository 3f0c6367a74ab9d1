/* A server-like host: it sleeps in poll() on its own descriptors (here standard input) and
 * Luarium's. */
#define _POSIX_C_SOURCE 200809L
#include <lauxlib.h>
#include <luarium.h>
#include <lualib.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char script[] = "local luarium = require 'luarium'\n"
                             "io.stdout:setvbuf('line')\n"
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

/* Each line is a command for a sandbox of its own. */
static void handle(lua_State *L, const char *line, size_t length) {
  lua_getglobal(L, "handle");
  lua_pushlstring(L, line, length);
  lua_call(L, 1, 0);
}

struct input {
  char bytes[4096];
  size_t length; /* of the line that has not ended yet */
};

/* Takes what one read gives: a part of a line, or several. False at the end of input. */
static bool read_lines(lua_State *L, struct input *input) {
  if (input->length == sizeof input->bytes) {
    fprintf(stderr, "a line is longer than %zu bytes\n", sizeof input->bytes);
    return false;
  }
  ssize_t n = read(STDIN_FILENO, input->bytes + input->length, sizeof input->bytes - input->length);
  if (n <= 0) {
    if (input->length > 0) /* the last line has no end */
      handle(L, input->bytes, input->length);
    return false;
  }
  input->length += (size_t)n;
  char *line = input->bytes, *end;
  while ((end = memchr(line, '\n', input->length))) {
    handle(L, line, (size_t)(end - line));
    input->length -= (size_t)(end + 1 - line);
    line = end + 1;
  }
  memmove(input->bytes, line, input->length);
  return true;
}

int main(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  if (luaL_dostring(L, script))
    return fail(L);

  struct input input = {.length = 0};
  bool open = true;
  int tasks = 0, wakeups = 0;
  while (open || tasks > 0) {
    struct pollfd fds[] = {{luarium_fd(L), POLLIN, 0}, {open ? STDIN_FILENO : -1, POLLIN, 0}};
    double seconds = luarium_next_wakeup(L);
    poll(fds, 2, seconds < 0 ? -1 : (int)(seconds * 1000) + 1);
    if (fds[1].revents)
      open = read_lines(L, &input);
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
