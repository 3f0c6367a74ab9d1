/* Where a packer writes to: libarchive's tar, and behind it a second one that only compresses. They
 * are apart so that a packer can be given up at any point: the end of a half file, which the tar
 * would still write, stops at once. */
#ifndef LUM_ARCHIVE_SINK_H
#define LUM_ARCHIVE_SINK_H

#include <archive.h>

#include "archive.h"

struct lum_sink {
  struct archive *tar, *packed; /* packed: NULL without compression */
  char *out;                    /* what came out and was not taken */
  size_t out_len, out_cap;
  bool abandoned;
};

/* False: this libarchive cannot do it, or there is no memory. To be closed either way. */
bool lum_sink_open(struct lum_sink *sink, enum lum_pack_format format,
                   enum lum_pack_compress compress);

/* Writes the end marks. */
bool lum_sink_end(struct lum_sink *sink);

/* Why something failed; one line. */
const char *lum_sink_error(const struct lum_sink *sink);

void lum_sink_close(struct lum_sink *sink);

#endif
