/* Which context a thread's calls go to: that of the task it runs, or the process's. */
#include <pthread.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"

static tine_context *process_context;
/* A leaf lock. The context must not be freed between the read of process_context and the taking of
 * a reference. */
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

static atomic_int workers; /* that run in this process */

void tine_context_count_worker(int change) { atomic_fetch_add(&workers, change); }

void tine_context_install(tine_context *c) {
    pthread_mutex_lock(&process_lock);
    __atomic_store_n(&process_context, c, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&process_lock);
}

tine_context *tine_context_installed(void) {
    return __atomic_load_n(&process_context, __ATOMIC_ACQUIRE);
}

tine_context *tine_context_current(void) {
    if (tine_forked()) {
        tine_forked_refuse();
        return NULL;
    }
    if (tine_current.context) return tine_current.context;
    tine_context *c = tine_context_installed();
    if (!c && atomic_load(&workers) > 0)
        tine_error_set(TINE_ESTATE, "a thread that a task has started cannot fork, wait or make "
                                    "objects: do that in the task");
    else if (!c)
        tine_error_set(TINE_ESTATE, "Tine is not running: call tine_init first");
    return c;
}

tine_context *tine_context_acquire(void) {
    if (tine_current.context) return tine_current.context;
    pthread_mutex_lock(&process_lock);
    tine_context *c = tine_context_current();
    if (c) atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&process_lock);
    return c;
}

/* tine_context_acquire takes no reference of a worker's context, which outlives its tasks. */
void tine_context_release(tine_context *c) {
    if (c && c != tine_current.context) tine_context_unref(c);
}
