/* A host that forks while its state is at work: commands, a timer, a file that is being written, a
 * lock. The child tries to use and closes what it has got, then opens a state of its own; the
 * parent's goes on. It tells what happens, a line each. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "luarium.h"

static const char at_work[] =
    "luarium = require 'luarium'\n"
    "local native = require 'luarium.native'\n"
    "box = luarium.create()\n"
    "process = box:spawn('read x; echo got $x')\n"
    "lock = assert(native.fs.trylock(os.getenv('LUARIUM_STATE_DIR') .. '/l'))\n"
    "writer = assert(luarium.task.await(native.fs.writer(os.getenv('LUARIUM_STATE_DIR') .. "
    "'/f')))\n"
    "work = luarium.task.start(function()\n"
    "  return box:exec('until [ -e go ]; do sleep 0.05; done; echo done').stdout\n"
    "end)\n"
    "ready = luarium.task.start(print, 'ready in process ' .. 1)\n";

static lua_State *make_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  return L;
}

static void run(lua_State *L, const char *text) {
  if (luaL_dostring(L, text)) {
    printf("error: %s\n", luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
  }
}

static void child(lua_State *L) {
  printf("step %d\n", luarium_step(L, 0.1));
  printf("%s\n", lua_tostring(L, -1));
  printf("fd %d\n", luarium_fd(L));
  printf("wakeup %g\n", luarium_next_wakeup(L));
  run(L, "box:exec('true')");
  run(L, "luarium.sleep(0)");
  run(L, "print(pcall(luarium.task.shutdown, 1))");
  printf("close %d\n", luarium_close(L, 1));
  lua_close(L);
  L = make_state();
  run(L, "local luarium = require 'luarium'\n"
         "luarium.with({}, function(box) print('child: ' .. box:exec('echo mine').stdout) end)");
  printf("close %d\n", luarium_close(L, 5));
  lua_close(L);
  fflush(stdout);
  _exit(0);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  lua_State *L = make_state();
  run(L, at_work);
  for (int i = 0; i < 5; i++)
    luarium_step(L, 0.01);
  run(L, "again = luarium.task.start(print, 'only in the parent')");
  pid_t pid = fork();
  if (pid == 0)
    child(L);
  int status = -1;
  waitpid(pid, &status, 0);
  printf("the child ended with %d\n", status);
  run(L, "box:write_file('go', '') process:write('here\\n')"
         "print((process:read())) print((work:wait()))");
  run(L, "luarium.task.await(writer:write('kept')) print(luarium.task.await(writer:close()))");
  run(L, "box:destroy()");
  printf("close %d\n", luarium_close(L, 10));
  lua_close(L);
  return 0;
}
