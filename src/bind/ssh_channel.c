/* The channels of luarium.native.ssh: commands that run on the other side. */
#include "ssh_bind.h"

#include <string.h>

#define CHANNEL_CLASS "luarium.ssh.channel"

static const struct lum_class channel_class;
#define READ_DEFAULT (128 * 1024)

struct channel_box {
  struct lum_ssh_channel *channel; /* NULL: never started or given back */
};

static struct lum_ssh_channel *check_channel(lua_State *L, int arg) {
  struct channel_box *box = luaL_checkudata(L, arg, CHANNEL_CLASS);
  luaL_argcheck(L, box->channel != NULL, arg, "the channel was never opened");
  return box->channel;
}

/* Nobody waits for it. */
static void send_bytes(struct lum_ssh_channel *channel, const char *bytes, size_t len) {
  struct lum_err err;
  struct lum_op *op = lum_ssh_channel_write(channel, bytes, len, &err);
  if (op)
    lum_op_unref(op);
}

int lum_ssh_bind_exec(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  struct lum_ssh_exec_opts opts = {
      .pty = lum_opt_bool(L, 2, "pty", false),
      .term = lum_opt_cstr(L, 2, "term", NULL),
      .cols = (int)lum_opt_int(L, 2, "cols", 80, 1, 65535),
      .rows = (int)lum_opt_int(L, 2, "rows", 24, 1, 65535),
      .window = (unsigned)lum_opt_int(L, 2, "window", 0, 0, 64 * 1024 * 1024),
      .marker = lum_opt_cstr(L, 2, "marker", NULL),
      .marks_stderr = lum_opt_bool(L, 2, "marks_stderr", false),
      .mutes_stderr = lum_opt_bool(L, 2, "mutes_stderr", false),
  };
  opts.command = lum_opt_bytes(L, 2, "command", &opts.command_len);
  if (!opts.command)
    return luaL_error(L, "option 'command': expected a text");
  struct channel_box *box = lum_bind_object(L, &channel_class, sizeof *box);
  struct lum_err err;
  box->channel = lum_ssh_exec(ssh, &opts, &err);
  if (!box->channel)
    return lum_bind_fail(L, &err);
  size_t len;
  const char *input = lum_opt_bytes(L, 2, "input", &len);
  if (input)
    send_bytes(box->channel, input, len);
  return 1;
}

static int channel_send(lua_State *L) {
  size_t len;
  struct lum_ssh_channel *channel = check_channel(L, 1);
  const char *bytes = luaL_checklstring(L, 2, &len);
  send_bytes(channel, bytes, len);
  return 0;
}

static int channel_start(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_channel_start(channel, &err), &err);
}

static int channel_noise(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lum_ssh_channel_noise(check_channel(L, 1)));
  return 1;
}

static int channel_asked(lua_State *L) {
  lua_pushboolean(L, lum_ssh_channel_asked(check_channel(L, 1)));
  return 1;
}

static int channel_note(lua_State *L) {
  size_t len;
  const char *note = lum_ssh_channel_note(check_channel(L, 1), &len);
  lua_pushlstring(L, note, len);
  return 1;
}

static int push_read(lua_State *L, struct lum_op *op) {
  const char *bytes;
  size_t len;
  int which = lum_ssh_channel_read_result(op, &bytes, &len);
  if (which == 0) {
    lua_pushnil(L);
    return 1;
  }
  lum_bind_push_chunk(L, which, bytes, len);
  lum_ssh_channel_read_release(op); /* the collector does not see how much it holds */
  return 2;
}

static int channel_read(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  lua_Number max = luaL_optnumber(L, 2, READ_DEFAULT);
  luaL_argcheck(L, max >= 1, 2, "expected a number of bytes from 1");
  size_t size = max < READ_DEFAULT ? (size_t)max : READ_DEFAULT;
  struct lum_op_box *box = lum_bind_box(L, push_read);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_channel_read(channel, size, &err), &err);
}

static int push_poured(lua_State *L, struct lum_op *op) {
  bool more;
  lua_pushinteger(L, (lua_Integer)lum_ssh_channel_poured(op, &more));
  lua_pushboolean(L, more);
  return 2;
}

static int channel_pour(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  struct lum_writer *writer = lum_bind_check_writer(L, 2);
  struct lum_op_box *box = lum_bind_box(L, push_poured);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_channel_pour(channel, writer, &err), &err);
}

static int push_hauled(lua_State *L, struct lum_op *op) {
  bool more;
  lua_pushinteger(L, (lua_Integer)lum_ssh_channel_hauled(op, &more));
  lua_pushboolean(L, more);
  return 2;
}

/* The channel at 1, the place in the file at 3 and 4. */
static int haul(lua_State *L, struct lum_reader *reader, struct lum_writer *writer) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  lua_Number offset = luaL_checknumber(L, 3), length = luaL_checknumber(L, 4);
  luaL_argcheck(L, offset >= 0, 3, "expected an offset");
  luaL_argcheck(L, length >= 1, 4, "expected a number of bytes from 1");
  struct lum_ssh_haul_opts opts = {
      .reader = reader,
      .writer = writer,
      .offset = (uint64_t)offset,
      .length = (uint64_t)length,
  };
  struct lum_op_box *box = lum_bind_box(L, push_hauled);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_channel_haul(channel, &opts, &err), &err);
}

static int channel_haul_from(lua_State *L) {
  return haul(L, lum_bind_check_reader(L, 2), NULL);
}

static int channel_haul_into(lua_State *L) {
  return haul(L, NULL, lum_bind_check_writer(L, 2));
}

static int channel_write(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_channel_write(channel, bytes, len, &err), &err);
}

static int channel_close_stdin(lua_State *L) {
  lum_ssh_channel_close_stdin(check_channel(L, 1));
  return 0;
}

static int channel_status(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  const struct lum_ssh_status *status = lum_ssh_channel_status(channel);
  if (status->exit_code < 0 && status->signal[0] == '\0') {
    lua_pushnil(L);
    return 1;
  }
  lua_createtable(L, 0, 3);
  if (status->exit_code >= 0) {
    lua_pushinteger(L, status->exit_code);
    lua_setfield(L, -2, "exit_code");
  } else {
    lua_pushfstring(L, "SIG%s", status->signal);
    lua_setfield(L, -2, "signal");
  }
  lua_pushboolean(L, lum_ssh_channel_held_open(channel));
  lua_setfield(L, -2, "held_open");
  return 1;
}

static int channel_wait(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_channel_wait(channel, &err), &err);
}

static int channel_resize(lua_State *L) {
  struct lum_ssh_channel *channel = check_channel(L, 1);
  unsigned short cols, rows;
  lum_bind_check_size(L, 2, &cols, &rows);
  struct lum_err err;
  if (!lum_ssh_channel_resize(channel, cols, rows, &err))
    return lum_bind_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static int channel_close(lua_State *L) {
  struct channel_box *box = luaL_checkudata(L, 1, CHANNEL_CLASS);
  if (box->channel)
    lum_ssh_channel_close(box->channel);
  return 0;
}

static int channel_mt_gc(lua_State *L) {
  struct channel_box *box = luaL_checkudata(L, 1, CHANNEL_CLASS);
  struct lum_ssh_channel *channel = box->channel;
  box->channel = NULL;
  if (channel) {
    lum_ssh_channel_close(channel);
    lum_ssh_channel_unref(channel);
  }
  return 0;
}

static const luaL_Reg channel_methods[] = {
    {"start", channel_start},
    {"note", channel_note},
    {"asked", channel_asked},
    {"noise", channel_noise},
    {"read", channel_read},
    {"pour", channel_pour},
    {"haul_from", channel_haul_from},
    {"haul_into", channel_haul_into},
    {"write", channel_write},
    {"send", channel_send},
    {"close_stdin", channel_close_stdin},
    {"wait", channel_wait},
    {"status", channel_status},
    {"resize", channel_resize},
    {NULL, NULL},
};

static const luaL_Reg channel_endings[] = {
    {"close", channel_close}, {"__gc", channel_mt_gc}, {NULL, NULL}};
static const struct lum_class channel_class = {CHANNEL_CLASS, channel_methods, channel_endings,
                                               NULL};
