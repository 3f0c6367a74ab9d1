/* Archives as streams. A packer is read, an unpacker is written; neither holds more than a bounded
 * piece.
 *
 * Unpacking trusts nothing: see archive_extract.h. What it makes stays in a private folder on the
 * same file system until the whole archive has proven sound, and then moves into place. */
#ifndef LUM_ARCHIVE_H
#define LUM_ARCHIVE_H

#include "worker.h"

/* ---- packing ---- */

enum lum_pack_format { LUM_PACK_GNU, LUM_PACK_PAX };
enum lum_pack_compress { LUM_PACK_NONE, LUM_PACK_GZIP, LUM_PACK_ZSTD };

struct lum_pack_opts {
  const char *root;
  const char *const *paths; /* below root; NULL: everything in it */
  size_t path_count;
  const char *const
      *exclude; /* globs: with a slash for the whole path, without for any name in it */
  size_t exclude_count;
  enum lum_pack_format format;
  enum lum_pack_compress compress;
  bool owner; /* keep numeric owners; otherwise 0 */
  const char *
      mark; /* name of an empty file after everything else: with it the archive is whole; or NULL */
};

struct lum_pack_stats {
  uint64_t files, dirs, links, bytes, skipped;
};

struct lum_pack;

/* Copies opts. NULL with err filled. The caller's reference is returned. */
struct lum_pack *lum_pack_new(struct lum_engine *eng, const struct lum_pack_opts *opts,
                              struct lum_err *err);
bool lum_pack_busy(const struct lum_pack *pack);
bool lum_pack_closed(const struct lum_pack *pack);
const struct lum_pack_stats *lum_pack_stats(const struct lum_pack *pack); /* while not busy */

struct lum_pack_step {
  struct lum_work work;
  struct lum_pack *pack;
  char *data; /* freed by lum_pack_step_forget or with the op */
  size_t len; /* 0: the end */
};

/* The next piece, one at a time. NULL: out of memory. */
struct lum_op *lum_pack_read(struct lum_pack *pack);
void lum_pack_step_forget(struct lum_pack_step *step);

/* Closes its files, at once or when the step in flight has ended. May be called again. */
void lum_pack_close(struct lum_pack *pack);
void lum_pack_unref(struct lum_pack *pack);

/* ---- unpacking ---- */

struct lum_unpack_opts {
  const char *dest;
  uint64_t max_bytes;         /* all files together */
  uint64_t max_files;         /* files, folders and links */
  uint64_t max_ratio;         /* unpacked to packed, looked at from 16 MiB on; 0: any */
  unsigned max_depth;         /* folders in a name */
  unsigned max_name;          /* bytes of a name */
  unsigned strip;             /* leading folders dropped from each name */
  bool skip_links;            /* leave unsafe links out instead of refusing the archive */
  const char *const *exclude; /* globs as for packing; what is below such a folder goes with it */
  size_t exclude_count;
};

#define LUM_UNPACK_SKIPPED 100

struct lum_unpack_skipped {
  char *path;
  const char *reason;
};

struct lum_unpack_result {
  uint64_t files, dirs, links, bytes, skipped_count;
  struct lum_unpack_skipped skipped[LUM_UNPACK_SKIPPED];
};

/* An unpacker is an operation, in flight from the start until its thread has ended: its result is
 * that of the whole. Cancelling it is aborting: nothing stays behind. */
struct lum_unpack;

/* NULL: out of memory. The caller's reference is returned. */
struct lum_unpack *lum_unpack_new(struct lum_engine *eng, const struct lum_unpack_opts *opts);
struct lum_op *lum_unpack_op(struct lum_unpack *unpack);
struct lum_unpack *lum_unpack_of(struct lum_op *op);
const struct lum_unpack_result *
lum_unpack_result(const struct lum_unpack *unpack); /* once it is done */

bool lum_unpack_writing(const struct lum_unpack *unpack);  /* a write is in flight */
bool lum_unpack_finished(const struct lum_unpack *unpack); /* lum_unpack_finish was called */

/* Queues a copy of bytes; ends when there is room for more. One at a time. NULL: out of memory. */
struct lum_op *lum_unpack_write(struct lum_unpack *unpack, const char *bytes, size_t len);

/* No more bytes will come. */
void lum_unpack_finish(struct lum_unpack *unpack);

#endif
