/* luarium.native.archive: trees to tar streams, and tar and zip streams to trees. */
#include "bind.h"
#include "core/archive.h"

#include <string.h>

#define PACKER_CLASS "luarium.archive.packer"
#define UNPACKER_CLASS "luarium.archive.unpacker"

static void set_int(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

/* The index of the option's text in names; the first is the default. */
static int opt_choice(lua_State *L, const char *key, const char *const *names) {
  const char *text = lum_opt_cstr(L, 1, key, names[0]);
  for (int i = 0; names[i]; i++) {
    if (strcmp(text, names[i]) == 0)
      return i;
  }
  return luaL_error(L, "option '%s': \"%s\" is none of those that exist (\"%s\" ...)", key, text,
                    names[0]);
}

/* ---- packing ---- */

struct packer_box {
  struct lum_pack *pack;
};

static struct lum_pack *check_packer(lua_State *L) {
  struct packer_box *box = luaL_checkudata(L, 1, PACKER_CLASS);
  luaL_argcheck(L, box->pack && !lum_pack_closed(box->pack), 1, "the packer is closed");
  luaL_argcheck(L, !lum_pack_busy(box->pack), 1, "a read is under way");
  return box->pack;
}

static int push_piece(lua_State *L, struct lum_op *op) {
  struct lum_pack_step *step = (struct lum_pack_step *)op;
  if (step->len == 0) {
    lua_pushnil(L);
    return 1;
  }
  if (!step->data)
    return luaL_error(L, "archive.pack: the piece was taken already");
  lua_pushlstring(L, step->data, step->len);
  lum_pack_step_forget(step);
  return 1;
}

static int packer_read(lua_State *L) {
  struct lum_pack *pack = check_packer(L);
  struct lum_op_box *box = lum_bind_box(L, push_piece);
  return lum_bind_started(L, box, lum_pack_read(pack));
}

static int packer_stats(lua_State *L) {
  const struct lum_pack_stats *stats = lum_pack_stats(check_packer(L));
  lua_createtable(L, 0, 5);
  set_int(L, "files", stats->files);
  set_int(L, "dirs", stats->dirs);
  set_int(L, "links", stats->links);
  set_int(L, "bytes", stats->bytes);
  set_int(L, "skipped", stats->skipped);
  return 1;
}

static int packer_close(lua_State *L) {
  struct packer_box *box = luaL_checkudata(L, 1, PACKER_CLASS);
  struct lum_pack *pack = box->pack;
  box->pack = NULL;
  if (pack) {
    lum_pack_close(pack);
    lum_pack_unref(pack);
  }
  return 0;
}

static const luaL_Reg packer_methods[] = {
    {"read", packer_read}, {"stats", packer_stats}, {NULL, NULL}};
static const luaL_Reg packer_endings[] = {
    {"close", packer_close}, {"__gc", packer_close}, {"__close", packer_close}, {NULL, NULL}};
static const struct lum_class packer_class = {PACKER_CLASS, packer_methods, packer_endings, NULL};

/* archive.pack(opts) -> packer. The lists of strings stay on the stack until lum_pack_new has
 * copied them. */
static int archive_pack(lua_State *L) {
  static const char *const formats[] = {"tar", "pax", NULL};
  static const char *const compressions[] = {"none", "gzip", "zstd", NULL};
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct lum_pack_opts opts = {.root = lum_opt_cstr(L, 1, "root", NULL)};
  if (!opts.root)
    return luaL_error(L, "option 'root': expected the path of a folder, got nil");
  opts.format = opt_choice(L, "format", formats) == 1 ? LUM_PACK_PAX : LUM_PACK_GNU;
  opts.compress = (enum lum_pack_compress)opt_choice(L, "compress", compressions);
  opts.owner = lum_opt_bool(L, 1, "owner", false);
  opts.mark = lum_opt_cstr(L, 1, "mark", NULL);
  opts.paths = lum_opt_strings(L, 1, "paths", &opts.path_count);
  opts.exclude = lum_opt_strings(L, 1, "exclude", &opts.exclude_count);
  struct lum_engine *eng = lum_bind_engine(L);
  struct packer_box *box = lum_bind_object(L, &packer_class, sizeof *box);
  struct lum_err err;
  box->pack = lum_pack_new(eng, &opts, &err);
  return box->pack ? 1 : lum_bind_fail(L, &err);
}

/* ---- unpacking ---- */

struct unpacker_box {
  struct lum_unpack *unpack;
};

static struct lum_unpack *check_unpacker(lua_State *L) {
  struct unpacker_box *box = luaL_checkudata(L, 1, UNPACKER_CLASS);
  luaL_argcheck(L, box->unpack, 1, "the unpacker is closed");
  luaL_argcheck(L, !lum_unpack_finished(box->unpack), 1, "the unpacker is finished");
  luaL_argcheck(L, !lum_unpack_writing(box->unpack), 1, "a write is under way");
  return box->unpack;
}

static int unpacker_write(lua_State *L) {
  struct lum_unpack *unpack = check_unpacker(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  return lum_bind_started(L, box, lum_unpack_write(unpack, bytes, len));
}

static int push_result(lua_State *L, struct lum_op *op) {
  const struct lum_unpack_result *result = lum_unpack_result(lum_unpack_of(op));
  lua_createtable(L, 0, 6);
  set_int(L, "files", result->files);
  set_int(L, "dirs", result->dirs);
  set_int(L, "links", result->links);
  set_int(L, "bytes", result->bytes);
  set_int(L, "skipped_count", result->skipped_count);
  lua_newtable(L);
  for (int i = 0; i < LUM_UNPACK_SKIPPED && result->skipped[i].path; i++) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, result->skipped[i].path);
    lua_setfield(L, -2, "path");
    lua_pushstring(L, result->skipped[i].reason);
    lua_setfield(L, -2, "reason");
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "skipped");
  return 1;
}

static int unpacker_finish(lua_State *L) {
  struct lum_unpack *unpack = check_unpacker(L);
  struct lum_op_box *box = lum_bind_box(L, push_result);
  lum_unpack_finish(unpack);
  lum_op_ref(lum_unpack_op(unpack));
  return lum_bind_started(L, box, lum_unpack_op(unpack));
}

static int unpacker_close(lua_State *L) {
  struct unpacker_box *box = luaL_checkudata(L, 1, UNPACKER_CLASS);
  struct lum_unpack *unpack = box->unpack;
  box->unpack = NULL;
  if (unpack) {
    lum_op_cancel(lum_unpack_op(unpack));
    lum_op_unref(lum_unpack_op(unpack));
  }
  return 0;
}

/* The same, with an operation that ends when nothing is left of it. */
static int unpacker_abort(lua_State *L) {
  struct unpacker_box *box = luaL_checkudata(L, 1, UNPACKER_CLASS);
  if (!box->unpack)
    return 0;
  struct lum_op_box *op_box = lum_bind_box(L, push_result);
  struct lum_op *op = lum_unpack_op(box->unpack);
  box->unpack = NULL; /* its reference is the operation's now */
  lum_op_cancel(op);
  return lum_bind_started(L, op_box, op);
}

/* Once it is finished, whoever waits for the result decides: losing the object alone does not
 * abort. */
static int unpacker_mt_gc(lua_State *L) {
  struct unpacker_box *box = luaL_checkudata(L, 1, UNPACKER_CLASS);
  if (!box->unpack || !lum_unpack_finished(box->unpack))
    return unpacker_close(L);
  lum_op_unref(lum_unpack_op(box->unpack));
  box->unpack = NULL;
  return 0;
}

static const luaL_Reg unpacker_methods[] = {
    {"write", unpacker_write}, {"finish", unpacker_finish}, {NULL, NULL}};
static const luaL_Reg unpacker_endings[] = {
    {"abort", unpacker_abort}, {"__gc", unpacker_mt_gc}, {"__close", unpacker_close}, {NULL, NULL}};
static const struct lum_class unpacker_class = {UNPACKER_CLASS, unpacker_methods, unpacker_endings,
                                                NULL};

#define WHOLE ((int64_t)1 << 53)

static void read_limits(lua_State *L, struct lum_unpack_opts *opts) {
  lua_getfield(L, 1, "limits");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
  }
  if (!lua_istable(L, -1))
    luaL_error(L, "option 'limits': expected a table, got %s", luaL_typename(L, -1));
  int at = lua_gettop(L);
  opts->max_bytes = (uint64_t)lum_opt_int(L, at, "bytes", (int64_t)16 << 30, 0, WHOLE);
  opts->max_files = (uint64_t)lum_opt_int(L, at, "files", 1000000, 0, WHOLE);
  opts->max_ratio = (uint64_t)lum_opt_int(L, at, "ratio", 1100, 0, WHOLE);
  opts->max_depth = (unsigned)lum_opt_int(L, at, "depth", 128, 1, 2048);
  opts->max_name = (unsigned)lum_opt_int(L, at, "name", 4095, 1, 4095);
}

static int archive_unpack(lua_State *L) {
  static const char *const links[] = {"refuse", "skip", NULL};
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct lum_unpack_opts opts = {.dest = lum_opt_cstr(L, 1, "dest", NULL)};
  if (!opts.dest)
    return luaL_error(L, "option 'dest': expected the path of a folder, got nil");
  opts.strip = (unsigned)lum_opt_int(L, 1, "strip", 0, 0, 2048);
  opts.skip_links = opt_choice(L, "links", links) == 1;
  read_limits(L, &opts);
  opts.exclude = lum_opt_strings(L, 1, "exclude", &opts.exclude_count);
  struct lum_engine *eng = lum_bind_engine(L);
  struct unpacker_box *box = lum_bind_object(L, &unpacker_class, sizeof *box);
  box->unpack = lum_unpack_new(eng, &opts);
  if (box->unpack)
    return 1;
  struct lum_err err;
  lum_err_set(&err, LUM_QUOTA, "out of memory");
  return lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {
    {"pack", archive_pack}, {"unpack", archive_unpack}, {NULL, NULL}};

int lum_open_archive(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
