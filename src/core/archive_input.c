#include "archive_input.h"

#include <archive.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "fs_util.h"

#define OUT ((size_t)128 << 10)
#define RATIO_FROM ((uint64_t)16 << 20) /* small archives may well be mostly nothing */

enum coding { CODING_UNKNOWN, CODING_PLAIN, CODING_GZIP, CODING_ZSTD };

struct lum_input {
  struct lum_queue *queue;
  uint64_t max_ratio, packed, unpacked;
  enum coding coding;
  struct lum_queue_chunk *chunk; /* whose bytes are at `data` */
  const char *data;
  size_t len;
  bool ended; /* of the stream inside */
  z_stream zip;
  bool zip_open;
  struct archive *zstd;
  char out[OUT];
};

struct lum_input *lum_input_new(struct lum_queue *queue, uint64_t max_ratio) {
  struct lum_input *input = calloc(1, sizeof *input);
  if (!input)
    return NULL;
  input->queue = queue;
  input->max_ratio = max_ratio;
  return input;
}

void lum_input_free(struct lum_input *input) {
  if (!input)
    return;
  if (input->zip_open)
    inflateEnd(&input->zip);
  if (input->zstd)
    archive_read_free(input->zstd);
  free(input->chunk);
  free(input);
}

static long fail(struct lum_err *err, const char *what) {
  char shown[LUM_SHOWN];
  lum_err_set(err, LUM_PROTOCOL, "unpack: %s", lum_fs_show(shown, what));
  return -1;
}

bool lum_input_check_ratio(struct lum_input *input, uint64_t unpacked, struct lum_err *err) {
  if (input->max_ratio == 0 || unpacked < RATIO_FROM ||
      unpacked / input->max_ratio <= input->packed)
    return true;
  return lum_err_set(err, LUM_QUOTA,
                     "unpack: %" PRIu64 " bytes became more than %" PRIu64
                     ", over the limit of 1:%" PRIu64 " (ratio)",
                     input->packed, unpacked, input->max_ratio);
}

/* ---- packed bytes ---- */

/* Makes sure that there is something at data: 1, 0 at the end, -1 when cancelled. */
static int fill(struct lum_input *input, struct lum_err *err) {
  while (input->len == 0) {
    free(input->chunk);
    input->chunk = lum_queue_take(input->queue);
    if (!input->chunk && lum_queue_cancelled(input->queue)) {
      lum_err_set(err, LUM_CANCELLED, "unpack: cancelled");
      return -1;
    }
    if (!input->chunk)
      return 0;
    input->data = input->chunk->data;
    input->len = input->chunk->len;
    input->packed += input->len;
  }
  return 1;
}

/* The first bytes may come one by one: joins chunks until there are enough to tell what they are.
 */
static int gather(struct lum_input *input, size_t need, struct lum_err *err) {
  int rc = fill(input, err);
  while (rc == 1 && input->len < need) {
    struct lum_queue_chunk *next = lum_queue_take(input->queue);
    if (!next)
      return lum_queue_cancelled(input->queue) ? fill(input, err) : 1;
    struct lum_queue_chunk *joined = malloc(sizeof *joined + input->len + next->len);
    if (!joined) {
      free(next);
      lum_err_sys(err, ENOMEM, "unpack");
      return -1;
    }
    memcpy(joined->data, input->data, input->len);
    memcpy(joined->data + input->len, next->data, next->len);
    input->packed += next->len;
    input->len += next->len;
    free(input->chunk);
    free(next);
    input->chunk = joined;
    input->data = joined->data;
  }
  return rc;
}

/* ---- decoders: bytes decoded, 0 at the end, -1 ---- */

static long read_plain(struct lum_input *input, const void **data, struct lum_err *err) {
  int rc = fill(input, err);
  if (rc <= 0)
    return rc;
  long n = (long)input->len;
  *data = input->data;
  input->len = 0;
  return n;
}

/* Behind a gzip stream: another one, padding, or something that does not belong there. */
static int next_member(struct lum_input *input, struct lum_err *err) {
  for (;;) {
    int rc = fill(input, err);
    if (rc <= 0)
      return rc;
    if (*input->data == '\0') {
      input->data++;
      input->len--;
    } else if ((unsigned char)*input->data == 0x1f) {
      return inflateReset(&input->zip) == Z_OK ? 1 : (int)fail(err, "gzip");
    } else {
      return (int)fail(err, "there is something behind the end of the gzip data");
    }
  }
}

static long read_gzip(struct lum_input *input, const void **data, struct lum_err *err) {
  z_stream *zip = &input->zip;
  zip->next_out = (Bytef *)input->out;
  zip->avail_out = OUT;
  while (zip->avail_out > 0 && !input->ended) {
    int rc = fill(input, err);
    if (rc <= 0)
      return rc < 0 ? -1 : fail(err, "the gzip data ends too early");
    uInt len = input->len < UINT32_MAX ? (uInt)input->len : UINT32_MAX;
    zip->next_in = (Bytef *)(uintptr_t)input->data;
    zip->avail_in = len;
    int status = inflate(zip, Z_NO_FLUSH);
    input->data += len - zip->avail_in;
    input->len -= len - zip->avail_in;
    if (status == Z_STREAM_END) {
      rc = next_member(input, err);
      if (rc < 0)
        return -1;
      input->ended = rc == 0;
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      return fail(err, zip->msg ? zip->msg : "the gzip data is damaged");
    }
  }
  *data = input->out;
  return (long)(OUT - zip->avail_out);
}

static la_ssize_t on_zstd_read(struct archive *a, void *arg, const void **data) {
  struct lum_input *input = arg;
  struct lum_err err;
  long n = read_plain(input, data, &err);
  if (n < 0)
    archive_set_error(a, ECANCELED, "cancelled");
  return (la_ssize_t)n;
}

static long fail_zstd(struct lum_input *input, struct lum_err *err) {
  if (lum_queue_cancelled(input->queue)) {
    lum_err_set(err, LUM_CANCELLED, "unpack: cancelled");
    return -1;
  }
  const char *text = archive_error_string(input->zstd);
  return fail(err, text ? text : "the zstd data is damaged");
}

static long read_zstd(struct lum_input *input, const void **data, struct lum_err *err) {
  if (input->ended)
    return 0;
  la_ssize_t n = archive_read_data(input->zstd, input->out, OUT);
  if (n < 0)
    return fail_zstd(input, err);
  input->ended = n == 0;
  *data = input->out;
  return (long)n;
}

/* ---- which one ---- */

static bool open_gzip(struct lum_input *input, struct lum_err *err) {
  input->zip_open = inflateInit2(&input->zip, 15 + 16) == Z_OK;
  return input->zip_open || lum_err_sys(err, ENOMEM, "unpack");
}

static bool open_zstd(struct lum_input *input, struct lum_err *err) {
  struct archive *a = input->zstd = archive_read_new();
  struct archive_entry *entry;
  if (!a)
    return lum_err_sys(err, ENOMEM, "unpack");
  if (archive_read_support_filter_zstd(a) !=
      ARCHIVE_OK) /* a warning: by way of an outside program */
    return lum_err_set(err, LUM_UNSUPPORTED, "unpack: this libarchive has no zstd");
  archive_read_support_format_raw(a);
  if (archive_read_open(a, input, NULL, on_zstd_read, NULL) != ARCHIVE_OK ||
      archive_read_next_header(a, &entry) != ARCHIVE_OK)
    return fail_zstd(input, err) == 0;
  return true;
}

static bool detect(struct lum_input *input, struct lum_err *err) {
  int rc = gather(input, 4, err);
  if (rc < 0)
    return false;
  if (rc == 0)
    return fail(err, "there is no archive: the input is empty") == 0;
  input->coding = CODING_PLAIN;
  if (input->len >= 2 && memcmp(input->data, "\x1f\x8b", 2) == 0) {
    input->coding = CODING_GZIP;
    return open_gzip(input, err);
  }
  if (input->len >= 4 && memcmp(input->data, "\x28\xb5\x2f\xfd", 4) == 0) {
    input->coding = CODING_ZSTD;
    return open_zstd(input, err);
  }
  return true;
}

long lum_input_read(struct lum_input *input, const void **data, struct lum_err *err) {
  if (input->coding == CODING_UNKNOWN && !detect(input, err))
    return -1;
  long n = input->coding == CODING_GZIP   ? read_gzip(input, data, err)
           : input->coding == CODING_ZSTD ? read_zstd(input, data, err)
                                          : read_plain(input, data, err);
  if (n <= 0)
    return n;
  input->unpacked += (uint64_t)n;
  return lum_input_check_ratio(input, input->unpacked, err) ? n : -1;
}
