/* luarium.native.process: running commands to their end, live processes, and sweeping up what they
 * left behind. A process userdata owns one reference; close and __gc end it and give the reference
 * back. */
#include "bind.h"
#include "core/exec.h"
#include "core/process.h"
#include "core/proctree.h"
#include "core/sweep.h"
#include "core/child.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define PROCESS_CLASS "luarium.process"
#define LIMITS_MAX 16
#define OUTPUT_DEFAULT (8 * 1024 * 1024)
#define OUTPUT_MAX (1024.0 * 1024 * 1024)
#define GRACE_DEFAULT_MS 100
/* Larger strings make malloc give the memory back and fault it in anew for each of them. */
#define READ_DEFAULT (128 * 1024)

struct process_box {
  struct lum_process *proc; /* NULL: never started or given back */
};

/* ---- options ---- */

static const char *const run_keys[] = {
    "argv",  "env",    "cwd", "stdin", "stdin_file", "timeout", "max_output",    "cookie",
    "grace", "limits", "pty", "cols",  "rows",       "merge",   "free_terminal", NULL,
};
static const char *const spawn_keys[] = {
    "argv",   "env", "cwd",  "stdin", "stdin_file", "timeout",       "cookie", "grace",
    "limits", "pty", "cols", "rows",  "merge",      "free_terminal", NULL,
};

static void check_keys(lua_State *L, int idx, const char *const *keys) {
  luaL_checktype(L, idx, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    lua_pop(L, 1);
    const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    const char *const *at = keys;
    while (key && *at && strcmp(*at, key) != 0)
      at++;
    if (!key || !*at)
      luaL_error(L, "unknown option '%s'", key ? key : luaL_typename(L, -1));
  }
}

/* The names of the limits are string constants of the core or keys the table keeps. */
static size_t read_limits(lua_State *L, int idx, struct lum_rlimit *limits) {
  size_t count = 0;
  lua_getfield(L, idx, "limits");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return 0;
  }
  if (!lua_istable(L, -1))
    luaL_error(L, "option 'limits': expected a table, got %s", luaL_typename(L, -1));
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    int resource = lum_rlimit_find(name);
    double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (resource < 0)
      luaL_error(L, "option 'limits': there is no limit '%s'", name);
    if (!(value >= 0) || (value != floor(value) && value != (double)INFINITY))
      luaL_error(L, "option 'limits': %s: expected a whole number from 0, or math.huge for none",
                 name);
    if (count == LIMITS_MAX)
      luaL_error(L, "option 'limits': too many");
    limits[count++] =
        (struct lum_rlimit){name, resource, value < 9e18 ? (uint64_t)value : UINT64_MAX};
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return count;
}

/* Cookies must be what an environment can hold. */
static const char *check_cookie(lua_State *L, const char *cookie) {
  const char *eq = cookie ? strchr(cookie, '=') : NULL;
  if (cookie && (!eq || eq == cookie))
    luaL_error(L, "cookie: expected \"NAME=value\"");
  return cookie;
}

static unsigned short opt_cells(lua_State *L, int idx, const char *key, int64_t def) {
  return (unsigned short)lum_opt_int(L, idx, key, def, 1, 65535);
}

/* Leaves argv and env on the stack. [-0, +2, e] */
static void read_spawn_opts(lua_State *L, int idx, struct lum_spawn_opts *spawn,
                            struct lum_rlimit *limits) {
  size_t count;
  spawn->argv = lum_opt_strings(L, idx, "argv", &count);
  if (count == 0)
    luaL_error(L, "option 'argv': expected a list with the program and its arguments");
  spawn->env = lum_opt_strings(L, idx, "env", &count);
  spawn->cwd = lum_opt_cstr(L, idx, "cwd", NULL);
  spawn->cookie = check_cookie(L, lum_opt_cstr(L, idx, "cookie", NULL));
  spawn->stdin_file = lum_opt_cstr(L, idx, "stdin_file", NULL);
  spawn->in = spawn->stdin_file ? LUM_STDIN_FILE : LUM_STDIN_NULL;
  spawn->pty = lum_opt_bool(L, idx, "pty", false);
  spawn->free_terminal = lum_opt_bool(L, idx, "free_terminal", false);
  spawn->merge = lum_opt_bool(L, idx, "merge", false);
  spawn->cols = opt_cells(L, idx, "cols", 80);
  spawn->rows = opt_cells(L, idx, "rows", 24);
  spawn->limits = limits;
  spawn->limit_count = read_limits(L, idx, limits);
  if (spawn->pty && spawn->stdin_file)
    luaL_error(L, "option 'stdin_file': not with pty, where the terminal is the input");
}

/* False, and ms left alone, when the option is absent or math.huge. */
static bool opt_ms(lua_State *L, int idx, const char *key, uint64_t *ms) {
  double seconds = lum_opt_number(L, idx, key, (double)INFINITY);
  if (seconds == (double)INFINITY)
    return false;
  *ms = lum_bind_ms(L, seconds, key);
  return true;
}

/* ---- signals ---- */

static void push_signal(lua_State *L, int sig) {
  const char *name = sigabbrev_np(sig);
  if (name)
    lua_pushfstring(L, "SIG%s", name);
  else
    lua_pushfstring(L, "SIG%d", sig);
}

static int check_signal(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TNUMBER) {
    lua_Number sig = lua_tonumber(L, arg);
    luaL_argcheck(L, sig >= 1 && sig < NSIG && sig == floor(sig), arg, "no such signal");
    return (int)sig;
  }
  const char *name = luaL_optstring(L, arg, "KILL");
  if (strncmp(name, "SIG", 3) == 0)
    name += 3;
  for (int sig = 1; sig < NSIG; sig++) {
    const char *known = sigabbrev_np(sig);
    if (known && strcmp(known, name) == 0)
      return sig;
  }
  return luaL_argerror(L, arg, "no such signal");
}

/* ---- run ---- */

static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_count(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void set_bool(lua_State *L, const char *key, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

static void set_status(lua_State *L, int exit_code, int signal, double duration, bool timed_out) {
  if (exit_code >= 0)
    set_count(L, "exit_code", (uint64_t)exit_code);
  if (signal != 0) {
    push_signal(L, signal);
    lua_setfield(L, -2, "signal");
  }
  set_number(L, "duration", duration);
  set_bool(L, "timed_out", timed_out);
}

static void set_capture(lua_State *L, const char *name, struct lum_capture *cap) {
  char key[32];
  size_t len;
  const char *bytes = lum_capture_bytes(cap, &len);
  lua_pushlstring(L, bytes, len);
  lua_setfield(L, -2, name);
  snprintf(key, sizeof key, "%s_bytes", name);
  set_count(L, key, cap->total);
  if (lum_capture_cut(cap)) {
    snprintf(key, sizeof key, "%s_cut", name);
    set_count(L, key, cap->front);
  }
}

static int push_run(lua_State *L, struct lum_op *op) {
  struct lum_exec_result *result = lum_exec_result(op);
  if (result->taken)
    return luaL_error(L, "process.run: the result was taken already");
  lua_createtable(L, 0, 12);
  set_status(L, result->exit_code, result->signal, result->duration, result->timed_out);
  set_capture(L, "stdout", &result->out);
  set_capture(L, "stderr", &result->err);
  set_bool(L, "truncated", lum_capture_cut(&result->out) || lum_capture_cut(&result->err));
  set_bool(L, "held_open", result->held_open);
  lum_exec_release(op); /* the collector does not see how much it holds */
  return 1;
}

static int process_run(lua_State *L) {
  check_keys(L, 1, run_keys);
  lua_settop(L, 1);
  struct lum_rlimit limits[LIMITS_MAX];
  struct lum_exec_opts opts = {.grace_ms = GRACE_DEFAULT_MS};
  read_spawn_opts(L, 1, &opts.spawn, limits);
  opts.input = lum_opt_bytes(L, 1, "stdin", &opts.input_len);
  if (opts.input && opts.spawn.stdin_file)
    return luaL_error(L, "option 'stdin': not together with stdin_file");
  opts.has_timeout = opt_ms(L, 1, "timeout", &opts.timeout_ms);
  opt_ms(L, 1, "grace", &opts.grace_ms);
  opts.max_output = (size_t)lum_opt_int(L, 1, "max_output", OUTPUT_DEFAULT, 0, (int64_t)OUTPUT_MAX);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_run);
  struct lum_err err;
  return lum_bind_op(L, box, lum_exec_start(eng, &opts, &err), &err);
}

/* ---- live processes ---- */

static struct process_box *check_box(lua_State *L, int arg) {
  return luaL_checkudata(L, arg, PROCESS_CLASS);
}

static struct lum_process *check_process(lua_State *L, int arg) {
  struct lum_process *proc = check_box(L, arg)->proc;
  luaL_argcheck(L, proc != NULL, arg, "the process was never started");
  return proc;
}

static int push_read(lua_State *L, struct lum_op *op) {
  const char *bytes;
  size_t len;
  int which = lum_process_read_result(op, &bytes, &len);
  if (which == 0) {
    lua_pushnil(L);
    return 1;
  }
  lum_bind_push_chunk(L, which, bytes, len);
  lum_process_read_release(op); /* the collector does not see how much it holds */
  return 2;
}

static int proc_read(lua_State *L) {
  struct lum_process *proc = check_process(L, 1);
  lua_Number max = luaL_optnumber(L, 2, READ_DEFAULT);
  luaL_argcheck(L, max >= 1, 2, "expected a number of bytes from 1");
  struct lum_op_box *box = lum_bind_box(L, push_read);
  struct lum_err err;
  return lum_bind_op(
      L, box, lum_process_read(proc, max < READ_DEFAULT ? (size_t)max : READ_DEFAULT, &err), &err);
}

static int proc_write(lua_State *L) {
  struct lum_process *proc = check_process(L, 1);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_process_write(proc, bytes, len, &err), &err);
}

static int push_wait(lua_State *L, struct lum_op *op) {
  const struct lum_process_status *status = lum_process_wait_result(op);
  lua_createtable(L, 0, 4);
  set_status(L, status->exit_code, status->signal, status->duration, status->timed_out);
  return 1;
}

static int proc_wait(lua_State *L) {
  struct lum_process *proc = check_process(L, 1);
  struct lum_op_box *box = lum_bind_box(L, push_wait);
  struct lum_err err;
  return lum_bind_op(L, box, lum_process_wait(proc, &err), &err);
}

static int proc_close_stdin(lua_State *L) {
  lum_process_close_stdin(check_process(L, 1));
  return 0;
}

static int push_outcome(lua_State *L, bool ok, const struct lum_err *err) {
  if (!ok)
    return lum_bind_fail(L, err);
  lua_pushboolean(L, 1);
  return 1;
}

static int proc_kill(lua_State *L) {
  struct lum_process *proc = check_process(L, 1);
  int sig = check_signal(L, 2);
  struct lum_err err;
  return push_outcome(L, lum_process_kill(proc, sig, &err), &err);
}

static int proc_resize(lua_State *L) {
  struct lum_process *proc = check_process(L, 1);
  unsigned short cols, rows;
  lum_bind_check_size(L, 2, &cols, &rows);
  struct lum_err err;
  return push_outcome(L, lum_process_resize(proc, cols, rows, &err), &err);
}

static int proc_pid(lua_State *L) {
  pid_t pid = lum_process_pid(check_process(L, 1));
  if (pid > 0)
    lua_pushinteger(L, pid);
  else
    lua_pushnil(L);
  return 1;
}

static int proc_close(lua_State *L) {
  struct process_box *box = check_box(L, 1);
  if (box->proc)
    lum_process_close(box->proc);
  return 0;
}

static int proc_mt_gc(lua_State *L) {
  struct process_box *box = check_box(L, 1);
  struct lum_process *proc = box->proc;
  box->proc = NULL;
  if (proc) {
    lum_process_close(proc);
    lum_process_unref(proc);
  }
  return 0;
}

static int proc_mt_tostring(lua_State *L) {
  struct process_box *box = check_box(L, 1);
  if (box->proc)
    lua_pushfstring(L, "process %d%s", (int)lum_process_pid(box->proc),
                    lum_process_closed(box->proc) ? " (closed)" : "");
  else
    lua_pushliteral(L, "process (never started)");
  return 1;
}

static const luaL_Reg proc_methods[] = {
    {"read", proc_read}, {"write", proc_write},   {"close_stdin", proc_close_stdin},
    {"wait", proc_wait}, {"resize", proc_resize}, {"pid", proc_pid},
    {NULL, NULL},
};

static const luaL_Reg proc_endings[] = {
    {"kill", proc_kill},     {"close", proc_close}, {"__gc", proc_mt_gc},
    {"__close", proc_close}, {NULL, NULL},
};

static const luaL_Reg proc_looks[] = {{"__tostring", proc_mt_tostring}, {NULL, NULL}};
static const struct lum_class proc_class = {PROCESS_CLASS, proc_methods, proc_endings, proc_looks};

/* The bytes to write, or NULL; a pipe unless there is a file, or `false` for no input at all. */
static const char *read_spawn_input(lua_State *L, struct lum_spawn_opts *spawn, size_t *len) {
  *len = 0;
  lua_getfield(L, 1, "stdin");
  bool given = !lua_isnil(L, -1), none = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (given && spawn->stdin_file)
    luaL_error(L, "option 'stdin': not together with stdin_file");
  if (none || spawn->stdin_file)
    return NULL;
  spawn->in = LUM_STDIN_PIPE;
  return lum_opt_bytes(L, 1, "stdin", len);
}

static void write_all(struct lum_process *proc, const char *input, size_t len) {
  struct lum_err err;
  struct lum_op *op = lum_process_write(proc, input, len, &err);
  lum_process_close_stdin(proc);
  if (op)
    lum_op_unref(op); /* nobody waits for it */
}

static int process_spawn(lua_State *L) {
  check_keys(L, 1, spawn_keys);
  lua_settop(L, 1);
  struct lum_rlimit limits[LIMITS_MAX];
  struct lum_process_opts opts = {.grace_ms = GRACE_DEFAULT_MS};
  read_spawn_opts(L, 1, &opts.spawn, limits);
  size_t input_len;
  const char *input = read_spawn_input(L, &opts.spawn, &input_len);
  opts.has_timeout = opt_ms(L, 1, "timeout", &opts.timeout_ms);
  opt_ms(L, 1, "grace", &opts.grace_ms);
  struct lum_engine *eng = lum_bind_engine(L);
  struct process_box *box = lum_bind_object(L, &proc_class, sizeof *box);
  struct lum_err err;
  box->proc = lum_process_start(eng, &opts, &err);
  if (!box->proc)
    return lum_bind_fail(L, &err);
  if (input)
    write_all(box->proc, input, input_len);
  return 1;
}

/* ---- what was left behind ---- */

static int push_sweep(lua_State *L, struct lum_op *op) {
  lua_pushinteger(L, (lua_Integer)lum_sweep_killed(op));
  return 1;
}

static int process_sweep(lua_State *L) {
  const char *cookie = check_cookie(L, lum_bind_check_cstr(L, 1));
  struct lum_sweeper *sweeper = lum_procs_sweeper(lum_bind_engine(L));
  struct lum_op_box *box = lum_bind_box(L, push_sweep);
  return lum_bind_started(L, box, sweeper ? lum_sweep_start(sweeper, cookie) : NULL);
}

static int push_find(lua_State *L, struct lum_op *op) {
  size_t count;
  const struct lum_pstat *found = lum_find_result(op, &count);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 0, 4);
    set_count(L, "pid", (uint64_t)found[i].pid);
    set_count(L, "ppid", (uint64_t)found[i].ppid);
    lua_pushstring(L, found[i].comm);
    lua_setfield(L, -2, "comm");
    lua_pushlstring(L, &found[i].state, 1);
    lua_setfield(L, -2, "state");
    lua_rawseti(L, -2, (int)(i + 1));
  }
  return 1;
}

static int process_find(lua_State *L) {
  const char *cookie = check_cookie(L, lum_bind_check_cstr(L, 1));
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_find);
  return lum_bind_started(L, box, lum_find_start(eng, cookie));
}

static const luaL_Reg functions[] = {
    {"run", process_run},
    {"spawn", process_spawn},
    {"sweep", process_sweep},
    {"find", process_find},
    {NULL, NULL},
};

int lum_open_process(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
