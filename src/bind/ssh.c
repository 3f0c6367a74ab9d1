/* luarium.native.ssh: sessions, commands on the other side, forwarding. A userdata owns one
 * reference; close and __gc end what it stands for and give the reference back. */
#include "bind.h"
#include "core/ssh.h"
#include "ssh_bind.h"

#include <string.h>

#define SESSION_CLASS "luarium.ssh"
#define FORWARD_CLASS "luarium.ssh.forward"

static const struct lum_class session_class, forward_class;

struct session_box {
  struct lum_ssh *ssh; /* NULL: never made or given back */
};

struct forward_box {
  struct lum_ssh_forward *forward;
};

struct lum_ssh *lum_bind_check_ssh(lua_State *L, int arg) {
  struct session_box *box = luaL_checkudata(L, arg, SESSION_CLASS);
  luaL_argcheck(L, box->ssh != NULL, arg, "the session was never made");
  return box->ssh;
}

/* ---- making one ---- */

static int ssh_session(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  struct lum_ssh_opts opts = {
      .host = lum_opt_cstr(L, 1, "host", NULL),
      .port = (int)lum_opt_int(L, 1, "port", 22, 1, 65535),
      .hostkeys = lum_opt_cstr(L, 1, "hostkeys", NULL),
      .proxy = lum_opt_cstr(L, 1, "proxy", NULL),
      .keepalive_ms =
          (unsigned)lum_bind_ms(L, lum_opt_number(L, 1, "keepalive", 0), "option 'keepalive'"),
  };
  if (!opts.host)
    return luaL_error(L, "option 'host': expected a name or an address");
  lua_getfield(L, 1, "via");
  if (!lua_isnil(L, -1))
    opts.via = lum_bind_check_ssh(L, -1);
  struct lum_engine *eng = lum_bind_engine(L);
  struct session_box *box = lum_bind_object(L, &session_class, sizeof *box);
  struct lum_err err;
  box->ssh = lum_ssh_new(eng, &opts, &err);
  return box->ssh ? 1 : lum_bind_fail(L, &err);
}

/* ---- connecting and authentication ---- */

static int session_connect(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_connect(ssh, &err), &err);
}

static int session_hostkey(lua_State *L) {
  size_t len;
  const char *key = lum_ssh_hostkey(lum_bind_check_ssh(L, 1), &len);
  if (key)
    lua_pushlstring(L, key, len);
  else
    lua_pushnil(L);
  return 1;
}

static int push_methods(lua_State *L, struct lum_op *op) {
  const char *methods = lum_ssh_auth_methods_result(op);
  lua_pushstring(L, methods ? methods : "");
  return 1;
}

static int session_methods(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  const char *user = lum_bind_check_cstr(L, 2);
  struct lum_op_box *box = lum_bind_box(L, push_methods);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_auth_methods(ssh, user, &err), &err);
}

static int session_password(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  const char *user = lum_bind_check_cstr(L, 2), *password = lum_bind_check_cstr(L, 3);
  bool interactive = lua_toboolean(L, 4);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_auth_password(ssh, user, password, interactive, &err), &err);
}

static int session_key(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  const char *user = lum_bind_check_cstr(L, 2);
  size_t len;
  const char *key = luaL_checklstring(L, 3, &len);
  const char *passphrase = lua_isnoneornil(L, 4) ? NULL : lum_bind_check_cstr(L, 4);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_auth_key(ssh, user, key, len, passphrase, &err), &err);
}

static int session_agent(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  const char *user = lum_bind_check_cstr(L, 2), *socket = lum_bind_check_cstr(L, 3);
  size_t len;
  const char *blob = luaL_checklstring(L, 4, &len);
  struct lum_op_box *box = lum_bind_box(L, NULL);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_auth_agent(ssh, user, socket, blob, len, &err), &err);
}

/* ---- facts and the end ---- */

static int session_load(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lum_ssh_load(lum_bind_check_ssh(L, 1)));
  return 1;
}

static int session_error(lua_State *L) {
  const struct lum_err *err = lum_ssh_error(lum_bind_check_ssh(L, 1));
  if (err->kind == LUM_OK)
    lua_pushnil(L);
  else
    lum_bind_push_err(L, err);
  return 1;
}

static int session_look(lua_State *L) {
  lum_ssh_look(lum_bind_check_ssh(L, 1));
  return session_error(L);
}

static int session_close(lua_State *L) {
  struct session_box *box = luaL_checkudata(L, 1, SESSION_CLASS);
  if (box->ssh)
    lum_ssh_close(box->ssh);
  return 0;
}

static int session_mt_gc(lua_State *L) {
  struct session_box *box = luaL_checkudata(L, 1, SESSION_CLASS);
  struct lum_ssh *ssh = box->ssh;
  box->ssh = NULL;
  if (ssh) {
    lum_ssh_close(ssh);
    lum_ssh_unref(ssh);
  }
  return 0;
}

/* ---- forwarding ---- */

static int session_forward(lua_State *L) {
  struct lum_ssh *ssh = lum_bind_check_ssh(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  struct lum_ssh_forward_opts opts = {
      .path = lum_opt_cstr(L, 2, "path", NULL),
      .host = lum_opt_cstr(L, 2, "host", NULL),
      .port = (int)lum_opt_int(L, 2, "port", 0, 0, 65535),
  };
  opts.exec.command = lum_opt_bytes(L, 2, "command", &opts.exec.command_len);
  opts.exec.marker = lum_opt_cstr(L, 2, "marker", NULL);
  if (!opts.exec.command == !opts.host)
    return luaL_error(L, "forward: expected either 'host' and 'port' or a 'command'");
  struct forward_box *box = lum_bind_object(L, &forward_class, sizeof *box);
  struct lum_err err;
  box->forward = lum_ssh_forward_new(ssh, &opts, &err);
  return box->forward ? 1 : lum_bind_fail(L, &err);
}

static int forward_port(lua_State *L) {
  struct forward_box *box = luaL_checkudata(L, 1, FORWARD_CLASS);
  int port = box->forward ? lum_ssh_forward_port(box->forward) : 0;
  if (port > 0)
    lua_pushinteger(L, port);
  else
    lua_pushnil(L);
  return 1;
}

static int forward_close(lua_State *L) {
  struct forward_box *box = luaL_checkudata(L, 1, FORWARD_CLASS);
  struct lum_ssh_forward *forward = box->forward;
  box->forward = NULL;
  if (forward) {
    lum_ssh_forward_close(forward);
    lum_ssh_forward_unref(forward);
  }
  return 0;
}

/* ---- without a session ---- */

static int ssh_known_host(lua_State *L) {
  static const char *const names[] = {
      [LUM_SSH_KNOWN] = "known", [LUM_SSH_CHANGED] = "changed", [LUM_SSH_UNKNOWN] = "unknown"};
  size_t len, key_len;
  const char *text = luaL_checklstring(L, 1, &len), *host = lum_bind_check_cstr(L, 2);
  lua_Number port = luaL_checknumber(L, 3);
  const char *key = luaL_checklstring(L, 4, &key_len);
  luaL_argcheck(L, port >= 1 && port <= 65535, 3, "expected a port");
  lua_pushstring(L, names[lum_ssh_known_host(text, len, host, (int)port, key, key_len)]);
  return 1;
}

static int push_agent_keys(lua_State *L, struct lum_op *op) {
  size_t count = lum_ssh_agent_key_count(op);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    size_t len, comment_len;
    const char *comment, *blob = lum_ssh_agent_key(op, i, &len, &comment, &comment_len);
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, blob, len);
    lua_setfield(L, -2, "key");
    lua_pushlstring(L, comment, comment_len);
    lua_setfield(L, -2, "comment");
    lua_rawseti(L, -2, (int)(i + 1));
  }
  return 1;
}

static int ssh_agent_keys(lua_State *L) {
  const char *socket = lum_bind_check_cstr(L, 1);
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_agent_keys);
  struct lum_err err;
  return lum_bind_op(L, box, lum_ssh_agent_keys(eng, socket, &err), &err);
}

static const luaL_Reg session_methods_list[] = {
    {"connect", session_connect},   {"hostkey", session_hostkey}, {"methods", session_methods},
    {"password", session_password}, {"key", session_key},         {"agent", session_agent},
    {"load", session_load},         {"error", session_error},     {"look", session_look},
    {"exec", lum_ssh_bind_exec},    {"forward", session_forward}, {NULL, NULL},
};

static const luaL_Reg session_endings[] = {
    {"close", session_close}, {"__gc", session_mt_gc}, {NULL, NULL}};
static const struct lum_class session_class = {SESSION_CLASS, session_methods_list, session_endings,
                                               NULL};

static const luaL_Reg forward_methods[] = {
    {"port", forward_port},
    {NULL, NULL},
};

static const luaL_Reg forward_endings[] = {
    {"close", forward_close}, {"__gc", forward_close}, {NULL, NULL}};
static const struct lum_class forward_class = {FORWARD_CLASS, forward_methods, forward_endings,
                                               NULL};

static const luaL_Reg functions[] = {
    {"session", ssh_session},
    {"known_host", ssh_known_host},
    {"agent_keys", ssh_agent_keys},
    {NULL, NULL},
};

int lum_open_ssh(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
