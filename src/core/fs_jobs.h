/* The jobs of fs.c, one function per verb; all run on a worker thread. For src/core/fs*.c only. */
#ifndef LUM_FS_JOBS_H
#define LUM_FS_JOBS_H

#include "fs.h"

void lum_fs_run_read(struct lum_work *work);
void lum_fs_run_write(struct lum_work *work);
void lum_fs_run_ls(struct lum_work *work);
void lum_fs_run_remove(struct lum_work *work);
void lum_fs_run_move(struct lum_work *work);
void lum_fs_run_hash(struct lum_work *work);

/* Fills out from st; reads the target when it is a link. False: err filled. */
bool lum_fs_fill_stat(struct lum_fs_stat *out, const struct stat *st, int at, const char *name,
                      struct lum_err *err);

/* Makes a folder and what is missing above it. 0 or an errno. */
int lum_fs_make_dirs(const char *path, mode_t mode);

#endif
