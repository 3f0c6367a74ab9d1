/* luarium.native.tty: what is known of a terminal; at once. */
#include "bind.h"
#include "core/tty.h"

#define SAVED_CLASS "luarium.tty.saved"

static int check_fd(lua_State *L, int arg) {
  lua_Number fd = luaL_checknumber(L, arg);
  luaL_argcheck(L, fd >= 0 && fd <= 1048576 && fd == (lua_Number)(int)fd, arg,
                "expected a file descriptor");
  return (int)fd;
}

static int tty_isatty(lua_State *L) {
  lua_pushboolean(L, lum_tty_is(check_fd(L, 1)));
  return 1;
}

static int tty_size(lua_State *L) {
  int cols, rows;
  if (!lum_tty_size(check_fd(L, 1), &cols, &rows)) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, cols);
  lua_pushinteger(L, rows);
  return 2;
}

struct saved_box {
  struct lum_tty_saved *saved;
};

static int saved_restore(lua_State *L) {
  struct saved_box *box = luaL_checkudata(L, 1, SAVED_CLASS);
  struct lum_tty_saved *saved = box->saved;
  struct lum_err err;
  box->saved = NULL;
  if (saved && !lum_tty_restore(saved, &err))
    return lum_bind_fail(L, &err);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg saved_endings[] = {
    {"restore", saved_restore}, {"__gc", saved_restore}, {"__close", saved_restore}, {NULL, NULL}};
static const struct lum_class saved_class = {SAVED_CLASS, NULL, saved_endings, NULL};

/* tty.raw(fd [, leave]) -> saved */
static int tty_raw(lua_State *L) {
  int fd = check_fd(L, 1);
  const char *leave = lua_isnoneornil(L, 2) ? "" : lum_bind_check_cstr(L, 2);
  struct saved_box *box = lum_bind_object(L, &saved_class, sizeof *box);
  struct lum_err err;
  box->saved = lum_tty_raw(fd, leave, &err);
  return box->saved ? 1 : lum_bind_fail(L, &err);
}

static const luaL_Reg functions[] = {
    {"isatty", tty_isatty}, {"size", tty_size}, {"raw", tty_raw}, {NULL, NULL}};

int lum_open_tty(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
