/* Build tool: compiles Lua files and writes them as C arrays.
 *
 * embed OUT SOURCE_DIR NAME=PATH ... ; size and time of each file are remembered, so that the
 * program can tell, while it lies in its build folder, whether the file has changed since. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <lauxlib.h>
#include <lua.h>

static int write_bytes(lua_State *L, const void *data, size_t length, void *arg) {
  (void)L;
  FILE *out = arg;
  const unsigned char *bytes = data;
  for (size_t i = 0; i < length; i++)
    fprintf(out, "%u,", bytes[i]);
  return fputc('\n', out) == EOF;
}

/* How errors name a file: relative to the source tree, or only its own name. */
static const char *short_name(const char *path, const char *root) {
  size_t n = strlen(root);
  if (strncmp(path, root, n) == 0 && path[n] == '/')
    return path + n + 1;
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static void load(lua_State *L, const char *path, const char *chunk) {
  FILE *in = fopen(path, "rb");
  if (!in)
    luaL_error(L, "cannot read %s", path);
  luaL_Buffer text;
  luaL_buffinit(L, &text);
  for (size_t n = 1; n > 0;) {
    n = fread(luaL_prepbuffer(&text), 1, LUAL_BUFFERSIZE, in);
    luaL_addsize(&text, n);
  }
  fclose(in);
  luaL_pushresult(&text);
  size_t length;
  const char *bytes = lua_tolstring(L, -1, &length);
  if (luaL_loadbufferx(L, bytes, length, chunk, "t") != LUA_OK)
    lua_error(L);
}

static int embed(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  const char *root = argv[2];
  FILE *out = fopen(argv[1], "wb");
  if (!out)
    return luaL_error(L, "cannot write %s", argv[1]);
  fputs("#include \"embedded.h\"\n", out);
  for (int i = 3; i < argc; i++) {
    const char *path = strchr(argv[i], '=') + 1;
    lua_pushfstring(L, "@%s", short_name(path, root));
    load(L, path, lua_tostring(L, -1));
    fprintf(out, "static const unsigned char file_%d[] = {\n", i);
    if (lua_dump(L, write_bytes, out, 0) != 0)
      return luaL_error(L, "cannot write %s", argv[1]);
    fputs("};\n", out);
    lua_settop(L, 2);
  }
  fputs("const struct embedded embedded_files[] = {\n", out);
  for (int i = 3; i < argc; i++) {
    const char *path = strchr(argv[i], '=') + 1;
    struct stat st;
    if (stat(path, &st) != 0)
      return luaL_error(L, "cannot read %s", path);
    fprintf(out, "  {\"%.*s\", \"@%s\", file_%d, sizeof file_%d, \"%s\", %lld, %lld, %ld},\n",
            (int)(path - 1 - argv[i]), argv[i], short_name(path, root), i, i, path,
            (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  }
  fputs("  {0}\n};\n", out);
  if (fclose(out) != 0)
    return luaL_error(L, "cannot write %s", argv[1]);
  return 0;
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  if (argc < 3 || !L)
    return 2;
  lua_pushcfunction(L, embed);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    fprintf(stderr, "embed: %s\n", lua_tostring(L, -1));
    remove(argv[1]);
    return 1;
  }
  lua_close(L);
  return 0;
}
