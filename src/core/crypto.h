/* Hashes, message codes, encodings and randomness. All at once, on the caller's thread, and bounded
 * by the input. */
#ifndef LUM_CRYPTO_H
#define LUM_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LUM_HASH_MAX 64                     /* bytes of the longest digest */
#define LUM_HASH_HEX (2 * LUM_HASH_MAX + 1) /* as text, with the NUL */

/* "md5", "sha1", "sha256" or "sha512". */
bool lum_hash_known(const char *algo);

struct lum_hasher;

/* NULL: unknown algorithm or out of memory. */
struct lum_hasher *lum_hasher_new(const char *algo);
void lum_hasher_free(struct lum_hasher *hasher);
void lum_hasher_update(struct lum_hasher *hasher, const void *data, size_t len);
/* The digest of what was added so far; more may follow. Returns its length, 0 on failure. */
size_t lum_hasher_digest(struct lum_hasher *hasher, unsigned char out[static LUM_HASH_MAX]);
size_t lum_hasher_hex(struct lum_hasher *hasher, char out[static LUM_HASH_HEX]);

/* The digest of one piece; 0 on failure. */
size_t lum_hash(const char *algo, const void *data, size_t len,
                unsigned char out[static LUM_HASH_MAX]);
size_t lum_hmac(const char *algo, const void *key, size_t key_len, const void *data, size_t len,
                unsigned char out[static LUM_HASH_MAX]);

/* Encoders write no NUL and return how many characters; out needs room for 2 * len, or (len + 2) /
 * 3 * 4. */
size_t lum_hex_encode(const void *data, size_t len, char *out);
size_t lum_base64_encode(const void *data, size_t len, bool url, char *out);

/* Decoders are strict: no spaces, no wrong length, no stray bits. False on bad input; *out_len <=
 * len. The url form takes input with or without padding. */
bool lum_hex_decode(const char *text, size_t len, unsigned char *out, size_t *out_len);
bool lum_base64_decode(const char *text, size_t len, bool url, unsigned char *out, size_t *out_len);

void lum_random(void *out, size_t len);

/* In a time that depends on the lengths alone. */
bool lum_equal(const void *a, size_t a_len, const void *b, size_t b_len);

/* Identifiers that sort by time; within a millisecond, and when the clock steps back, by count. */
struct lum_ulid {
  uint64_t ms;
  unsigned char random[10];
};
#define LUM_ULID_LEN 26
void lum_ulid_next(struct lum_ulid *state, char out[static LUM_ULID_LEN]);

#define LUM_UUID_LEN 36
void lum_uuid4(char out[static LUM_UUID_LEN + 1]);

#endif
