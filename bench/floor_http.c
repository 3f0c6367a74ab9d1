/* floor_http URL COUNT CONCURRENCY
 *
 * COUNT GET requests, CONCURRENCY at a time, with libcurl's multi interface and nothing of ours:
 * easy handles are reused, bodies go to a small buffer, requests are bounded in time. Prints user
 * plus system seconds; fails when a request does. */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct slot {
  char body[4096];
  size_t len;
};

static size_t on_body(char *data, size_t size, size_t count, void *arg) {
  struct slot *slot = arg;
  size_t n = size * count, room = sizeof slot->body - slot->len;
  memcpy(slot->body + slot->len, data, n < room ? n : room);
  slot->len += n < room ? n : room;
  return n;
}

static void die(const char *what) {
  fprintf(stderr, "floor_http: %s\n", what);
  exit(1);
}

static double cpu_seconds(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static CURL *make_easy(const char *url, struct slot *slot) {
  CURL *easy = curl_easy_init();
  if (!easy)
    die("out of memory");
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 10000L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 60000L);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
  return easy;
}

static void finished(CURLM *multi, CURLMsg *msg, long *to_start) {
  CURL *easy = msg->easy_handle;
  struct slot *slot = NULL;
  long status = 0;
  if (msg->data.result != CURLE_OK)
    die(curl_easy_strerror(msg->data.result));
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &slot);
  if (status != 200)
    die("status is not 200");
  curl_multi_remove_handle(multi, easy);
  slot->len = 0;
  if (*to_start > 0) {
    --*to_start;
    curl_multi_add_handle(multi, easy);
  } else {
    curl_easy_cleanup(easy);
  }
}

int main(int argc, char **argv) {
  if (argc != 4)
    die("usage: floor_http URL COUNT CONCURRENCY");
  long count = atol(argv[2]), concurrency = atol(argv[3]), to_start = count;
  if (count < 1 || concurrency < 1 || concurrency > 10000)
    die("count and concurrency must be positive");
  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURLM *multi = curl_multi_init();
  struct slot *slots = calloc((size_t)concurrency, sizeof *slots);
  if (!multi || !slots)
    die("out of memory");
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency);
  for (long i = 0; i < concurrency && to_start > 0; i++, to_start--)
    curl_multi_add_handle(multi, make_easy(argv[1], &slots[i]));
  long done = 0;
  while (done < count) {
    int running, left;
    curl_multi_perform(multi, &running);
    for (CURLMsg *msg; (msg = curl_multi_info_read(multi, &left)); done++)
      finished(multi, msg, &to_start);
    if (running > 0)
      curl_multi_poll(multi, NULL, 0, 1000, NULL);
  }
  curl_multi_cleanup(multi);
  free(slots);
  printf("%.6f\n", cpu_seconds());
  return 0;
}
