/* Numbers and strings as SSH writes them. */
#ifndef LUM_SSH_WIRE_H
#define LUM_SSH_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t ssh_get32(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline unsigned char *ssh_put32(unsigned char *at, size_t value) {
  at[0] = (unsigned char)(value >> 24);
  at[1] = (unsigned char)(value >> 16);
  at[2] = (unsigned char)(value >> 8);
  at[3] = (unsigned char)value;
  return at + 4;
}

static inline unsigned char *ssh_put(unsigned char *at, const void *bytes, size_t len) {
  at = ssh_put32(at, len);
  memcpy(at, bytes, len);
  return at + len;
}

/* Takes a string off the front of *at, of which *len bytes are left. */
static inline bool ssh_take(const unsigned char **at, size_t *len, const unsigned char **bytes,
                            size_t *count) {
  if (*len < 4 || ssh_get32(*at) > *len - 4)
    return false;
  *count = ssh_get32(*at);
  *bytes = *at + 4;
  *at += 4 + *count;
  *len -= 4 + *count;
  return true;
}

#endif
