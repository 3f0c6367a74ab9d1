/* Copies of files and trees. Every folder is opened from the one above without following links, on
 * both sides, so that whoever changes the tree meanwhile cannot lead the copy elsewhere. */
#ifndef LUM_COPY_H
#define LUM_COPY_H

#include "fs_util.h"

struct lum_copy_opts {
  bool refuse_outside;  /* skip links that are absolute or leave the tree */
  char *const *exclude; /* globs, see lum_fs_excluded; lum_copy_start copies them */
  size_t exclude_count;
};

#define LUM_COPY_SKIPPED 100

struct lum_copy_skipped {
  char *path; /* from the root of the tree */
  const char *reason;
};

struct lum_copy_result {
  uint64_t files, bytes, links, dirs;
  uint64_t skipped_count; /* all of them; the list keeps the first ones */
  struct lum_copy_skipped skipped[LUM_COPY_SKIPPED];
};

struct lum_copy {
  struct lum_work work;
  char *from, *to;
  struct lum_copy_opts opts;
  char **exclude;
  struct lum_copy_result result;
};

/* Copies a file, link or tree to exactly `to`. A tree merges into a folder that is there; a file
 * never replaces a folder. Modes (without set-uid and the like) and times are kept, owners and hard
 * links are not. NULL: out of memory. */
struct lum_op *lum_copy_start(struct lum_engine *eng, const char *from, const char *to,
                              const struct lum_copy_opts *opts);

/* The same inside a worker job, which lends its cancel flag and its progress. */
bool lum_copy_tree(struct lum_work *work, const char *from, const char *to,
                   const struct lum_copy_opts *opts, struct lum_copy_result *result,
                   struct lum_err *err);

void lum_copy_result_clear(struct lum_copy_result *result);

/* The bytes of one open file into another, holes left out where the file system tells them. 0 or an
 * errno, ECANCELED when work was cancelled. */
int lum_copy_bytes(struct lum_work *work, int from, int to, uint64_t size);

#endif
