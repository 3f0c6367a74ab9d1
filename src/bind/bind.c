#include "bind.h"
#include "core/worker.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define OP_CLASS "luarium.op"
#define ENGINE_CLASS "luarium.engine"

static const char engine_key = 0;

struct engine_box {
  struct lum_engine *eng;
  struct lum_guard guard;
};

static int engine_mt_gc(lua_State *L) {
  struct engine_box *box = luaL_checkudata(L, 1, ENGINE_CLASS);
  struct lum_engine *eng = box->eng;
  if (!eng || lum_engine_inherited(eng))
    return 0; /* it goes with the process */
  box->eng = NULL;
  lum_engine_free(eng);
  return 0;
}

static const luaL_Reg engine_functions[] = {{"__gc", engine_mt_gc}, {NULL, NULL}};
static const struct lum_class engine_class = {ENGINE_CLASS, NULL, NULL, engine_functions};

/* The state's box, or NULL as long as there is none. [-0, +0, -] */
static struct engine_box *find_box(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &engine_key);
  struct engine_box *box = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return box;
}

/* Pushes an empty box, which the caller puts into the registry. [-0, +1, e] */
static struct engine_box *new_box(lua_State *L) {
  return lum_bind_object(L, &engine_class, sizeof(struct engine_box));
}

static void raise_err(lua_State *L, const struct lum_err *err) {
  lum_bind_push_err(L, err);
  lua_error(L);
}

static bool is_inherited(const struct engine_box *box) {
  return box && box->eng && lum_engine_inherited(box->eng);
}

static void check_process(lua_State *L, const struct engine_box *box) {
  struct lum_err err;
  if (!is_inherited(box))
    return;
  lum_err_set(&err, LUM_CONFLICT,
              "luarium: this process is a fork of the one that this Lua state belongs to: make a "
              "new state after the fork");
  raise_err(L, &err);
}

void lum_bind_check_process(lua_State *L) {
  check_process(L, find_box(L));
}

static struct engine_box *engine_box(lua_State *L) {
  struct engine_box *box = find_box(L);
  struct lum_err err;
  check_process(L, box);
  if (box && !box->eng) {
    lum_err_set(&err, LUM_CONFLICT, "luarium was closed in this Lua state: use a new state");
    raise_err(L, &err);
  }
  if (box)
    return box;
  box = new_box(L);
  box->eng = lum_engine_new(&err);
  if (!box->eng)
    raise_err(L, &err);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
  return box;
}

bool lum_bind_closed(lua_State *L) {
  struct engine_box *box = find_box(L);
  return box && !box->eng;
}

void lum_bind_close(lua_State *L) {
  struct engine_box *box = find_box(L);
  if (!box) { /* what asks for an engine later is refused all the same */
    box = new_box(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &engine_key);
  }
  struct lum_engine *eng = box->eng;
  box->eng = NULL;
  if (eng)
    lum_engine_free(eng);
}

/* ---- classes ---- */

static int refused_in_fork(lua_State *L) {
  if (lum_engine_forked())
    lum_bind_check_process(L);
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int nothing_in_fork(lua_State *L) {
  if (lum_engine_forked() && is_inherited(find_box(L)))
    return 0;
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* Puts functions, behind a guard if there is one, into the table of methods, which is on top, and
 * the metatable below it. [-0, +0, m] */
static void set_functions(lua_State *L, const luaL_Reg *functions, lua_CFunction guard) {
  for (; functions && functions->name; functions++) {
    lua_pushcfunction(L, functions->func);
    if (guard)
      lua_pushcclosure(L, guard, 1);
    lua_setfield(L, strncmp(functions->name, "__", 2) == 0 ? -3 : -2, functions->name);
  }
}

static void make_class(lua_State *L, const struct lum_class *class) {
  lua_newtable(L);
  lua_pushstring(L, class->name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_newtable(L);
  set_functions(L, class->methods, refused_in_fork);
  set_functions(L, class->endings, nothing_in_fork);
  set_functions(L, class->anywhere, NULL);
  lua_setfield(L, -2, "__index");
  lua_setfield(L, LUA_REGISTRYINDEX,
               class->name); /* last: a class that memory was short for is not there */
}

void *lum_bind_object(lua_State *L, const struct lum_class *class, size_t size) {
  luaL_getmetatable(L, class->name);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    make_class(L, class);
    luaL_getmetatable(L, class->name);
  }
  void *object = lua_newuserdata(L, size);
  memset(object, 0, size);
  lua_insert(L, -2);
  lua_setmetatable(L, -2);
  return object;
}

struct lum_engine *lum_bind_engine(lua_State *L) {
  return engine_box(L)->eng;
}

struct lum_guard *lum_bind_guard(lua_State *L) {
  return &engine_box(L)->guard;
}

void lum_bind_push_err(lua_State *L, const struct lum_err *err) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, lum_kind_name(err->kind));
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, err->msg);
  lua_setfield(L, -2, "message");
  if (err->code != 0) {
    lua_pushinteger(L, err->code);
    lua_setfield(L, -2, "code");
  }
  if (err->name[0] != '\0') {
    lua_pushstring(L, err->name);
    lua_setfield(L, -2, "name");
  }
  lua_pushboolean(L, err->retryable);
  lua_setfield(L, -2, "retryable");
  luaL_getmetatable(L, LUM_ERROR_MT); /* set by luarium.error; nil before it is loaded */
  if (lua_istable(L, -1))
    lua_setmetatable(L, -2);
  else
    lua_pop(L, 1);
}

int lum_bind_fail(lua_State *L, const struct lum_err *err) {
  lua_pushnil(L);
  lum_bind_push_err(L, err);
  return 2;
}

const char *lum_bind_check_cstr(lua_State *L, int arg) {
  size_t len;
  const char *s = luaL_checklstring(L, arg, &len);
  luaL_argcheck(L, strlen(s) == len, arg, "the text contains a NUL byte");
  return s;
}

/* ---- boxed operations ---- */

static struct lum_op_box *check_box(lua_State *L, int arg) {
  struct lum_op_box *box = luaL_checkudata(L, arg, OP_CLASS);
  luaL_argcheck(L, box->op != NULL, arg, "the operation was never started");
  return box;
}

struct lum_op *lum_bind_check_op(lua_State *L, int arg) {
  return check_box(L, arg)->op;
}

static int op_done(lua_State *L) {
  lua_pushboolean(L, check_box(L, 1)->op->done);
  return 1;
}

static int op_id(lua_State *L) {
  lua_pushnumber(L, (lua_Number)check_box(L, 1)->op->id);
  return 1;
}

static int op_name(lua_State *L) {
  lua_pushstring(L, check_box(L, 1)->op->type->name);
  return 1;
}

static int op_cancel(lua_State *L) {
  lum_op_cancel(check_box(L, 1)->op);
  return 0;
}

/* op:progress() -> done, total (0 while unknown), in bytes or items; nothing for operations that do
 * not count. */
static int op_progress(lua_State *L) {
  struct lum_work *work = lum_work_of(check_box(L, 1)->op);
  if (!work)
    return 0;
  lua_pushnumber(L, (lua_Number)atomic_load(&work->progress));
  lua_pushnumber(L, (lua_Number)atomic_load(&work->total));
  return 2;
}

static int op_result(lua_State *L) {
  struct lum_op_box *box = check_box(L, 1);
  if (!box->op->done)
    return luaL_error(L, "operation '%s' has not ended yet", box->op->type->name);
  if (box->op->err.kind != LUM_OK)
    return lum_bind_fail(L, &box->op->err);
  if (box->push)
    return box->push(L, box->op);
  lua_pushboolean(L, 1);
  return 1;
}

static int op_mt_gc(lua_State *L) {
  struct lum_op_box *box = luaL_checkudata(L, 1, OP_CLASS);
  struct lum_op *op = box->op;
  box->op = NULL;
  if (op && !lum_engine_inherited(op->eng)) {
    lum_op_cancel(op); /* nobody can ask for its result any more */
    lum_op_unref(op);
  }
  return 0;
}

static int op_mt_tostring(lua_State *L) {
  struct lum_op_box *box = luaL_checkudata(L, 1, OP_CLASS);
  if (box->op)
    lua_pushfstring(L, "operation %s (%s)", box->op->type->name,
                    box->op->done ? "ended" : "in flight");
  else
    lua_pushliteral(L, "operation (never started)");
  return 1;
}

/* They, and the core, look themselves whose process it is. */
static const luaL_Reg op_functions[] = {
    {"done", op_done},     {"id", op_id},
    {"name", op_name},     {"cancel", op_cancel},
    {"result", op_result}, {"progress", op_progress},
    {"__gc", op_mt_gc},    {"__tostring", op_mt_tostring},
    {NULL, NULL},
};
static const struct lum_class op_class = {OP_CLASS, NULL, NULL, op_functions};

struct lum_op_box *lum_bind_box(lua_State *L, lum_push_fn push) {
  struct lum_op_box *box = lum_bind_object(L, &op_class, sizeof *box);
  box->push = push;
  return box;
}

int lum_bind_started(lua_State *L, struct lum_op_box *box, struct lum_op *op) {
  if (op) {
    box->op = op;
    return 1;
  }
  struct lum_err err;
  lum_err_set(&err, LUM_QUOTA, "out of memory");
  return lum_bind_fail(L, &err);
}

int lum_bind_op(lua_State *L, struct lum_op_box *box, struct lum_op *op,
                const struct lum_err *err) {
  box->op = op;
  return op ? 1 : lum_bind_fail(L, err);
}

void lum_bind_push_chunk(lua_State *L, int which, const char *bytes, size_t len) {
  if (!bytes)
    luaL_error(L, "process.read: the bytes were taken already");
  lua_pushlstring(L, bytes, len);
  lua_pushstring(L, which == 1 ? "stdout" : "stderr");
}

void lum_bind_check_size(lua_State *L, int arg, unsigned short *cols, unsigned short *rows) {
  lua_Number c = luaL_checknumber(L, arg), r = luaL_checknumber(L, arg + 1);
  luaL_argcheck(L, c >= 1 && c <= 65535, arg, "expected 1 to 65535 columns");
  luaL_argcheck(L, r >= 1 && r <= 65535, arg + 1, "expected 1 to 65535 rows");
  *cols = (unsigned short)c;
  *rows = (unsigned short)r;
}

/* ---- option fields ---- */

static bool opt_get(lua_State *L, int idx, const char *key) {
  lua_getfield(L, idx, key);
  if (!lua_isnil(L, -1))
    return true;
  lua_pop(L, 1);
  return false;
}

static void opt_fail(lua_State *L, const char *key, const char *expected) {
  luaL_error(L, "option '%s': expected %s, got %s", key, expected, luaL_typename(L, -1));
}

const char *lum_opt_bytes(lua_State *L, int idx, const char *key, size_t *len) {
  *len = 0;
  if (!opt_get(L, idx, key))
    return NULL;
  if (lua_type(L, -1) != LUA_TSTRING)
    opt_fail(L, key, "a string");
  const char *s = lua_tolstring(L, -1, len);
  lua_pop(L, 1);
  return s;
}

const char *lum_opt_cstr(lua_State *L, int idx, const char *key, const char *def) {
  size_t len;
  const char *s = lum_opt_bytes(L, idx, key, &len);
  if (!s)
    return def;
  if (strlen(s) != len)
    luaL_error(L, "option '%s': the text contains a NUL byte", key);
  return s;
}

double lum_opt_number(lua_State *L, int idx, const char *key, double def) {
  if (!opt_get(L, idx, key))
    return def;
  if (lua_type(L, -1) != LUA_TNUMBER)
    opt_fail(L, key, "a number");
  double value = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return value;
}

int64_t lum_opt_int(lua_State *L, int idx, const char *key, int64_t def, int64_t min, int64_t max) {
  double value = lum_opt_number(L, idx, key, (double)def);
  if (!(value >= (double)min && value <= (double)max) || value != floor(value))
    luaL_error(L, "option '%s': expected a whole number from %f to %f, got %f", key, (double)min,
               (double)max, value);
  return (int64_t)value;
}

bool lum_opt_bool(lua_State *L, int idx, const char *key, bool def) {
  if (!opt_get(L, idx, key))
    return def;
  if (!lua_isboolean(L, -1))
    opt_fail(L, key, "true or false");
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

/* The text on top of the stack, which is item i of an option. */
static const char *check_item(lua_State *L, const char *key, int i) {
  if (lua_type(L, -1) != LUA_TSTRING) {
    luaL_error(L, "option '%s': item %d: expected a string, got %s", key, i, luaL_typename(L, -1));
    return NULL;
  }
  size_t len;
  const char *s = lua_tolstring(L, -1, &len);
  if (strlen(s) != len)
    luaL_error(L, "option '%s': item %d contains a NUL byte", key, i);
  return s;
}

const char *const *lum_opt_strings(lua_State *L, int idx, const char *key, size_t *count) {
  idx = lua_absindex(L, idx);
  *count = 0;
  if (!opt_get(L, idx, key)) {
    lua_pushnil(L);
    return NULL;
  }
  if (!lua_istable(L, -1))
    opt_fail(L, key, "a list of strings");
  size_t n = lua_rawlen(L, -1);
  const char **list = lua_newuserdata(L, (n + 1) * sizeof *list);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, -2, (int)(i + 1));
    list[i] = check_item(L, key, (int)(i + 1));
    lua_pop(L, 1);
  }
  list[n] = NULL;
  lua_remove(L, -2);
  *count = n;
  return list;
}

uint64_t lum_bind_ms(lua_State *L, double seconds, const char *what) {
  if (!(seconds >= 0 && seconds <= 315360000.0))
    luaL_error(L, "%s: expected seconds from 0 to 315360000 (ten years), got %f", what, seconds);
  return (uint64_t)ceil(seconds * 1000.0);
}
