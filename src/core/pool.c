#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* As libuv does it. */
#define THREADS_DEFAULT 4
#define THREADS_MAX 1024
#define STACK_SIZE (8U << 20)

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void pass_gate(void *arg) {
  (void)arg;
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
}

static unsigned thread_count(void) {
  const char *text = getenv("UV_THREADPOOL_SIZE");
  unsigned count = text ? (unsigned)atoi(text) : THREADS_DEFAULT;
  return count == 0 ? 1 : count > THREADS_MAX ? THREADS_MAX : count;
}

/* Makes as many threads as the pool will have, all there at once, and ends them again. 0 or what
 * was in the way. */
static int try_threads(void) {
  static uv_thread_t threads[THREADS_MAX]; /* guarded by the caller's lock */
  const uv_thread_options_t options = {UV_THREAD_HAS_STACK_SIZE, STACK_SIZE};
  unsigned wanted = thread_count(), count = 0;
  int rc = 0;
  pthread_mutex_lock(&gate);
  while (count < wanted && rc == 0) {
    rc = uv_thread_create_ex(&threads[count], &options, pass_gate, NULL);
    count += rc == 0;
  }
  pthread_mutex_unlock(&gate);
  while (count > 0)
    uv_thread_join(&threads[--count]);
  return rc;
}

bool lum_pool_ready(struct lum_engine *eng, struct lum_err *err) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static atomic_uint ready_in; /* a fork has a pool of its own */
  unsigned process = eng->forks + 1;
  if (atomic_load(&ready_in) == process)
    return true;
  pthread_mutex_lock(&lock);
  int rc = atomic_load(&ready_in) == process ? 0 : try_threads();
  if (rc == 0)
    atomic_store(&ready_in, process);
  pthread_mutex_unlock(&lock);
  if (rc == 0)
    return true;
  lum_err_sys(err, -rc, "luarium: cannot start worker threads (limits of processes or memory)");
  err->kind = LUM_QUOTA;
  return false;
}
