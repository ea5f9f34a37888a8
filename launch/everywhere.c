/* tine_fork_everywhere: a fork for each worker, bound to it, and a future of them all. A cancel of
 * the future cancels the forks. */
#include <stdlib.h>

#include "launch/internal.h"
#include "runtime/api/cancel.h"
#include "runtime/tine.h"
#include "runtime/value/error.h"

static tine_future *everywhere_failed(void) {
    tine_future *f;
    tine_error e = tine_last_error();
    tine_promise *p = tine_promise_new(&f);
    if (p) tine_promise_fail(p, e, "%s", tine_error_message());
    tine_release(p);
    return f;
}

static tine_future *everywhere_fork(const tine_worker_status *workers, tine_future **f, size_t n,
                                    const char *method, const tine_argument *args, size_t n_args) {
    tine_future *all = NULL;
    size_t made = 0;
    for (; made < n; made++) {
        tine_fork_options o = {.method = method, .worker = workers[made].id};
        f[made] = tine_fork_with_args(&o, args, n_args);
        if (!f[made]) break;
    }
    if (made == n) all = tine_when_all(f, n);
    if (all && tine_future_add_forks(all, f, n) != TINE_OK) {
        tine_release(all);
        all = NULL;
    }
    while (made > 0) tine_release(f[--made]);
    return all;
}

tine_future *tine_fork_everywhere_args(const char *method, const tine_argument *args, size_t n) {
    if (tine_pool_check("tine_fork_everywhere") != TINE_OK) return everywhere_failed();
    size_t room = tine_workers(NULL, 0), there;
    tine_worker_status *workers = calloc(room + 1, sizeof *workers);
    tine_future **f = calloc(room + 1, sizeof(tine_future *)), *all = NULL;
    if (workers && f) {
        there = tine_workers(workers, room);
        all = everywhere_fork(workers, f, there < room ? there : room, method, args, n);
    } else {
        tine_error_set(TINE_ENOMEM, "no memory for a fork on %zu workers", room);
    }
    free(workers);
    free((void *)f);
    return all;
}
