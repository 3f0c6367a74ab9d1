/* A game-like host: 60 frames a second while ten sandboxes work; how late the frames were is
 * printed. */
#define _POSIX_C_SOURCE 200809L
#include <lauxlib.h>
#include <luarium.h>
#include <lualib.h>
#include <stdio.h>
#include <time.h>

static const char script[] = "local luarium = require 'luarium'\n"
                             "return luarium.task.start(function()\n"
                             "  luarium.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function(i)\n"
                             "    luarium.with({ name = 'worker' .. i }, function(box)\n"
                             "      box:exec('for n in 1 2 3 4 5 6 7 8 9 10; do seq 1000; sleep "
                             "0.1; done', { check = true })\n"
                             "    end)\n"
                             "  end)\n"
                             "end)\n";

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(lua_State *L) {
  fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  lua_close(L);
  return 1;
}

int main(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luarium_open(L);
  if (luaL_dostring(L, script))
    return fail(L);

  const double frame = 1.0 / 60;
  double due = now() + frame, latest = 0, longest = 0;
  int frames = 0, tasks = 1;
  while (tasks > 0 && frames < 60 * 60) {
    double before = now();
    tasks = luarium_step(L, 0.002); /* this frame's share for the sandboxes */
    if (tasks < 0)
      return fail(L);
    double took = now() - before;
    longest = took > longest ? took : longest;

    /* update and draw the game here */
    struct timespec wait = {(time_t)due, (long)((due - (double)(time_t)due) * 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wait, NULL);
    double late = now() - due;
    latest = late > latest ? late : latest;
    due += frame;
    frames++;
  }
  printf("%d frames, step at most %.2f ms, a frame at most %.2f ms late\n", frames, longest * 1e3,
         latest * 1e3);
  luarium_close(L, 5);
  lua_close(L);
  return 0;
}
