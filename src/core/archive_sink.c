#include "archive_sink.h"

#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK (64 << 10)
#define FIRST ((size_t)512 << 10)

static la_ssize_t append(struct lum_sink *sink, struct archive *a, const void *data, size_t len) {
  if (sink->out_len + len > sink->out_cap) {
    size_t cap = (sink->out_len + len) * 2 > FIRST ? (sink->out_len + len) * 2 : FIRST;
    char *out = realloc(sink->out, cap);
    if (!out) {
      archive_set_error(a, ENOMEM, "out of memory");
      return -1;
    }
    sink->out = out;
    sink->out_cap = cap;
  }
  memcpy(sink->out + sink->out_len, data, len);
  sink->out_len += len;
  return (la_ssize_t)len;
}

static la_ssize_t on_packed(struct archive *a, void *arg, const void *data, size_t len) {
  struct lum_sink *sink = arg;
  return sink->abandoned ? (la_ssize_t)len : append(sink, a, data, len);
}

static la_ssize_t on_tar(struct archive *a, void *arg, const void *data, size_t len) {
  struct lum_sink *sink = arg;
  if (sink->abandoned) {
    archive_set_error(a, ECANCELED, "given up");
    return -1;
  }
  if (!sink->packed)
    return append(sink, a, data, len);
  la_ssize_t n = archive_write_data(sink->packed, data, len);
  if (n < 0)
    archive_copy_error(a, sink->packed);
  return n;
}

static bool open_packed(struct lum_sink *sink, enum lum_pack_compress compress) {
  struct archive *a = sink->packed = archive_write_new();
  if (!a || archive_write_set_format_raw(a) != ARCHIVE_OK)
    return false;
  int rc;
  if (compress == LUM_PACK_GZIP) {
    rc = archive_write_add_filter_gzip(a);
    if (rc == ARCHIVE_OK) /* the same tree gives the same bytes */
      rc = archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
  } else {
    rc = archive_write_add_filter_zstd(a);
  }
  if (rc != ARCHIVE_OK) /* a warning here means: by way of an outside program */
    return false;
  archive_write_set_bytes_per_block(a, BLOCK);
  archive_write_set_bytes_in_last_block(a, 1);
  if (archive_write_open(a, sink, NULL, on_packed, NULL) != ARCHIVE_OK)
    return false;
  struct archive_entry *entry = archive_entry_new();
  if (!entry)
    return false;
  archive_entry_set_filetype(entry, AE_IFREG);
  rc = archive_write_header(a, entry);
  archive_entry_free(entry);
  return rc == ARCHIVE_OK;
}

bool lum_sink_open(struct lum_sink *sink, enum lum_pack_format format,
                   enum lum_pack_compress compress) {
  if (compress != LUM_PACK_NONE && !open_packed(sink, compress))
    return false;
  struct archive *a = sink->tar = archive_write_new();
  if (!a)
    return false;
  int rc = format == LUM_PACK_PAX ? archive_write_set_format_pax_restricted(a)
                                  : archive_write_set_format_gnutar(a);
  archive_write_set_bytes_per_block(a, BLOCK);
  archive_write_set_bytes_in_last_block(a, 1);
  return rc == ARCHIVE_OK && archive_write_open(a, sink, NULL, on_tar, NULL) == ARCHIVE_OK;
}

bool lum_sink_end(struct lum_sink *sink) {
  return archive_write_close(sink->tar) == ARCHIVE_OK &&
         (!sink->packed || archive_write_close(sink->packed) == ARCHIVE_OK);
}

const char *lum_sink_error(const struct lum_sink *sink) {
  const char *text = archive_error_string(sink->tar);
  if (!text && sink->packed)
    text = archive_error_string(sink->packed);
  return text ? text : "unknown error";
}

void lum_sink_close(struct lum_sink *sink) {
  sink->abandoned = true;
  if (sink->tar)
    archive_write_free(sink->tar);
  if (sink->packed)
    archive_write_free(sink->packed);
  free(sink->out);
  *sink = (struct lum_sink){0};
}
