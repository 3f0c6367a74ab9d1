#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs_stream.h"

#define SLICE ((size_t)8 << 20) /* between two looks at the cancel flag */

struct write_step {
  struct lum_work work;
  struct lum_writer *writer;
  char *data; /* NULL: the closing step */
  size_t len;
};

static void close_file(struct lum_writer *writer) {
  if (writer->atomic)
    lum_fs_atomic_close(&writer->file);
  else if (writer->file.fd >= 0)
    close(writer->file.fd);
  writer->file.fd = -1;
}

void lum_writer_abort(struct lum_writer *writer) {
  writer->closed = true;
  if (!writer->busy)
    close_file(writer);
}

void lum_writer_unref(struct lum_writer *writer) {
  if (--writer->refs > 0)
    return;
  close_file(writer);
  free(writer->path);
  free(writer);
}

/* ---- open ---- */

static void open_run(struct lum_work *work) {
  struct lum_writer_open *op = (struct lum_writer_open *)work;
  struct lum_writer *writer = op->writer;
  if (writer->atomic)
    lum_fs_atomic_open(&writer->file, writer->path, op->mode, &work->result_err);
  else
    writer->file.fd = lum_fs_open_write(writer->path, op->mode, op->append, &work->result_err);
}

static void open_release(struct lum_work *work) {
  struct lum_writer_open *op = (struct lum_writer_open *)work;
  if (op->writer)
    lum_writer_unref(op->writer);
}

static const struct lum_work_type open_type = {
    {"fs.writer", lum_work_op_cancel, lum_work_op_free}, open_run, open_release, NULL};

struct lum_op *lum_writer_open(struct lum_engine *eng, const char *path, int mode, bool append,
                               bool atomic) {
  struct lum_work *work = lum_work_new(eng, &open_type, sizeof(struct lum_writer_open));
  if (!work)
    return NULL;
  struct lum_writer_open *op = (struct lum_writer_open *)work;
  op->mode = mode;
  op->append = append;
  op->writer = calloc(1, sizeof *op->writer);
  if (op->writer) {
    *op->writer =
        (struct lum_writer){.eng = eng, .refs = 1, .atomic = atomic, .file = {-1, -1, NULL, NULL}};
    op->writer->path = strdup(path);
  }
  if (!op->writer || !op->writer->path) {
    lum_op_unref(&work->op);
    return NULL;
  }
  lum_work_start(work);
  return &work->op;
}

/* ---- write and close ---- */

static void write_run(struct write_step *step) {
  struct lum_writer *writer = step->writer;
  struct lum_work *work = &step->work;
  for (size_t at = 0; at < step->len; at += SLICE) {
    if (lum_work_cancelled(work))
      return;
    size_t len = step->len - at < SLICE ? step->len - at : SLICE;
    int rc = lum_fs_write_all(writer->file.fd, step->data + at, len);
    if (rc != 0) {
      lum_fs_fail(&work->result_err, rc, "write", writer->path);
      return;
    }
  }
}

static void close_run(struct write_step *step) {
  struct lum_writer *writer = step->writer;
  struct lum_err *err = &step->work.result_err;
  char shown[LUM_SHOWN];
  if (writer->failed) {
    lum_err_set(err, LUM_IO, "close %s: an earlier write failed, so the file is not complete",
                lum_fs_show(shown, writer->path));
  } else if (writer->atomic) {
    lum_fs_atomic_commit(&writer->file, false, err);
  } else {
    int fd = writer->file.fd;
    writer->file.fd = -1;
    if (close(fd) != 0)
      lum_fs_fail(err, errno, "close", writer->path);
  }
}

static void step_run(struct lum_work *work) {
  struct write_step *step = (struct write_step *)work;
  if (step->data)
    write_run(step);
  else
    close_run(step);
}

void lum_writer_take(struct lum_writer *writer) {
  writer->refs++;
  writer->busy = true;
}

void lum_writer_give_back(struct lum_writer *writer, bool failed) {
  writer->busy = false;
  writer->failed = writer->failed || failed;
  if (writer->closed)
    close_file(writer);
}

static void step_finish(struct lum_work *work) {
  lum_writer_give_back(((struct write_step *)work)->writer, work->op.err.kind != LUM_OK);
}

static void step_release(struct lum_work *work) {
  struct write_step *step = (struct write_step *)work;
  free(step->data);
  lum_writer_unref(step->writer);
}

static const struct lum_work_type write_type = {
    {"fs.writer.write", lum_work_op_cancel, lum_work_op_free}, step_run, step_release, step_finish};
static const struct lum_work_type close_type = {
    {"fs.writer.close", lum_work_op_cancel, lum_work_op_free}, step_run, step_release, step_finish};

static struct lum_op *start(struct lum_writer *writer, const struct lum_work_type *type, char *data,
                            size_t len) {
  struct lum_work *work = lum_work_new(writer->eng, type, sizeof(struct write_step));
  if (!work) {
    free(data);
    return NULL;
  }
  struct write_step *step = (struct write_step *)work;
  step->writer = writer;
  step->data = data;
  step->len = len;
  lum_writer_take(writer);
  lum_work_start(work);
  return &work->op;
}

struct lum_op *lum_writer_write(struct lum_writer *writer, const char *bytes, size_t len) {
  char *data = malloc(len + 1);
  if (!data)
    return NULL;
  memcpy(data, bytes, len);
  return start(writer, &write_type, data, len);
}

struct lum_op *lum_writer_close(struct lum_writer *writer) {
  struct lum_op *op = start(writer, &close_type, NULL, 0);
  if (op)
    writer->closed = true;
  return op;
}
