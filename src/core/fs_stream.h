/* Files read and written piece by piece. A reader or writer lives on the engine's thread and is
 * counted: its owner holds one reference and each step in flight another. One step at a time: look
 * at `busy` before starting one. */
#ifndef LUM_FS_STREAM_H
#define LUM_FS_STREAM_H

#include "fs_util.h"

struct lum_reader {
  struct lum_engine *eng;
  unsigned refs;
  bool busy, closed;
  int fd;
  char *path;
  uint64_t size;         /* of the file, when it was opened */
  uint64_t offset, left; /* still to read */
  size_t chunk;
};

struct lum_reader_open {
  struct lum_work work;
  struct lum_reader *reader; /* whoever takes it sets NULL */
};

struct lum_reader_step {
  struct lum_work work;
  struct lum_reader *reader;
  char *data;
  size_t len; /* 0: the end */
};

/* Each starts an operation; NULL: out of memory. */
struct lum_op *lum_reader_open(struct lum_engine *eng, const char *path, uint64_t offset,
                               uint64_t length, size_t chunk);
struct lum_op *lum_reader_read(struct lum_reader *reader);

/* Frees the bytes of a step that has ended. */
void lum_reader_step_forget(struct lum_reader_step *step);

/* Closes the file, at once or when the step in flight has ended. May be called again. */
void lum_reader_close(struct lum_reader *reader);
void lum_reader_unref(struct lum_reader *reader);

struct lum_writer {
  struct lum_engine *eng;
  unsigned refs;
  bool busy, closed;
  bool failed; /* a step failed or was cancelled: the file has a gap and must not be committed */
  bool atomic;
  struct lum_fs_atomic file; /* dir, name and temp only when atomic */
  char *path;
};

struct lum_writer_open {
  struct lum_work work;
  struct lum_writer *writer; /* whoever takes it sets NULL */
  int mode;
  bool append;
};

struct lum_op *lum_writer_open(struct lum_engine *eng, const char *path, int mode, bool append,
                               bool atomic);
struct lum_op *lum_writer_write(struct lum_writer *writer, const char *bytes, size_t len);

/* Ends the file; an atomic one appears now. The writer counts as closed from here on. */
struct lum_op *lum_writer_close(struct lum_writer *writer);

/* For whoever writes to the file himself, on a worker: nobody else does meanwhile. */
void lum_writer_take(struct lum_writer *writer);
void lum_writer_give_back(struct lum_writer *writer, bool failed);

/* Closes without a commit: an atomic file is gone, another stays as it is. May be called again. */
void lum_writer_abort(struct lum_writer *writer);
void lum_writer_unref(struct lum_writer *writer);

#endif
