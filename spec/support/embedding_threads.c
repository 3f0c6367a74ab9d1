/* A host with many threads, a state in each: some states are made in the main thread and used in
 * another; some are closed cleanly, some only by lua_close.
 *
 * embedding_threads COUNT: each works with five sandboxes and with the server at $URL. */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>

#include "luarium.h"

#define THREADS_MAX 64

static const char script[] =
    "local id = ...\n"
    "local luarium, http = require 'luarium', require 'luarium.http'\n"
    "work = luarium.task.start(luarium.map, { 1, 2, 3, 4, 5 }, function(item)\n"
    "  luarium.with({}, function(box)\n"
    "    local name = id .. '-' .. item\n"
    "    assert(box:exec({ 'cat' }, { stdin = name }).stdout == name)\n"
    "    assert(box:exec('sleep 1000', { timeout = 0.05 }).timed_out)\n"
    "    box:write_file('file', name:rep(50000))\n"
    "    assert(box:read_file('file') == name:rep(50000))\n"
    "    assert(assert(http.request({ url = os.getenv 'URL', timeout = 30 })).body == 'hello\\n')\n"
    "    local process = box:spawn('cat')\n"
    "    process:write(name) process:close_stdin()\n"
    "    assert(process:read() == name)\n"
    "    process:close()\n"
    "  end)\n"
    "end)\n";

struct worker {
  pthread_t thread;
  lua_State *L;
  int id;
  bool failed;
};

static lua_State *make_state(int id) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  if (luaL_loadstring(L, script) == LUA_OK) {
    lua_pushinteger(L, id);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
      return L;
  }
  fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  exit(1);
}

static void *work(void *arg) {
  struct worker *self = arg;
  const struct timespec frame = {0, 1000000};
  if (!self->L)
    self->L = make_state(self->id);
  int live;
  while ((live = luarium_step(self->L, 0.01)) > 0)
    nanosleep(&frame, NULL);
  self->failed = live < 0 || luaL_dostring(self->L, "assert(work:result())") != LUA_OK;
  if (self->failed)
    fprintf(stderr, "%d: %s\n", self->id, luaL_tolstring(self->L, -1, NULL));
  if (self->id % 2 == 0 && luarium_close(self->L, 10) != 0)
    self->failed = true;
  lua_close(self->L);
  return NULL;
}

int main(int argc, char **argv) {
  static struct worker workers[THREADS_MAX];
  int count = argc == 2 ? atoi(argv[1]) : 0, failed = 0;
  if (count < 1 || count > THREADS_MAX)
    return 2;
  for (int i = 0; i < count; i++) {
    workers[i].id = i;
    if (i % 3 == 0)
      workers[i].L = make_state(i);
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
      return 1;
  }
  for (int i = 0; i < count; i++) {
    pthread_join(workers[i].thread, NULL);
    failed += workers[i].failed;
  }
  printf("%d of %d failed\n", failed, count);
  return failed > 0;
}
