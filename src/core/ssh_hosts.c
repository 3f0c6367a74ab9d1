/* What known_hosts says of a key. */
#include <stdlib.h>
#include <string.h>

#include "ssh_impl.h"

/* Line by line: a line of a kind that libssh2 does not know must not hide the others. Lines that
 * begin with @ are the caller's to look at. */
static void read_lines(LIBSSH2_KNOWNHOSTS *hosts, const char *text, size_t len) {
  const char *end = text + len;
  while (text < end) {
    const char *stop = memchr(text, '\n', (size_t)(end - text));
    size_t n = (size_t)((stop ? stop : end) - text);
    if (n > 0 && text[n - 1] == '\r')
      n--;
    /* A copy: libssh2 looks for what follows the end. */
    char *line = n > 0 && *text != '#' && *text != '@' ? strndup(text, n) : NULL;
    if (line)
      libssh2_knownhost_readline(hosts, line, strlen(line), LIBSSH2_KNOWNHOST_FILE_OPENSSH);
    free(line);
    text = stop ? stop + 1 : end;
  }
}

enum lum_ssh_known lum_ssh_known_host(const char *text, size_t len, const char *host, int port,
                                      const char *key, size_t key_len) {
  enum lum_ssh_known known = LUM_SSH_UNKNOWN;
  LIBSSH2_SESSION *lib = libssh2_session_init();
  LIBSSH2_KNOWNHOSTS *hosts = lib ? libssh2_knownhost_init(lib) : NULL;
  if (hosts) {
    read_lines(hosts, text, len);
    /* The kind of key is part of its bytes: two kinds are two keys. */
    int rc =
        libssh2_knownhost_checkp(hosts, host, port, key, key_len,
                                 LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_RAW, NULL);
    if (rc == LIBSSH2_KNOWNHOST_CHECK_MATCH)
      known = LUM_SSH_KNOWN;
    else if (rc == LIBSSH2_KNOWNHOST_CHECK_MISMATCH)
      known = LUM_SSH_CHANGED;
    libssh2_knownhost_free(hosts);
  }
  if (lib)
    libssh2_session_free(lib);
  return known;
}
