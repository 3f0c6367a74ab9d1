/* A foreign host: Lua states of its own with an allocator of its own, a frame loop that steps, a
 * clean close with work in flight, and a state that is closed without one. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>

#include "luarium.h"

static size_t in_use;

static void *count_memory(void *arg, void *block, size_t old_size, size_t size) {
  (void)arg;
  in_use -= block ? old_size : 0;
  in_use += size;
  if (size > 0)
    return realloc(block, size);
  free(block);
  return NULL;
}

static lua_State *make_state(void) {
  lua_State *L = lua_newstate(count_memory, NULL);
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
    done = luarium_step(L, 0.001) == 0;
  }
  return frames;
}

/* Sandboxes of tasks are destroyed before the state goes. */
static void close_cleanly(void) {
  lua_State *L = make_state();
  run(L, "luarium = require 'luarium'"
         " for _ = 1, 3 do luarium.task.start(luarium.with, {}, function(box) box:exec('sleep "
         "1000') end) end");
  for (int i = 0; i < 20; i++)
    luarium_step(L, 0.005);
  printf("closed cleanly: %d left\n", luarium_close(L, 20));
  if (luarium_close(L, 1) != 0 || luarium_step(L, 0) != -1)
    puts("a second close, or a step after it, is not what the header says");
  lua_close(L);
}

int main(void) {
  struct sigaction before, after;
  sigaction(SIGCHLD, NULL, &before);
  lua_State *one = make_state(), *two = make_state();
  setvbuf(stdout, NULL, _IOLBF, 0); /* in the order of what Lua prints */
  printf("nothing loaded: %d\n", luarium_step(one, 0));
  run(one, "luarium = require 'luarium' print(luarium.with({}, function(box) return box:exec('echo "
           "one').stdout end))");
  run(two, "luarium = require 'luarium'"
           " luarium.task.spawn_detached('work', function()"
           " luarium.with({}, function(box) result = box:exec('sleep 0.2; echo two').stdout end) "
           "finished = true end)");
  int frames = frames_until_done(two);
  run(two, "print(result)");
  printf("%s\n", frames > 10 ? "many frames" : "few frames");
  close_cleanly();
  run(one, "local box = luarium.create() print(box.external_id)"
           " luarium.task.spawn_detached('forgotten', function() box:exec('sleep 1000') end)"
           " for _ = 1, 5 do luarium.task.step(0.01) end");
  fflush(stdout);
  lua_close(one);
  if (luarium_step(two, -1) == -1)
    printf("error: %s\n", lua_tostring(two, -1));
  lua_close(two);
  printf("memory: %zu\n", in_use);
  sigaction(SIGCHLD, NULL, &after);
  puts(before.sa_handler == after.sa_handler ? "closed" : "a signal handler was changed");
  return 0;
}
