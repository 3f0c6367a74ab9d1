#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static const char hex_digits[] = "0123456789abcdef";

/* ---- hashes ---- */

static const struct {
  const char *name;
  const EVP_MD *(*md)(void);
} algos[] = {{"sha256", EVP_sha256}, {"sha1", EVP_sha1}, {"md5", EVP_md5}, {"sha512", EVP_sha512}};

static const EVP_MD *find_algo(const char *name) {
  for (size_t i = 0; i < sizeof algos / sizeof *algos; i++) {
    if (strcmp(algos[i].name, name) == 0)
      return algos[i].md();
  }
  return NULL;
}

bool lum_hash_known(const char *algo) {
  return find_algo(algo) != NULL;
}

struct lum_hasher {
  EVP_MD_CTX *ctx;
  bool failed;
};

struct lum_hasher *lum_hasher_new(const char *algo) {
  const EVP_MD *md = find_algo(algo);
  struct lum_hasher *hasher = md ? calloc(1, sizeof *hasher) : NULL;
  if (!hasher)
    return NULL;
  hasher->ctx = EVP_MD_CTX_new();
  if (hasher->ctx && EVP_DigestInit_ex(hasher->ctx, md, NULL) == 1)
    return hasher;
  lum_hasher_free(hasher);
  return NULL;
}

void lum_hasher_free(struct lum_hasher *hasher) {
  if (!hasher)
    return;
  EVP_MD_CTX_free(hasher->ctx);
  free(hasher);
}

void lum_hasher_update(struct lum_hasher *hasher, const void *data, size_t len) {
  if (EVP_DigestUpdate(hasher->ctx, data, len) != 1)
    hasher->failed = true;
}

size_t lum_hasher_digest(struct lum_hasher *hasher, unsigned char out[static LUM_HASH_MAX]) {
  unsigned n = 0;
  EVP_MD_CTX *copy = EVP_MD_CTX_new();
  bool ok = copy && !hasher->failed && EVP_MD_CTX_copy_ex(copy, hasher->ctx) == 1 &&
            EVP_DigestFinal_ex(copy, out, &n) == 1;
  EVP_MD_CTX_free(copy);
  return ok ? n : 0;
}

size_t lum_hasher_hex(struct lum_hasher *hasher, char out[static LUM_HASH_HEX]) {
  unsigned char digest[LUM_HASH_MAX];
  size_t len = lum_hasher_digest(hasher, digest), n = lum_hex_encode(digest, len, out);
  out[n] = '\0';
  return n;
}

size_t lum_hash(const char *algo, const void *data, size_t len,
                unsigned char out[static LUM_HASH_MAX]) {
  unsigned n = 0;
  const EVP_MD *md = find_algo(algo);
  return md && EVP_Digest(data, len, out, &n, md, NULL) == 1 ? n : 0;
}

size_t lum_hmac(const char *algo, const void *key, size_t key_len, const void *data, size_t len,
                unsigned char out[static LUM_HASH_MAX]) {
  unsigned n = 0;
  const EVP_MD *md = find_algo(algo);
  if (!md || key_len > INT32_MAX || !HMAC(md, key, (int)key_len, data, len, out, &n))
    return 0;
  return n;
}

/* ---- hex and base64 ---- */

size_t lum_hex_encode(const void *data, size_t len, char *out) {
  const unsigned char *in = data;
  for (size_t i = 0; i < len; i++) {
    out[2 * i] = hex_digits[in[i] >> 4];
    out[2 * i + 1] = hex_digits[in[i] & 15];
  }
  return 2 * len;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

bool lum_hex_decode(const char *text, size_t len, unsigned char *out, size_t *out_len) {
  if (len % 2 != 0)
    return false;
  for (size_t i = 0; i < len; i += 2) {
    int high = hex_value(text[i]), low = hex_value(text[i + 1]);
    if (high < 0 || low < 0)
      return false;
    out[i / 2] = (unsigned char)(high << 4 | low);
  }
  *out_len = len / 2;
  return true;
}

static const char base64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t lum_base64_encode(const void *data, size_t len, bool url, char *out) {
  const unsigned char *in = data;
  const char *digits = url ? base64_url : base64_std;
  size_t n = 0;
  for (size_t i = 0; i < len; i += 3) {
    uint32_t bits = (uint32_t)in[i] << 16;
    if (i + 1 < len)
      bits |= (uint32_t)in[i + 1] << 8;
    if (i + 2 < len)
      bits |= in[i + 2];
    out[n++] = digits[bits >> 18];
    out[n++] = digits[bits >> 12 & 63];
    if (i + 1 < len)
      out[n++] = digits[bits >> 6 & 63];
    else if (!url)
      out[n++] = '=';
    if (i + 2 < len)
      out[n++] = digits[bits & 63];
    else if (!url)
      out[n++] = '=';
  }
  return n;
}

static int base64_value(char c, bool url) {
  if (c >= 'A' && c <= 'Z')
    return c - 'A';
  if (c >= 'a' && c <= 'z')
    return c - 'a' + 26;
  if (c >= '0' && c <= '9')
    return c - '0' + 52;
  if (c == (url ? '-' : '+'))
    return 62;
  return c == (url ? '_' : '/') ? 63 : -1;
}

/* How many characters before the padding; false when the length or the padding is wrong. */
static bool base64_body(const char *text, size_t *len, bool url) {
  size_t n = *len, pad = 0;
  while (pad < 2 && n > 0 && text[n - 1] == '=') {
    n--;
    pad++;
  }
  if ((pad > 0 || !url) && *len % 4 != 0)
    return false;
  *len = n;
  return n % 4 != 1;
}

bool lum_base64_decode(const char *text, size_t len, bool url, unsigned char *out,
                       size_t *out_len) {
  if (!base64_body(text, &len, url))
    return false;
  uint32_t bits = 0;
  unsigned count = 0;
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    int value = base64_value(text[i], url);
    if (value < 0)
      return false;
    bits = bits << 6 | (uint32_t)value;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out[n++] = (unsigned char)(bits >> count & 255);
    }
    bits &= (1u << count) - 1;
  }
  *out_len = n;
  return bits == 0; /* bits that belong to no byte must be zero: one text for each value */
}

/* ---- randomness and identifiers ---- */

void lum_random(void *out, size_t len) {
  unsigned char *p = out;
  while (len > 0) {
    ssize_t n = getrandom(p, len < 256 ? len : 256, 0);
    if (n <= 0)
      continue; /* interrupted */
    p += n;
    len -= (size_t)n;
  }
}

bool lum_equal(const void *a, size_t a_len, const void *b, size_t b_len) {
  return a_len == b_len && CRYPTO_memcmp(a, b, a_len) == 0;
}

static void ulid_count_up(struct lum_ulid *state) {
  for (size_t i = sizeof state->random; i-- > 0;) {
    if (++state->random[i] != 0)
      return;
  }
  state->ms++; /* 2^80 in one millisecond will not happen, but order must hold anyway */
}

void lum_ulid_next(struct lum_ulid *state, char out[static LUM_ULID_LEN]) {
  static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  uint64_t now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
  if (now > state->ms) {
    state->ms = now;
    lum_random(state->random, sizeof state->random);
    state->random[0] &= 0x7f; /* room to count up */
  } else {
    ulid_count_up(state);
  }
  for (size_t i = 0; i < 10; i++)
    out[i] = digits[state->ms >> (45 - 5 * i) & 31];
  uint32_t bits = 0;
  unsigned count = 0;
  size_t n = 10;
  for (size_t i = 0; i < sizeof state->random; i++) {
    bits = bits << 8 | state->random[i];
    for (count += 8; count >= 5;) {
      count -= 5;
      out[n++] = digits[bits >> count & 31];
    }
    bits &= (1u << count) - 1;
  }
}

void lum_uuid4(char out[static LUM_UUID_LEN + 1]) {
  unsigned char b[16];
  lum_random(b, sizeof b);
  b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
  b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
  snprintf(out, LUM_UUID_LEN + 1,
           "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
           b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}
