/* An unpacker: libarchive pulls, we are pushed to, so each has a thread of its own behind a bounded
 * queue. The thread is joined before the operation completes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive_extract.h"
#include "fs.h"
#include "fs_util.h"

#define QUEUE_LIMIT ((size_t)1 << 20)

struct lum_unpack {
  struct lum_op op; /* references: the caller's, the engine's, the async handle's, one per write */
  struct lum_unpack_opts opts;
  struct lum_queue queue;
  uv_async_t async;
  uv_thread_t thread;
  struct lum_op *write; /* waiting for room, or NULL */
  bool finished;
  /* The thread's until `exited`, which goes through the mutex of the queue. */
  bool exited;
  struct lum_err err;
  struct lum_unpack_result result;
};

/* ---- the thread ---- */

/* Where the tree grows: in a folder of its own inside dest, or beside it when dest is not there
 * yet. */
struct place {
  int base;
  char *name; /* of dest in base; NULL when base is dest itself */
  char temp[LUM_TEMP_NAME];
  mode_t mode; /* what a folder gets here */
};

static bool fail(struct lum_unpack *u, int errnum) {
  return lum_fs_fail(&u->err, errnum, "unpack into", u->opts.dest);
}

static bool open_place(struct lum_unpack *u, struct place *place) {
  place->base = open(u->opts.dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (place->base < 0 && errno == ENOTDIR) {
    char shown[LUM_SHOWN];
    return lum_err_set(&u->err, LUM_CONFLICT, "unpack into %s: not a folder",
                       lum_fs_show(shown, u->opts.dest));
  }
  if (place->base < 0 && errno == ENOENT) {
    char *dir;
    place->name = lum_fs_split(u->opts.dest, &dir);
    if (!place->name)
      return fail(u, ENOMEM);
    place->base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int saved = errno;
    free(dir);
    errno = saved;
  }
  if (place->base < 0)
    return fail(u, errno);
  lum_fs_temp_name(place->temp, ".luarium-unpack-");
  return true;
}

static int make_temp(struct lum_unpack *u, struct place *place) {
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  struct stat st;
  if (mkdirat(place->base, place->temp, 0777) != 0) {
    fail(u, errno);
    return -1;
  }
  int fd = openat(place->base, place->temp, flags);
  if (fd < 0 || fstat(fd, &st) != 0 || fchmod(fd, 0700) != 0) {
    fail(u, errno);
    unlinkat(place->base, place->temp, AT_REMOVEDIR);
    if (fd >= 0)
      close(fd);
    return -1;
  }
  place->mode = st.st_mode & 0777;
  return fd;
}

static bool extract_into(struct lum_unpack *u, int root) {
  struct lum_input *input = lum_input_new(&u->queue, u->opts.max_ratio);
  if (!input)
    return fail(u, ENOMEM);
  bool ok = lum_extract(input, root, &u->opts, &u->queue, &u->result, &u->err);
  lum_input_free(input);
  return ok;
}

static bool settle(struct lum_unpack *u, struct place *place, int root) {
  if (lum_queue_cancelled(&u->queue))
    return lum_err_set(&u->err, LUM_CANCELLED, "unpack: cancelled");
  if (!place->name)
    return lum_extract_merge(place->base, place->temp, &u->err);
  if (fchmod(root, place->mode) != 0 ||
      renameat(place->base, place->temp, place->base, place->name) != 0)
    return fail(u, errno);
  return true;
}

static void unpack_all(struct lum_unpack *u) {
  struct place place = {.base = -1};
  if (open_place(u, &place)) {
    int root = make_temp(u, &place);
    if (root >= 0) {
      struct lum_err ignored;
      bool ok = extract_into(u, root) && settle(u, &place, root);
      close(root);
      if (!ok || !place.name) /* after a merge only empty folders are left */
        lum_fs_remove_tree(NULL, place.base, place.temp, &ignored);
    }
    close(place.base);
  }
  free(place.name);
}

static void on_taken(void *arg) {
  uv_async_send(&((struct lum_unpack *)arg)->async);
}

static void thread_main(void *arg) {
  struct lum_unpack *u = arg;
  unpack_all(u);
  uv_mutex_lock(&u->queue.mutex);
  u->exited = true;
  uv_mutex_unlock(&u->queue.mutex);
  uv_async_send(
      &u->async); /* the last touch: the engine joins the thread before it frees anything */
}

/* ---- on the engine's thread ---- */

struct unpack_write {
  struct lum_op op;
  struct lum_unpack *unpack;
};

static void write_end(struct lum_unpack *u, const struct lum_err *err) {
  struct lum_op *op = u->write;
  u->write = NULL;
  if (err && err->kind != LUM_OK)
    op->err = *err;
  lum_op_complete(op);
}

static void on_close(uv_handle_t *handle) {
  lum_op_unref(&((struct lum_unpack *)handle->data)->op);
}

static void on_async(uv_async_t *async) {
  struct lum_unpack *u = async->data;
  uv_mutex_lock(&u->queue.mutex);
  bool exited = u->exited, room = u->queue.bytes <= QUEUE_LIMIT;
  uv_mutex_unlock(&u->queue.mutex);
  if (!exited) {
    if (room && u->write)
      write_end(u, NULL);
    return;
  }
  uv_thread_join(&u->thread);
  if (u->write)
    write_end(u, &u->err);
  uv_close((uv_handle_t *)async, on_close);
  u->op.err = u->err;
  lum_op_complete(&u->op);
}

static void free_opts(struct lum_unpack_opts *opts) {
  free((char *)opts->dest);
  lum_fs_free_list((char **)opts->exclude, opts->exclude_count);
}

static bool copy_opts(struct lum_unpack_opts *copy, const struct lum_unpack_opts *opts) {
  *copy = *opts;
  copy->dest = strdup(opts->dest);
  copy->exclude = (const char *const *)lum_fs_copy_list(opts->exclude, opts->exclude_count);
  if (copy->dest && copy->exclude)
    return true;
  free((char *)copy->dest);
  if (copy->exclude)
    lum_fs_free_list((char **)copy->exclude, copy->exclude_count);
  return false;
}

static void unpack_cancel(struct lum_op *op) {
  lum_queue_cancel(&((struct lum_unpack *)op)->queue);
}

static void unpack_free(struct lum_op *op) {
  struct lum_unpack *u = (struct lum_unpack *)op;
  for (size_t i = 0; i < LUM_UNPACK_SKIPPED; i++)
    free(u->result.skipped[i].path);
  lum_queue_destroy(&u->queue);
  free_opts(&u->opts);
  free(u);
}

static const struct lum_op_type unpack_type = {"archive.unpack", unpack_cancel, unpack_free};

/* No thread: the operation ends with the reason at once. */
static void start_thread(struct lum_unpack *u) {
  int rc = uv_thread_create(&u->thread, thread_main, u);
  if (rc == 0)
    return;
  lum_err_sys(&u->op.err, -rc, "unpack: cannot start a thread");
  uv_close((uv_handle_t *)&u->async, on_close);
  lum_op_complete(&u->op);
}

struct lum_unpack *lum_unpack_new(struct lum_engine *eng, const struct lum_unpack_opts *opts) {
  struct lum_unpack *u = calloc(1, sizeof *u);
  if (!u)
    return NULL;
  if (!copy_opts(&u->opts, opts)) {
    free(u);
    return NULL;
  }
  if (!lum_queue_create(&u->queue)) {
    free_opts(&u->opts);
    free(u);
    return NULL;
  }
  if (uv_async_init(&eng->loop, &u->async, on_async) != 0) {
    lum_queue_destroy(&u->queue);
    free_opts(&u->opts);
    free(u);
    return NULL;
  }
  u->async.data = u;
  u->queue.on_taken = on_taken;
  u->queue.arg = u;
  lum_op_init(&u->op, eng, &unpack_type);
  lum_op_start(&u->op);
  lum_op_ref(&u->op); /* the handle's, until it is closed */
  start_thread(u);
  return u;
}

struct lum_op *lum_unpack_op(struct lum_unpack *unpack) {
  return &unpack->op;
}

struct lum_unpack *lum_unpack_of(struct lum_op *op) {
  return op->type == &unpack_type ? (struct lum_unpack *)op : NULL;
}

const struct lum_unpack_result *lum_unpack_result(const struct lum_unpack *unpack) {
  return &unpack->result;
}

bool lum_unpack_writing(const struct lum_unpack *unpack) {
  return unpack->write != NULL;
}

bool lum_unpack_finished(const struct lum_unpack *unpack) {
  return unpack->finished;
}

void lum_unpack_finish(struct lum_unpack *unpack) {
  unpack->finished = true;
  lum_queue_end(&unpack->queue);
}

/* ---- write ---- */

static void write_cancel(struct lum_op *op) {
  struct lum_unpack *u = ((struct unpack_write *)op)->unpack;
  lum_op_set_cancelled(op);
  u->write = NULL;
  lum_op_complete(op);
}

static void write_free(struct lum_op *op) {
  lum_op_unref(&((struct unpack_write *)op)->unpack->op);
  free(op);
}

static const struct lum_op_type write_type = {"archive.unpack.write", write_cancel, write_free};

struct lum_op *lum_unpack_write(struct lum_unpack *unpack, const char *bytes, size_t len) {
  struct unpack_write *write = calloc(1, sizeof *write);
  if (!write)
    return NULL;
  write->unpack = unpack;
  lum_op_init(&write->op, unpack->op.eng, &write_type);
  lum_op_ref(&unpack->op);
  lum_op_start(&write->op);
  if (unpack->op.done) {
    write->op.err = unpack->op.err;
    lum_op_complete(&write->op);
  } else if (!lum_queue_put(&unpack->queue, bytes, len)) {
    lum_err_sys(&write->op.err, ENOMEM, "unpack");
    lum_op_complete(&write->op);
  } else if (lum_queue_bytes(&unpack->queue) <= QUEUE_LIMIT) {
    lum_op_complete(&write->op);
  } else {
    unpack->write = &write->op;
  }
  return &write->op;
}
