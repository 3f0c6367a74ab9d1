#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs_stream.h"

static void close_file(struct lum_reader *reader) {
  if (reader->fd >= 0)
    close(reader->fd);
  reader->fd = -1;
}

void lum_reader_close(struct lum_reader *reader) {
  reader->closed = true;
  if (!reader->busy)
    close_file(reader);
}

void lum_reader_unref(struct lum_reader *reader) {
  if (--reader->refs > 0)
    return;
  close_file(reader);
  free(reader->path);
  free(reader);
}

/* ---- open ---- */

static void open_run(struct lum_work *work) {
  struct lum_reader *reader = ((struct lum_reader_open *)work)->reader;
  struct stat st;
  reader->fd = lum_fs_open_read(AT_FDCWD, reader->path, 0, &st, &work->result_err);
  if (reader->fd >= 0)
    reader->size = (uint64_t)st.st_size;
}

static void open_release(struct lum_work *work) {
  struct lum_reader_open *op = (struct lum_reader_open *)work;
  if (op->reader)
    lum_reader_unref(op->reader);
}

static const struct lum_work_type open_type = {
    {"fs.reader", lum_work_op_cancel, lum_work_op_free}, open_run, open_release, NULL};

struct lum_op *lum_reader_open(struct lum_engine *eng, const char *path, uint64_t offset,
                               uint64_t length, size_t chunk) {
  struct lum_work *work = lum_work_new(eng, &open_type, sizeof(struct lum_reader_open));
  if (!work)
    return NULL;
  struct lum_reader *reader = calloc(1, sizeof *reader);
  if (reader) {
    *reader = (struct lum_reader){
        .eng = eng, .refs = 1, .fd = -1, .offset = offset, .left = length, .chunk = chunk};
    reader->path = strdup(path);
    ((struct lum_reader_open *)work)->reader = reader;
  }
  if (!reader || !reader->path) {
    lum_op_unref(&work->op);
    return NULL;
  }
  lum_work_start(work);
  return &work->op;
}

/* ---- read ---- */

static void step_run(struct lum_work *work) {
  struct lum_reader_step *step = (struct lum_reader_step *)work;
  struct lum_reader *reader = step->reader;
  size_t want = reader->left < reader->chunk ? (size_t)reader->left : reader->chunk;
  step->data = malloc(want + 1);
  ssize_t n =
      step->data ? lum_fs_pread_all(reader->fd, step->data, want, (off_t)reader->offset) : -1;
  if (n < 0) {
    lum_fs_fail(&work->result_err, step->data ? errno : ENOMEM, "read", reader->path);
    return;
  }
  step->len = (size_t)n;
  reader->offset += (uint64_t)n;
  reader->left -= (uint64_t)n;
}

static void step_finish(struct lum_work *work) {
  struct lum_reader *reader = ((struct lum_reader_step *)work)->reader;
  reader->busy = false;
  if (reader->closed)
    close_file(reader);
}

static void step_release(struct lum_work *work) {
  struct lum_reader_step *step = (struct lum_reader_step *)work;
  free(step->data);
  lum_reader_unref(step->reader);
}

void lum_reader_step_forget(struct lum_reader_step *step) {
  free(step->data);
  step->data = NULL;
}

static const struct lum_work_type step_type = {
    {"fs.reader.read", lum_work_op_cancel, lum_work_op_free}, step_run, step_release, step_finish};

struct lum_op *lum_reader_read(struct lum_reader *reader) {
  struct lum_work *work = lum_work_new(reader->eng, &step_type, sizeof(struct lum_reader_step));
  if (!work)
    return NULL;
  ((struct lum_reader_step *)work)->reader = reader;
  reader->refs++;
  reader->busy = true;
  lum_work_start(work);
  return &work->op;
}
