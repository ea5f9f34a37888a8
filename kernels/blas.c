/* See blas.h. */
#include "kernels/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

static struct tine_blas blas_functions;
static atomic_bool blas_loaded;
static int blas_threads_wanted;
static pthread_mutex_t blas_lock = PTHREAD_MUTEX_INITIALIZER; /* of loading, and of the threads */

static void blas_load(void) {
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    bool found = library;
#define BLAS_FIND(name)                                                                            \
    if (found) found = (*(void **)&blas_functions.name = dlsym(library, #name));
    TINE_BLAS_FUNCTIONS(BLAS_FIND)
    if (!found) {
        if (library) dlclose(library);
        return;
    }
    if (blas_threads_wanted) blas_functions.openblas_set_num_threads(blas_threads_wanted);
    atomic_store_explicit(&blas_loaded, true, memory_order_release);
}

/* What prevents it may be over at the next call: a process may have no descriptor or memory left
 * for a while. */
const struct tine_blas *tine_blas(void) {
    if (atomic_load_explicit(&blas_loaded, memory_order_acquire)) return &blas_functions;
    pthread_mutex_lock(&blas_lock);
    if (!blas_loaded) blas_load();
    pthread_mutex_unlock(&blas_lock);
    return blas_loaded ? &blas_functions : NULL;
}

void tine_blas_threads(int n) {
    pthread_mutex_lock(&blas_lock);
    blas_threads_wanted = n;
    if (blas_loaded) blas_functions.openblas_set_num_threads(n);
    pthread_mutex_unlock(&blas_lock);
}
