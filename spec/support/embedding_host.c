/* A foreign host: two Lua states of its own, a frame loop that steps, and a state that is closed
 * with work in flight. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>

#include "luarium.h"

static lua_State *make_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  luarium_open(L);
  return L;
}

static void run(lua_State *L, const char *text) {
  if (luaL_dostring(L, text)) {
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
    exit(1);
  }
}

static int frames_until_done(lua_State *L) {
  int frames = 0;
  const struct timespec frame = {0, 2000000};
  for (int done = 0; !done && frames < 5000; frames++) {
    nanosleep(&frame, NULL); /* what a host does otherwise */
    run(L, "luarium.task.step(0.001) return finished");
    done = lua_toboolean(L, -1);
    lua_settop(L, 0);
  }
  return frames;
}

int main(void) {
  struct sigaction before, after;
  sigaction(SIGCHLD, NULL, &before);
  lua_State *one = make_state(), *two = make_state();
  run(one, "luarium = require 'luarium' print(luarium.with({}, function(box) return box:exec('echo "
           "one').stdout end))");
  run(two, "luarium = require 'luarium'"
           " luarium.task.spawn_detached('work', function()"
           " luarium.with({}, function(box) result = box:exec('sleep 0.2; echo two').stdout end) "
           "finished = true end)");
  int frames = frames_until_done(two);
  run(two, "print(result)");
  printf("%s\n", frames > 10 ? "many frames" : "few frames");
  run(one, "local box = luarium.create() print(box.external_id)"
           " luarium.task.spawn_detached('forgotten', function() box:exec('sleep 1000') end)"
           " for _ = 1, 5 do luarium.task.step(0.01) end");
  fflush(stdout);
  lua_close(one);
  lua_close(two);
  sigaction(SIGCHLD, NULL, &after);
  puts(before.sa_handler == after.sa_handler ? "closed" : "a signal handler was changed");
  return 0;
}
