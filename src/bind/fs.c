/* luarium.native.fs: files and folders on worker threads. */
#include "bind.h"
#include "core/copy.h"
#include "core/fs.h"
#include "core/fs_stream.h"

#include <math.h>
#include <string.h>

#define READER_CLASS "luarium.fs.reader"
#define WRITER_CLASS "luarium.fs.writer"
#define LOCK_CLASS "luarium.fs.lock"

#define WHOLE ((int64_t)1 << 53)

/* The option table at arg, or an empty one in its place. */
static void check_opts(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) {
    lua_settop(L, arg - 1);
    lua_newtable(L);
  }
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_settop(L, arg);
}

static int opt_mode(lua_State *L, int idx) {
  return (int)lum_opt_int(L, idx, "mode", -1, -1, 07777);
}

static uint64_t opt_count(lua_State *L, int idx, const char *key, uint64_t def, int64_t min) {
  return (uint64_t)lum_opt_int(L, idx, key, (int64_t)def, min, WHOLE);
}

static int start(lua_State *L, enum lum_fs_verb verb, const struct lum_fs_args *args,
                 lum_push_fn push) {
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push);
  return lum_bind_started(L, box, lum_fs_start(eng, verb, args));
}

static struct lum_fs_job *job_of(struct lum_op *op) {
  return (struct lum_fs_job *)op;
}

/* ---- results ---- */

static int taken(lua_State *L, struct lum_op *op) {
  struct lum_err err;
  lum_err_set(&err, LUM_INVALID, "%s: the result was taken already", op->type->name);
  return lum_bind_fail(L, &err);
}

/* Bytes can be many: they are given once and then freed, without waiting for the collector. */
static int push_bytes(lua_State *L, struct lum_op *op) {
  struct lum_fs_job *job = job_of(op);
  if (!job->text)
    return taken(L, op);
  lua_pushlstring(L, job->text, job->text_len);
  lum_fs_forget_text(job);
  return 1;
}

static int push_text(lua_State *L, struct lum_op *op) {
  lua_pushlstring(L, job_of(op)->text, job_of(op)->text_len);
  return 1;
}

static int push_count(lua_State *L, struct lum_op *op) {
  lua_pushinteger(L, (lua_Integer)job_of(op)->count);
  return 1;
}

static void set_int(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void push_stat_table(lua_State *L, const struct lum_fs_stat *stat) {
  lua_createtable(L, 0, 10);
  lua_pushstring(L, lum_fs_type(stat->mode));
  lua_setfield(L, -2, "type");
  set_int(L, "size", stat->size);
  set_int(L, "mode", stat->mode & 07777);
  lua_pushnumber(L, stat->mtime);
  lua_setfield(L, -2, "mtime");
  if (stat->target) {
    lua_pushstring(L, stat->target);
    lua_setfield(L, -2, "target");
  }
}

static int push_stat(lua_State *L, struct lum_op *op) {
  const struct lum_fs_stat *stat = &job_of(op)->stat;
  push_stat_table(L, stat);
  set_int(L, "uid", stat->uid);
  set_int(L, "gid", stat->gid);
  set_int(L, "dev", stat->dev);
  set_int(L, "ino", stat->ino);
  return 1;
}

static int push_entries(lua_State *L, struct lum_op *op) {
  struct lum_fs_job *job = job_of(op);
  lua_createtable(L, (int)job->entry_count, 0);
  for (size_t i = 0; i < job->entry_count; i++) {
    push_stat_table(L, &job->entries[i].stat);
    lua_pushstring(L, job->entries[i].name);
    lua_setfield(L, -2, "name");
    if (job->entries[i].bytes) {
      lua_pushlstring(L, job->entries[i].bytes, job->entries[i].len);
      lua_setfield(L, -2, "bytes");
    }
    lua_rawseti(L, -2, (int)(i + 1));
  }
  return 1;
}

/* ---- whole files ---- */

static int fs_read_file(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  check_opts(L, 2);
  args.offset = opt_count(L, 2, "offset", 0, 0);
  args.length = opt_count(L, 2, "length", (uint64_t)WHOLE, 0);
  args.max = opt_count(L, 2, "max", LUM_FS_READ_MAX, 0);
  return start(L, LUM_FS_READ, &args, push_bytes);
}

static int fs_write_file(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  args.bytes = luaL_checklstring(L, 2, &args.len);
  check_opts(L, 3);
  args.mode = opt_mode(L, 3);
  args.append = lum_opt_bool(L, 3, "append", false);
  args.atomic = lum_opt_bool(L, 3, "atomic", false);
  args.fsync = lum_opt_bool(L, 3, "fsync", false);
  args.recursive = lum_opt_bool(L, 3, "parents", false);
  if (args.append && args.atomic)
    return luaL_error(L, "write_file: 'append' and 'atomic' exclude each other");
  return start(L, LUM_FS_WRITE, &args, NULL);
}

/* ---- entries ---- */

static int fs_stat(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  check_opts(L, 2);
  args.follow = lum_opt_bool(L, 2, "follow", true);
  return start(L, LUM_FS_STAT, &args, push_stat);
}

static int fs_ls(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  check_opts(L, 2);
  args.max = opt_count(L, 2, "max_entries", LUM_FS_LS_MAX, 0);
  args.each = opt_count(L, 2, "read", 0, 0);
  return start(L, LUM_FS_LS, &args, push_entries);
}

static int fs_mkdir(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  check_opts(L, 2);
  args.recursive = lum_opt_bool(L, 2, "parents", false);
  args.mode = opt_mode(L, 2);
  return start(L, LUM_FS_MKDIR, &args, NULL);
}

static int fs_remove(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  check_opts(L, 2);
  args.recursive = lum_opt_bool(L, 2, "recursive", false);
  return start(L, LUM_FS_REMOVE, &args, push_count);
}

static int fs_move(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1), .other = lum_bind_check_cstr(L, 2)};
  return start(L, LUM_FS_MOVE, &args, NULL);
}

static int fs_chmod(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  lua_Number mode = luaL_checknumber(L, 2);
  luaL_argcheck(L, mode >= 0 && mode <= 07777 && mode == floor(mode), 2,
                "expected permission bits");
  args.mode = (int)mode;
  return start(L, LUM_FS_CHMOD, &args, NULL);
}

static int fs_symlink(lua_State *L) {
  struct lum_fs_args args = {.other = lum_bind_check_cstr(L, 1), .path = lum_bind_check_cstr(L, 2)};
  return start(L, LUM_FS_SYMLINK, &args, NULL);
}

static int fs_readlink(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  return start(L, LUM_FS_READLINK, &args, push_text);
}

static int fs_realpath(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  return start(L, LUM_FS_REALPATH, &args, push_text);
}

static int fs_mkdtemp(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  return start(L, LUM_FS_MKDTEMP, &args, push_text);
}

static int fs_touch(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1)};
  check_opts(L, 2);
  args.mode = opt_mode(L, 2);
  args.mtime = lum_opt_number(L, 2, "mtime", -1);
  if (args.mtime > (double)WHOLE)
    return luaL_error(L, "option 'mtime': expected seconds since 1970, got %f", args.mtime);
  return start(L, LUM_FS_TOUCH, &args, NULL);
}

/* ---- copy ---- */

static int push_copy(lua_State *L, struct lum_op *op) {
  const struct lum_copy_result *result = &((struct lum_copy *)op)->result;
  lua_createtable(L, 0, 6);
  set_int(L, "files", result->files);
  set_int(L, "bytes", result->bytes);
  set_int(L, "links", result->links);
  set_int(L, "dirs", result->dirs);
  set_int(L, "skipped_count", result->skipped_count);
  lua_newtable(L);
  for (int i = 0; i < LUM_COPY_SKIPPED && result->skipped[i].path; i++) {
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

static int fs_copy(lua_State *L) {
  const char *from = lum_bind_check_cstr(L, 1), *to = lum_bind_check_cstr(L, 2);
  check_opts(L, 3);
  const char *links = lum_opt_cstr(L, 3, "links", "keep");
  bool refuse = strcmp(links, "refuse_outside") == 0;
  if (!refuse && strcmp(links, "keep") != 0)
    return luaL_error(L, "option 'links': expected \"keep\" or \"refuse_outside\", got \"%s\"",
                      links);
  struct lum_copy_opts opts = {.refuse_outside = refuse};
  if (!lua_isnoneornil(L, 3)) /* the list it pushes stays on the stack until the copy has its own */
    opts.exclude = (char *const *)lum_opt_strings(L, 3, "exclude", &opts.exclude_count);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_copy);
  return lum_bind_started(L, box, lum_copy_start(eng, from, to, &opts));
}

/* ---- readers ---- */

struct reader_box {
  struct lum_reader *reader;
};

struct lum_reader *lum_bind_check_reader(lua_State *L, int arg) {
  struct reader_box *box = luaL_checkudata(L, arg, READER_CLASS);
  luaL_argcheck(L, box->reader && !box->reader->closed, arg, "the reader is closed");
  return box->reader;
}

static int push_chunk(lua_State *L, struct lum_op *op) {
  struct lum_reader_step *step = (struct lum_reader_step *)op;
  if (step->len == 0) {
    lua_pushnil(L);
    return 1;
  }
  if (!step->data)
    return taken(L, op);
  lua_pushlstring(L, step->data, step->len);
  lum_reader_step_forget(step);
  return 1;
}

static int reader_read(lua_State *L) {
  struct lum_reader *reader = lum_bind_check_reader(L, 1);
  luaL_argcheck(L, !reader->busy, 1, "a read is under way");
  struct lum_op_box *box = lum_bind_box(L, push_chunk);
  return lum_bind_started(L, box, lum_reader_read(reader));
}

static int reader_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lum_bind_check_reader(L, 1)->size);
  return 1;
}

static int reader_close(lua_State *L) {
  struct reader_box *box = luaL_checkudata(L, 1, READER_CLASS);
  struct lum_reader *reader = box->reader;
  box->reader = NULL;
  if (reader) {
    lum_reader_close(reader);
    lum_reader_unref(reader);
  }
  return 0;
}

static const luaL_Reg reader_methods[] = {
    {"read", reader_read}, {"size", reader_size}, {NULL, NULL}};
static const luaL_Reg reader_endings[] = {
    {"close", reader_close}, {"__gc", reader_close}, {"__close", reader_close}, {NULL, NULL}};
static const struct lum_class reader_class = {READER_CLASS, reader_methods, reader_endings, NULL};

static int push_reader(lua_State *L, struct lum_op *op) {
  struct lum_reader_open *open = (struct lum_reader_open *)op;
  if (!open->reader)
    return taken(L, op);
  struct reader_box *box = lum_bind_object(L, &reader_class, sizeof *box);
  box->reader = open->reader;
  open->reader = NULL;
  return 1;
}

static int fs_reader(lua_State *L) {
  const char *path = lum_bind_check_cstr(L, 1);
  check_opts(L, 2);
  uint64_t offset = opt_count(L, 2, "offset", 0, 0);
  uint64_t length = opt_count(L, 2, "length", (uint64_t)WHOLE, 0);
  size_t chunk = (size_t)lum_opt_int(L, 2, "chunk", 256 << 10, 1, 64 << 20);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_reader);
  return lum_bind_started(L, box, lum_reader_open(eng, path, offset, length, chunk));
}

/* ---- writers ---- */

struct writer_box {
  struct lum_writer *writer;
};

struct lum_writer *lum_bind_check_writer(lua_State *L, int arg) {
  struct lum_writer *writer = ((struct writer_box *)luaL_checkudata(L, arg, WRITER_CLASS))->writer;
  bool is_open = writer && !writer->closed;
  luaL_argcheck(L, is_open, arg, "the writer is closed");
  luaL_argcheck(L, is_open && !writer->busy, arg, "a write is under way");
  return writer;
}

static int writer_write(lua_State *L) {
  struct lum_writer *writer = lum_bind_check_writer(L, 1);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  return lum_bind_started(L, box, lum_writer_write(writer, bytes, len));
}

static int writer_close(lua_State *L) {
  struct lum_writer *writer = lum_bind_check_writer(L, 1);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  return lum_bind_started(L, box, lum_writer_close(writer));
}

static int writer_abort(lua_State *L) {
  struct writer_box *box = luaL_checkudata(L, 1, WRITER_CLASS);
  struct lum_writer *writer = box->writer;
  box->writer = NULL;
  if (writer) {
    lum_writer_abort(writer);
    lum_writer_unref(writer);
  }
  return 0;
}

static const luaL_Reg writer_methods[] = {{"write", writer_write}, {NULL, NULL}};
static const luaL_Reg writer_endings[] = {{"close", writer_close},
                                          {"abort", writer_abort},
                                          {"__gc", writer_abort},
                                          {"__close", writer_abort},
                                          {NULL, NULL}};
static const struct lum_class writer_class = {WRITER_CLASS, writer_methods, writer_endings, NULL};

static int push_writer(lua_State *L, struct lum_op *op) {
  struct lum_writer_open *open = (struct lum_writer_open *)op;
  if (!open->writer)
    return taken(L, op);
  struct writer_box *box = lum_bind_object(L, &writer_class, sizeof *box);
  box->writer = open->writer;
  open->writer = NULL;
  return 1;
}

static int fs_writer(lua_State *L) {
  const char *path = lum_bind_check_cstr(L, 1);
  check_opts(L, 2);
  int mode = opt_mode(L, 2);
  bool append = lum_opt_bool(L, 2, "append", false), atomic = lum_opt_bool(L, 2, "atomic", false);
  if (append && atomic)
    return luaL_error(L, "writer: 'append' and 'atomic' exclude each other");
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_writer);
  return lum_bind_started(L, box, lum_writer_open(eng, path, mode, append, atomic));
}

/* ---- at once ---- */

static int fs_exists(lua_State *L) {
  lua_pushboolean(L, lum_fs_exists(lum_bind_check_cstr(L, 1)));
  return 1;
}

static int fs_type(lua_State *L) {
  lua_pushstring(L, lum_fs_type_of(lum_bind_check_cstr(L, 1))); /* NULL pushes nil */
  return 1;
}

static int fs_disk(lua_State *L) {
  const char *path = lum_bind_check_cstr(L, 1);
  uint64_t total, avail;
  struct lum_err err;
  if (!lum_fs_disk(path, &total, &avail, &err))
    return lum_bind_fail(L, &err);
  lua_createtable(L, 0, 2);
  set_int(L, "total", total);
  set_int(L, "free", avail);
  return 1;
}

struct lock_box {
  int fd; /* -1: not held */
};

static int lock_unlock(lua_State *L) {
  struct lock_box *box = luaL_checkudata(L, 1, LOCK_CLASS);
  if (box->fd >= 0)
    lum_fs_unlock(box->fd);
  box->fd = -1;
  return 0;
}

static const luaL_Reg lock_endings[] = {
    {"unlock", lock_unlock}, {"__gc", lock_unlock}, {"__close", lock_unlock}, {NULL, NULL}};
static const struct lum_class lock_class = {LOCK_CLASS, NULL, lock_endings, NULL};

static int fs_trylock(lua_State *L) {
  const char *path = lum_bind_check_cstr(L, 1);
  struct lock_box *box = lum_bind_object(L, &lock_class, sizeof *box);
  box->fd = -1;
  struct lum_err err;
  box->fd = lum_fs_trylock(path, &err);
  if (box->fd == -2)
    return lum_bind_fail(L, &err);
  if (box->fd == -1)
    lua_pushboolean(L, 0);
  return 1;
}

static const luaL_Reg functions[] = {
    {"read_file", fs_read_file},
    {"write_file", fs_write_file},
    {"stat", fs_stat},
    {"ls", fs_ls},
    {"mkdir", fs_mkdir},
    {"remove", fs_remove},
    {"move", fs_move},
    {"chmod", fs_chmod},
    {"symlink", fs_symlink},
    {"readlink", fs_readlink},
    {"realpath", fs_realpath},
    {"mkdtemp", fs_mkdtemp},
    {"touch", fs_touch},
    {"copy", fs_copy},
    {"reader", fs_reader},
    {"writer", fs_writer},
    {"exists", fs_exists},
    {"disk", fs_disk},
    {"trylock", fs_trylock},
    {"type", fs_type},
    {NULL, NULL},
};

int lum_open_fs(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
