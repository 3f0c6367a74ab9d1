/* luarium.native.crypto: hashes, encodings, identifiers; all at once except hash_file. */
#include "bind.h"
#include "core/crypto.h"
#include "core/fs.h"

#include <string.h>

#define HASHER_CLASS "luarium.crypto.hasher"
#define RANDOM_MAX (1 << 20)

/* ---- hashes ---- */

static void push_hex(lua_State *L, const unsigned char *digest, size_t len) {
  char hex[LUM_HASH_HEX];
  lua_pushlstring(L, hex, lum_hex_encode(digest, len, hex));
}

static int digest(lua_State *L, const char *algo, bool raw) {
  size_t len;
  const char *data = luaL_checklstring(L, 1, &len);
  unsigned char out[LUM_HASH_MAX];
  size_t n = lum_hash(algo, data, len, out);
  if (n == 0)
    return luaL_error(L, "%s is not available in this build of OpenSSL", algo);
  if (raw)
    lua_pushlstring(L, (const char *)out, n);
  else
    push_hex(L, out, n);
  return 1;
}

static int crypto_sha256(lua_State *L) {
  return digest(L, "sha256", false);
}

static int crypto_sha256_raw(lua_State *L) {
  return digest(L, "sha256", true);
}

static int crypto_sha1(lua_State *L) {
  return digest(L, "sha1", false);
}

static int crypto_md5(lua_State *L) {
  return digest(L, "md5", false);
}

static int hmac(lua_State *L, bool raw) {
  size_t key_len, len;
  const char *key = luaL_checklstring(L, 1, &key_len);
  const char *data = luaL_checklstring(L, 2, &len);
  unsigned char out[LUM_HASH_MAX];
  size_t n = lum_hmac("sha256", key, key_len, data, len, out);
  if (n == 0)
    return luaL_error(L, "hmac_sha256 failed");
  if (raw)
    lua_pushlstring(L, (const char *)out, n);
  else
    push_hex(L, out, n);
  return 1;
}

static int crypto_hmac_sha256(lua_State *L) {
  return hmac(L, false);
}

static int crypto_hmac_sha256_raw(lua_State *L) {
  return hmac(L, true);
}

struct hasher_box {
  struct lum_hasher *hasher;
};

static struct lum_hasher *check_hasher(lua_State *L) {
  struct hasher_box *box = luaL_checkudata(L, 1, HASHER_CLASS);
  luaL_argcheck(L, box->hasher, 1, "the hasher was never made");
  return box->hasher;
}

static int hasher_update(lua_State *L) {
  size_t len;
  struct lum_hasher *hasher = check_hasher(L);
  const char *data = luaL_checklstring(L, 2, &len);
  lum_hasher_update(hasher, data, len);
  lua_settop(L, 1);
  return 1;
}

static int hasher_hex(lua_State *L) {
  char hex[LUM_HASH_HEX];
  size_t n = lum_hasher_hex(check_hasher(L), hex);
  lua_pushlstring(L, hex, n);
  return 1;
}

static int hasher_raw(lua_State *L) {
  unsigned char out[LUM_HASH_MAX];
  size_t n = lum_hasher_digest(check_hasher(L), out);
  lua_pushlstring(L, (const char *)out, n);
  return 1;
}

static int hasher_mt_gc(lua_State *L) {
  struct hasher_box *box = luaL_checkudata(L, 1, HASHER_CLASS);
  lum_hasher_free(box->hasher);
  box->hasher = NULL;
  return 0;
}

static const luaL_Reg hasher_methods[] = {
    {"update", hasher_update}, {"hex", hasher_hex}, {"raw", hasher_raw}, {NULL, NULL}};
static const luaL_Reg hasher_endings[] = {{"__gc", hasher_mt_gc}, {NULL, NULL}};
static const struct lum_class hasher_class = {HASHER_CLASS, hasher_methods, hasher_endings, NULL};

static const char *check_algo(lua_State *L, int arg) {
  const char *algo = luaL_optstring(L, arg, "sha256");
  luaL_argcheck(L, lum_hash_known(algo), arg,
                "expected \"sha256\", \"sha512\", \"sha1\" or \"md5\"");
  return algo;
}

static int crypto_hasher(lua_State *L) {
  const char *algo = check_algo(L, 1);
  struct hasher_box *box = lum_bind_object(L, &hasher_class, sizeof *box);
  box->hasher = lum_hasher_new(algo);
  if (!box->hasher)
    return luaL_error(L, "%s is not available in this build of OpenSSL", algo);
  return 1;
}

static int push_text(lua_State *L, struct lum_op *op) {
  struct lum_fs_job *job = (struct lum_fs_job *)op;
  lua_pushlstring(L, job->text, job->text_len);
  return 1;
}

static int crypto_hash_file(lua_State *L) {
  struct lum_fs_args args = {.path = lum_bind_check_cstr(L, 1), .other = check_algo(L, 2)};
  struct lum_engine *eng = lum_bind_engine(L);
  struct lum_op_box *box = lum_bind_box(L, push_text);
  return lum_bind_started(L, box, lum_fs_start(eng, LUM_FS_HASH, &args));
}

/* ---- encodings ---- */

static int encode_base64(lua_State *L, bool url) {
  size_t len;
  const char *data = luaL_checklstring(L, 1, &len);
  char *out = lua_newuserdata(L, (len + 2) / 3 * 4 + 1);
  lua_pushlstring(L, out, lum_base64_encode(data, len, url, out));
  return 1;
}

static int crypto_base64_encode(lua_State *L) {
  return encode_base64(L, false);
}

static int crypto_base64url_encode(lua_State *L) {
  return encode_base64(L, true);
}

static int crypto_hex_encode(lua_State *L) {
  size_t len;
  const char *data = luaL_checklstring(L, 1, &len);
  char *out = lua_newuserdata(L, 2 * len + 1);
  lua_pushlstring(L, out, lum_hex_encode(data, len, out));
  return 1;
}

static int decoded(lua_State *L, bool ok, const unsigned char *out, size_t len, const char *what) {
  if (ok) {
    lua_pushlstring(L, (const char *)out, len);
    return 1;
  }
  struct lum_err err;
  lum_err_set(&err, LUM_INVALID, "not valid %s", what);
  return lum_bind_fail(L, &err);
}

static int decode_base64(lua_State *L, bool url) {
  size_t len, n = 0;
  const char *text = luaL_checklstring(L, 1, &len);
  unsigned char *out = lua_newuserdata(L, len + 1);
  bool ok = lum_base64_decode(text, len, url, out, &n);
  return decoded(L, ok, out, n, url ? "base64url" : "base64");
}

static int crypto_base64_decode(lua_State *L) {
  return decode_base64(L, false);
}

static int crypto_base64url_decode(lua_State *L) {
  return decode_base64(L, true);
}

static int crypto_hex_decode(lua_State *L) {
  size_t len, n = 0;
  const char *text = luaL_checklstring(L, 1, &len);
  unsigned char *out = lua_newuserdata(L, len + 1);
  bool ok = lum_hex_decode(text, len, out, &n);
  return decoded(L, ok, out, n, "hex");
}

/* ---- randomness and identifiers ---- */

static int crypto_random(lua_State *L) {
  lua_Number n = luaL_checknumber(L, 1);
  luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX && n == (lua_Number)(int)n, 1,
                "expected 0 to 1048576 bytes");
  unsigned char *out = lua_newuserdata(L, (size_t)n + 1);
  lum_random(out, (size_t)n);
  lua_pushlstring(L, (const char *)out, (size_t)n);
  return 1;
}

/* The state of the identifiers is an upvalue: each Lua state counts for itself. */
static int crypto_ulid(lua_State *L) {
  char out[LUM_ULID_LEN];
  lum_ulid_next(lua_touserdata(L, lua_upvalueindex(1)), out);
  lua_pushlstring(L, out, sizeof out);
  return 1;
}

static int crypto_uuid(lua_State *L) {
  char out[LUM_UUID_LEN + 1];
  lum_uuid4(out);
  lua_pushlstring(L, out, LUM_UUID_LEN);
  return 1;
}

static int crypto_equal(lua_State *L) {
  size_t a_len, b_len;
  const char *a = luaL_checklstring(L, 1, &a_len), *b = luaL_checklstring(L, 2, &b_len);
  lua_pushboolean(L, lum_equal(a, a_len, b, b_len));
  return 1;
}

static const luaL_Reg functions[] = {
    {"sha256", crypto_sha256},
    {"sha256_raw", crypto_sha256_raw},
    {"sha1", crypto_sha1},
    {"md5", crypto_md5},
    {"hmac_sha256", crypto_hmac_sha256},
    {"hmac_sha256_raw", crypto_hmac_sha256_raw},
    {"hasher", crypto_hasher},
    {"hash_file", crypto_hash_file},
    {"base64_encode", crypto_base64_encode},
    {"base64_decode", crypto_base64_decode},
    {"base64url_encode", crypto_base64url_encode},
    {"base64url_decode", crypto_base64url_decode},
    {"hex_encode", crypto_hex_encode},
    {"hex_decode", crypto_hex_decode},
    {"random", crypto_random},
    {"uuid", crypto_uuid},
    {"equal", crypto_equal},
    {NULL, NULL},
};

int lum_open_crypto(lua_State *L) {
  luaL_newlib(L, functions);
  struct lum_ulid *ulid = lua_newuserdata(L, sizeof *ulid);
  memset(ulid, 0, sizeof *ulid);
  lua_pushcclosure(L, crypto_ulid, 1);
  lua_setfield(L, -2, "ulid");
  return 1;
}
