/* libssh2 does not tell an exit status of 0 from none yet: a channel begins with 0. It does free
 * every packet through the session's own functions once it has dealt with it, and there the packet
 * can be seen. The size is kept in front of each piece, so that nothing is read beyond its end. */
#include <stdlib.h>
#include <string.h>

#include "ssh_impl.h"

#define SIZE_ROOM 16 /* keeps the alignment of malloc */

enum { CHANNEL_OPEN_CONFIRMATION = 91, CHANNEL_REQUEST = 98 }; /* RFC 4254 */

static uint32_t number(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void look_at(struct lum_ssh *ssh, const unsigned char *packet, size_t len) {
  static const char name[] = "exit-status";
  enum { NAME = sizeof name - 1 };
  if (len >= 17 && packet[0] == CHANNEL_OPEN_CONFIRMATION)
    ssh->confirmed = number(packet + 1);
  else if (len >= 14 + NAME && packet[0] == CHANNEL_REQUEST && number(packet + 5) == NAME &&
           memcmp(packet + 9, name, NAME) == 0)
    ssh_note_exit(ssh, number(packet + 1), number(packet + 10 + NAME));
}

static void *spy_alloc(size_t size, void **abstract) {
  (void)abstract;
  char *piece = size < SIZE_MAX - SIZE_ROOM ? malloc(size + SIZE_ROOM) : NULL;
  if (!piece)
    return NULL;
  memcpy(piece, &size, sizeof size);
  return piece + SIZE_ROOM;
}

static void spy_free(void *at, void **abstract) {
  if (!at)
    return;
  char *piece = (char *)at - SIZE_ROOM;
  struct lum_ssh *ssh = *abstract;
  size_t size;
  memcpy(&size, piece, sizeof size);
  if (ssh->spying)
    look_at(ssh, at, size);
  free(piece);
}

static void *spy_realloc(void *at, size_t size, void **abstract) {
  if (!at)
    return spy_alloc(size, abstract);
  char *piece =
      size < SIZE_MAX - SIZE_ROOM ? realloc((char *)at - SIZE_ROOM, size + SIZE_ROOM) : NULL;
  if (!piece)
    return NULL;
  memcpy(piece, &size, sizeof size);
  return piece + SIZE_ROOM;
}

LIBSSH2_SESSION *ssh_spy_session(struct lum_ssh *ssh) {
  return libssh2_session_init_ex(spy_alloc, spy_free, spy_realloc, ssh);
}

char *ssh_spy_copy(struct lum_ssh *ssh, const char *bytes, size_t len) {
  void *abstract = ssh;
  char *text = spy_alloc(len + 1, &abstract);
  if (text) {
    memcpy(text, bytes, len);
    text[len] = '\0';
  }
  return text;
}
