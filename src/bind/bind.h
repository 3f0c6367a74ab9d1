/* What every binding shares: the engine of a state, errors, boxed operations, option fields.
 * Signatures that touch a Lua stack carry [-pops, +pushes, e if it may raise]. */
#ifndef LUM_BIND_H
#define LUM_BIND_H

#include <stdbool.h>
#include <stdint.h>

#include "compat.h"
#include "core/engine.h"

/* Pushes the results of a completed operation whose err is LUM_OK; returns how many. [-0, +n, e] */
typedef int (*lum_push_fn)(lua_State *L, struct lum_op *op);

struct lum_op_box {
  struct lum_op *op; /* NULL until started: a box is born empty */
  lum_push_fn push;  /* NULL: the result is `true` */
};

/* The registry name of the error objects' metatable. */
#define LUM_ERROR_MT "luarium.error"

/* How long a script may compute without waiting, and since when it does. */
struct lum_guard {
  double limit, since; /* seconds; limit 0: off */
  double cpu_since;    /* of the thread, at the first look since then; -1: none yet */
  int raised;
};

/* The guard of this state. [-0, +0, e] */
struct lum_guard *lum_bind_guard(lua_State *L);

/* The engine of this state, made on first use. Raises when it is closed. [-0, +0, e] */
struct lum_engine *lum_bind_engine(lua_State *L);

/* Raises when this process is a fork of the one that made the state's engine. [-0, +0, e] */
void lum_bind_check_process(lua_State *L);

/* Ends the state's engine with all that is in flight; later calls that need it raise an error.
 * [-0, +0, m] */
void lum_bind_close(lua_State *L);
bool lum_bind_closed(lua_State *L);

/* Pushes an empty box; the caller stores the operation it then starts. [-0, +1, e] */
struct lum_op_box *lum_bind_box(lua_State *L, lum_push_fn push);

/* Ends a binding that has just put op (may be NULL: out of memory) into the box on top. [-0|-1,
 * +1|+2, e] */
int lum_bind_started(lua_State *L, struct lum_op_box *box, struct lum_op *op);

/* The same for op with its own reason: NULL comes with err filled. [-0, +1|+2, e] */
int lum_bind_op(lua_State *L, struct lum_op_box *box, struct lum_op *op, const struct lum_err *err);

/* Pushes what a read of two streams brought: bytes and "stdout" (which 1) or "stderr". [-0, +2, e]
 */
void lum_bind_push_chunk(lua_State *L, int which, const char *bytes, size_t len);

/* Columns and rows of a terminal at arg and after it. [-0, +0, e] */
void lum_bind_check_size(lua_State *L, int arg, unsigned short *cols, unsigned short *rows);

/* The operation of the box at arg; raises when it is no started operation. [-0, +0, e] */
struct lum_op *lum_bind_check_op(lua_State *L, int arg);

/* Pushes nil and an error object. [-0, +2, e] */
int lum_bind_fail(lua_State *L, const struct lum_err *err);
/* Pushes an error object: a table with kind, message, code, name, retryable and luarium.error's
 * metatable. */
void lum_bind_push_err(lua_State *L, const struct lum_err *err);

/* A string argument without NUL bytes; raises otherwise. */
const char *lum_bind_check_cstr(lua_State *L, int arg);

/* Fields of an option table at idx. A wrong type raises `option 'key': expected ..., got ...`. The
 * string views stay valid while the table keeps them. */
const char *lum_opt_cstr(lua_State *L, int idx, const char *key, const char *def);
const char *lum_opt_bytes(lua_State *L, int idx, const char *key,
                          size_t *len); /* NULL when absent */
double lum_opt_number(lua_State *L, int idx, const char *key, double def);
int64_t lum_opt_int(lua_State *L, int idx, const char *key, int64_t def, int64_t min, int64_t max);
bool lum_opt_bool(lua_State *L, int idx, const char *key, bool def);

/* A list of strings in field key as a NULL-terminated array; NULL when absent. The array is a
 * userdata pushed on the stack, the strings belong to the table: keep both until the call has used
 * them. [-0, +1, e] */
const char *const *lum_opt_strings(lua_State *L, int idx, const char *key, size_t *count);

/* A class of userdata. Names that begin with "__" are metamethods. */
struct lum_class {
  const char *name;
  const luaL_Reg *methods;  /* a fork of the process that made the state is refused them */
  const luaL_Reg *endings;  /* in a fork they do nothing: what they would close, unlock or kill is
                               the parent's */
  const luaL_Reg *anywhere; /* what a fork may call, too; each list may be NULL */
};

/* Pushes an object of the class: zeroed memory. [-0, +1, e] */
void *lum_bind_object(lua_State *L, const struct lum_class *class, size_t size);

/* Seconds (may be fractional) to whole milliseconds, rounded up; raises below 0 or above 10 years.
 */
uint64_t lum_bind_ms(lua_State *L, double seconds, const char *what);

struct lum_reader;
struct lum_writer;

/* The open writer of fs at arg, with no write under way; raises otherwise. [-0, +0, e] */
struct lum_writer *lum_bind_check_writer(lua_State *L, int arg);
/* The open reader of fs at arg; raises otherwise. [-0, +0, e] */
struct lum_reader *lum_bind_check_reader(lua_State *L, int arg);

/* The openers, one per file: each pushes its table. */
int lum_open_loop(lua_State *L);
int lum_open_process(lua_State *L);
int lum_open_http(lua_State *L);
int lum_open_signal(lua_State *L);
int lum_open_input(lua_State *L);
int lum_open_output(lua_State *L);
int lum_open_fs(lua_State *L);
int lum_open_crypto(lua_State *L);
int lum_open_tty(lua_State *L);
int lum_open_archive(lua_State *L);
int lum_open_ssh(lua_State *L);
int lum_open_line(lua_State *L);

#endif
