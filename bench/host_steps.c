/* What a host pays for the library: opening it into a state, a step with nothing to do beside a
 * bare libuv loop, and steps while ten sandboxes are busy. Prints one JSON object.
 *
 * usage: host_steps FRAMES */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lualib.h>
#include <uv.h>

#include "luarium.h"

#define OPENINGS 21
#define IDLE_STEPS 100000
#define BUDGET 0.0005

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void run(lua_State *L, const char *text) {
  if (luaL_dostring(L, text)) {
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
    exit(1);
  }
  lua_settop(L, 0);
}

static lua_State *bare_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  return L;
}

/* Seconds of the median of several openings. */
static double opening(void) {
  double times[OPENINGS];
  for (int i = 0; i < OPENINGS; i++) {
    lua_State *L = bare_state();
    double before = now();
    luarium_open(L);
    run(L, "luarium = require 'luarium'");
    times[i] = now() - before;
    lua_close(L);
  }
  qsort(times, OPENINGS, sizeof *times, ascending);
  return times[OPENINGS / 2];
}

static double idle_steps(lua_State *L) {
  double before = now();
  for (int i = 0; i < IDLE_STEPS; i++)
    luarium_step(L, 0);
  return (now() - before) / IDLE_STEPS;
}

static double idle_loop(void) {
  uv_loop_t loop;
  uv_timer_t timer;
  uv_loop_init(&loop);
  uv_timer_init(&loop, &timer);
  double before = now();
  for (int i = 0; i < IDLE_STEPS; i++)
    uv_run(&loop, UV_RUN_NOWAIT);
  double each = (now() - before) / IDLE_STEPS;
  uv_close((uv_handle_t *)&timer, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return each;
}

static const char busy[] = "ready, ended = 0, 0\n"
                           "luarium.task.start(function()\n"
                           "  luarium.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, function()\n"
                           "    luarium.with({}, function(box)\n"
                           "      ready = ready + 1\n"
                           "      box:exec('while :; do seq 200; sleep 0.02; done')\n"
                           "    end)\n"
                           "  end)\n"
                           "end)\n";

static bool all_ready(lua_State *L) {
  lua_getglobal(L, "ready");
  bool ready = lua_tointeger(L, -1) == 10;
  lua_pop(L, 1);
  return ready;
}

/* Steps once a millisecond while ten sandboxes write; keeps how long each step took. */
static void busy_steps(lua_State *L, double *times, int frames) {
  const struct timespec frame = {0, 1000000};
  run(L, busy);
  while (!all_ready(L))
    luarium_step(L, 0.01);
  for (int i = 0; i < frames; i++) {
    nanosleep(&frame, NULL);
    double before = now();
    luarium_step(L, BUDGET);
    times[i] = now() - before;
  }
  qsort(times, (size_t)frames, sizeof *times, ascending);
}

int main(int argc, char **argv) {
  int frames = argc > 1 ? atoi(argv[1]) : 0;
  if (frames < 1) {
    fputs("usage: host_steps FRAMES\n", stderr);
    return 2;
  }
  double *times = calloc((size_t)frames, sizeof *times);
  if (!times)
    return 1;
  double open = opening();
  lua_State *L = bare_state();
  luarium_open(L);
  run(L, "luarium = require 'luarium'");
  double idle = idle_steps(L);
  busy_steps(L, times, frames);
  int left = luarium_close(L, 10);
  lua_close(L);
  printf("{\"open_ms\": %f, \"idle_us\": %f, \"loop_us\": %f, \"p50_ms\": %f, \"p99_ms\": %f, "
         "\"worst_ms\": %f, \"left\": %d}\n",
         open * 1e3, idle * 1e6, idle_loop() * 1e6, times[frames / 2] * 1e3,
         times[frames * 99 / 100] * 1e3, times[frames - 1] * 1e3, left);
  free(times);
  return 0;
}
