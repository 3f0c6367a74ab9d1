/* The libraries that the engine runs with. */
#ifndef LUM_VERSIONS_H
#define LUM_VERSIONS_H

struct lum_library {
  const char *name;
  const char *version; /* of the library that is loaded, not of the header */
};

/* A static list; its last entry has no name. May load libraries. */
const struct lum_library *lum_libraries(void);

#endif
