#include "ssh_key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "ssh_wire.h"

#define OPENSSH_MARK "-----BEGIN OPENSSH PRIVATE KEY-----"
#define OPENSSH_MAGIC "openssh-key-v1"
#define TEXT_MAX (256 * 1024)

struct ssh_key {
  EVP_PKEY *pkey;
  unsigned char *blob;
  size_t blob_len;
};

void ssh_key_free(struct ssh_key *key) {
  if (!key)
    return;
  EVP_PKEY_free(key->pkey);
  free(key->blob);
  free(key);
}

const unsigned char *ssh_key_blob(const struct ssh_key *key, size_t *len) {
  *len = key->blob_len;
  return key->blob;
}

unsigned char *ssh_rsa_sha2_blob(const char *blob, size_t blob_len, size_t *len) {
  const unsigned char *at = (const unsigned char *)blob, *name;
  size_t left = blob_len, name_len;
  if (!ssh_take(&at, &left, &name, &name_len) || name_len != strlen(SSH_RSA_NAME) ||
      memcmp(name, SSH_RSA_NAME, name_len) != 0)
    return NULL;
  *len = 4 + strlen(SSH_RSA_SHA2_NAME) + left;
  unsigned char *made = malloc(*len);
  if (made)
    memcpy(ssh_put(made, SSH_RSA_SHA2_NAME, strlen(SSH_RSA_SHA2_NAME)), at, left);
  return made;
}

/* ---- the public part ---- */

/* A number with its sign bit clear, as SSH writes them. */
static unsigned char *put_number(unsigned char *at, const BIGNUM *n) {
  size_t len = (size_t)BN_num_bytes(n), pad = BN_num_bits(n) % 8 == 0;
  at = ssh_put32(at, len + pad);
  if (pad)
    *at++ = 0;
  BN_bn2bin(n, at);
  return at + len;
}

static bool make_blob(struct ssh_key *key) {
  BIGNUM *n = NULL, *e = NULL;
  bool ok = EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_RSA_N, &n) &&
            EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_RSA_E, &e);
  if (ok) {
    key->blob = malloc(4 + strlen(SSH_RSA_SHA2_NAME) + 10 + (size_t)BN_num_bytes(n) +
                       (size_t)BN_num_bytes(e));
    ok = key->blob != NULL;
  }
  if (ok) {
    unsigned char *at = ssh_put(key->blob, SSH_RSA_SHA2_NAME, strlen(SSH_RSA_SHA2_NAME));
    at = put_number(put_number(at, e), n);
    key->blob_len = (size_t)(at - key->blob);
  }
  BN_free(n);
  BN_free(e);
  return ok;
}

static struct ssh_key *key_of(EVP_PKEY *pkey) {
  struct ssh_key *key = calloc(1, sizeof *key);
  if (!key) {
    EVP_PKEY_free(pkey);
    return NULL;
  }
  key->pkey = pkey;
  if (make_blob(key))
    return key;
  ssh_key_free(key);
  return NULL;
}

/* ---- OpenSSH's own form, unencrypted ---- */

static BIGNUM *take_number(const unsigned char **at, size_t *len) {
  const unsigned char *bytes;
  size_t count;
  return ssh_take(at, len, &bytes, &count) && count <= 4096 ? BN_bin2bn(bytes, (int)count, NULL)
                                                            : NULL;
}

static EVP_PKEY *pkey_of(BIGNUM *const numbers[]) {
  static const char *const names[] = {OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E,
                                      OSSL_PKEY_PARAM_RSA_D};
  EVP_PKEY *pkey = NULL;
  OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
  bool ok = build != NULL;
  for (int i = 0; i < 3; i++)
    ok = ok && OSSL_PARAM_BLD_push_BN(build, names[i], numbers[i]);
  OSSL_PARAM *params = ok ? OSSL_PARAM_BLD_to_param(build) : NULL;
  EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
  if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
      EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
    pkey = NULL;
  EVP_PKEY_CTX_free(ctx);
  OSSL_PARAM_free(params);
  OSSL_PARAM_BLD_free(build);
  return pkey;
}

/* In the order of the file: n, e, d; what follows only makes signing quicker. */
static EVP_PKEY *read_numbers(const unsigned char *at, size_t len) {
  const unsigned char *name;
  size_t name_len;
  if (len < 8 || memcmp(at, at + 4, 4) != 0) /* the check that decryption went well */
    return NULL;
  at += 8;
  len -= 8;
  BIGNUM *numbers[3] = {NULL};
  bool ok = ssh_take(&at, &len, &name, &name_len);
  for (int i = 0; i < 3 && ok; i++)
    ok = (numbers[i] = take_number(&at, &len)) != NULL;
  EVP_PKEY *pkey = ok ? pkey_of(numbers) : NULL;
  for (int i = 0; i < 3; i++)
    BN_clear_free(numbers[i]);
  return pkey;
}

static bool is_rsa_blob(const unsigned char *blob, size_t len) {
  const unsigned char *name;
  size_t name_len;
  return ssh_take(&blob, &len, &name, &name_len) && name_len == strlen(SSH_RSA_NAME) &&
         memcmp(name, SSH_RSA_NAME, name_len) == 0;
}

static struct ssh_key *read_openssh(const unsigned char *at, size_t len, struct lum_err *err) {
  const unsigned char *cipher, *skip, *blob, *secret;
  size_t cipher_len, skip_len, blob_len, secret_len;
  if (len < sizeof OPENSSH_MAGIC || memcmp(at, OPENSSH_MAGIC, sizeof OPENSSH_MAGIC) != 0)
    return NULL;
  at += sizeof OPENSSH_MAGIC;
  len -= sizeof OPENSSH_MAGIC;
  if (!ssh_take(&at, &len, &cipher, &cipher_len) || !ssh_take(&at, &len, &skip, &skip_len) ||
      !ssh_take(&at, &len, &skip, &skip_len) || len < 4)
    return NULL;
  at += 4; /* the number of keys, which is 1 */
  len -= 4;
  if (!ssh_take(&at, &len, &blob, &blob_len) || !ssh_take(&at, &len, &secret, &secret_len) ||
      !is_rsa_blob(blob, blob_len))
    return NULL;
  if (cipher_len != 4 || memcmp(cipher, "none", 4) != 0) {
    lum_err_set(err, LUM_UNSUPPORTED,
                "an RSA key with a passphrase in OpenSSH's own format: put it into ssh-agent, "
                "convert it with `ssh-keygen -p -m PEM`, or use an ed25519 key");
    return NULL;
  }
  EVP_PKEY *pkey = read_numbers(secret, secret_len);
  struct ssh_key *key = pkey ? key_of(pkey) : NULL;
  if (!key)
    lum_err_set(err, LUM_AUTH, "the RSA key cannot be read");
  return key;
}

static struct ssh_key *decode_openssh(const char *text, size_t len, struct lum_err *err) {
  struct ssh_key *key = NULL;
  BIO *memory = BIO_new_mem_buf(text, (int)len);
  char *name = NULL, *header = NULL;
  unsigned char *bytes = NULL;
  long count = 0;
  if (memory && PEM_read_bio(memory, &name, &header, &bytes, &count) == 1)
    key = read_openssh(bytes, (size_t)count, err);
  if (bytes)
    OPENSSL_cleanse(bytes, (size_t)count);
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_free(bytes);
  BIO_free(memory);
  return key;
}

/* ---- PEM ---- */

static int give_passphrase(char *buf, int size, int writing, void *arg) {
  (void)writing;
  const char *passphrase = arg;
  size_t len = passphrase ? strlen(passphrase) : 0;
  if (len == 0 || len > (size_t)size)
    return -1;
  memcpy(buf, passphrase, len);
  return (int)len;
}

struct ssh_key *ssh_key_read(const char *text, size_t len, const char *passphrase,
                             struct lum_err *err) {
  lum_err_clear(err);
  if (len > TEXT_MAX)
    return NULL;
  if (memmem(text, len, OPENSSH_MARK, strlen(OPENSSH_MARK)))
    return decode_openssh(text, len, err);
  union {
    const char *given;
    void *arg;
  } word = {.given = passphrase};
  BIO *memory = BIO_new_mem_buf(text, (int)len);
  EVP_PKEY *pkey = memory ? PEM_read_bio_PrivateKey(memory, NULL, give_passphrase, word.arg) : NULL;
  BIO_free(memory);
  if (!pkey)
    return NULL;
  if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA)
    return key_of(pkey);
  EVP_PKEY_free(pkey);
  return NULL;
}

unsigned char *ssh_key_sign(const struct ssh_key *key, const unsigned char *data, size_t data_len,
                            size_t *len) {
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  unsigned char *bytes = NULL;
  if (ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha512(), NULL, key->pkey) == 1 &&
      EVP_DigestSign(ctx, NULL, len, data, data_len) == 1 && (bytes = malloc(*len)) &&
      EVP_DigestSign(ctx, bytes, len, data, data_len) != 1) {
    free(bytes);
    bytes = NULL;
  }
  EVP_MD_CTX_free(ctx);
  return bytes;
}
