#include "versions.h"

#include <archive.h>
#include <curl/curl.h>
#include <libssh2.h>
#include <openssl/crypto.h>
#include <uv.h>
#include <zlib.h>

const struct lum_library *lum_libraries(void) {
  static struct lum_library list[7];
  const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
  list[0] = (struct lum_library){"libuv", uv_version_string()};
  list[1] = (struct lum_library){"libcurl", curl->version};
  list[2] = (struct lum_library){"libarchive", archive_version_string() + sizeof "libarchive"};
  list[3] = (struct lum_library){"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)};
  list[4] = (struct lum_library){"zlib", zlibVersion()};
  list[5] = (struct lum_library){"libssh2", libssh2_version(0)};
  return list;
}
