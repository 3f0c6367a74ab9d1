/* The Lua files that the program and the embeddable library carry, compiled; the table is generated
 * by cmake/embed.c. */
#ifndef LUARIUM_EMBEDDED_H
#define LUARIUM_EMBEDDED_H

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

struct embedded {
  const char *name;  /* the module; NULL ends the table */
  const char *chunk; /* how errors name the file */
  const unsigned char *bytes;
  size_t length;
  const char *source; /* where the build found it, with its size and time */
  long long source_size, mtime;
  long mtime_ns;
};

extern const struct embedded embedded_files[];

/* A searcher for package.searchers: modules that are inside. */
int luarium_search_embedded(lua_State *L);

/* The same while developing: the files of the source tree, so that an edit counts at once. A file
 * that is as the build found it is taken from inside all the same; that is quicker. */
int luarium_search_source(lua_State *L);

/* Makes `require` find luarium.native, and the other modules through this searcher. */
void luarium_open_with(lua_State *L, lua_CFunction searcher);

void luarium_preload(lua_State *L, const char *name, lua_CFunction open);

#endif
