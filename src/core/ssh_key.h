/* RSA keys. libssh2 1.10 signs with them over SHA-1 only, which no current server accepts; here
 * the bytes are signed over SHA-2, and libssh2 only carries them. */
#ifndef LUM_SSH_KEY_H
#define LUM_SSH_KEY_H

#include "err.h"

struct ssh_key; /* an EVP_PKEY with its public part in SSH's form */

/* The RSA key in the text of a private key; NULL with err at LUM_OK when it is another kind of key
 * or none at all, NULL with err filled when it is one but cannot be used. */
struct ssh_key *ssh_key_read(const char *text, size_t len, const char *passphrase,
                             struct lum_err *err);
void ssh_key_free(struct ssh_key *key);

/* Its public part with the name of a signature over SHA-2 in place of "ssh-rsa": libssh2 takes the
 * name of the signature from there, and servers know the key by the numbers that follow. */
const unsigned char *ssh_key_blob(const struct ssh_key *key, size_t *len);

/* Signs; the caller frees the bytes. NULL: it failed. */
unsigned char *ssh_key_sign(const struct ssh_key *key, const unsigned char *data, size_t data_len,
                            size_t *len);

#define SSH_RSA_NAME "ssh-rsa"
#define SSH_RSA_SHA2_NAME "rsa-sha2-512"

/* The same exchange of names for a public key that the caller has; the caller frees it. NULL: it is
 * no RSA key. */
unsigned char *ssh_rsa_sha2_blob(const char *blob, size_t blob_len, size_t *len);

#endif
