/* A host whose memory runs short: its allocator fails now and then, in runs, while the tasks of a
 * script work; then there is enough again, and everything must come to its end.
 *
 * embedding_memory FILE EVERY RUN ROUNDS WHEN: from the beginning (WHEN is "early"; what fails is
 * done again) or from the moment the script has been loaded ("late"), every EVERYth request for
 * memory begins a run of RUN failures; the script's function `round` is called in each of ROUNDS
 * steps. Afterwards its function `report` says what has become of the tasks. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>

#include "luarium.h"

#define LOAD_TRIES 1000
#define END_STEPS 20000 /* of a millisecond */

static const char round_name[] = "round", report_name[] = "report";

static struct {
  size_t in_use;
  long every, run, until_run, left_in_run, failures;
  bool scarce;
} memory;

static bool fails(void) {
  if (!memory.scarce)
    return false;
  if (memory.left_in_run == 0 && --memory.until_run <= 0) {
    memory.left_in_run = memory.run;
    memory.until_run = memory.every;
  }
  if (memory.left_in_run == 0)
    return false;
  memory.left_in_run--;
  memory.failures++;
  return true;
}

static void *allocate(void *arg, void *block, size_t old_size, size_t size) {
  (void)arg;
  old_size = block ? old_size : 0;
  if (size == 0) {
    memory.in_use -= old_size;
    free(block);
    return NULL;
  }
  if (size > old_size && fails())
    return NULL;
  void *moved = realloc(block, size);
  if (moved)
    memory.in_use += size - old_size;
  return moved;
}

/* Calls a global function; errors are what a host with little memory has to live with. */
static void call(lua_State *L, const char *name) {
  int top = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, name);
  lua_pcall(L, 0, 0, 0);
  lua_settop(L, top);
}

static void keep(lua_State *L, const char *name) {
  lua_getglobal(L, name);
  lua_rawsetp(L, LUA_REGISTRYINDEX, name);
}

/* load(path) */
static int load(lua_State *L) {
  luaL_openlibs(L);
  luarium_open(L);
  if (luaL_loadfile(L, lua_touserdata(L, 1)) != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 0);
  keep(L, round_name);
  keep(L, report_name);
  return 0;
}

static bool load_script(lua_State *L, char *path) {
  for (int i = 0; i < LOAD_TRIES; i++) {
    lua_settop(L, 0);
    lua_pushcfunction(L, load);
    lua_pushlightuserdata(L, path);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
      return true;
    if (!memory.scarce)
      break;
  }
  fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  return false;
}

static int step(lua_State *L) {
  const struct timespec pause = {0, 1000000};
  nanosleep(&pause, NULL);
  int top = lua_gettop(L), live = luarium_step(L, 0);
  lua_settop(L, top);
  return live;
}

int main(int argc, char **argv) {
  if (argc != 6)
    return 2;
  memory.every = memory.until_run = atol(argv[2]);
  memory.run = atol(argv[3]);
  memory.scarce = strcmp(argv[5], "early") == 0;
  lua_State *L = NULL;
  while (!L)
    L = lua_newstate(allocate, NULL);
  if (!load_script(L, argv[1]))
    return 1;
  memory.scarce = true;
  for (long rounds = atol(argv[4]); rounds > 0; rounds--) {
    call(L, round_name);
    step(L);
  }
  memory.scarce = false;
  int live = 0;
  for (int i = 0; i < END_STEPS && (live = step(L)) != 0; i++)
    ;
  printf("failures: %ld\n", memory.failures);
  printf("live: %d\n", live);
  fflush(stdout);
  call(L, report_name);
  fflush(stdout);
  int left = luarium_close(L, 10);
  printf("left: %d%s\n", left, left == -1 ? lua_tostring(L, -1) : "");
  lua_close(L);
  printf("memory: %zu\n", memory.in_use);
  return 0;
}
