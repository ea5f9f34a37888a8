/* References on futures for tests of values alone: weak, so the real ones are taken where they are linked. */
#include <stdatomic.h>

#include "runtime/state.h"

__attribute__((weak)) tine_future *tine_ref_future_(tine_future *f) {
    atomic_fetch_add(&((tine_handle *)f)->refs, 1);
    return f;
}
__attribute__((weak)) void tine_release_future_(const tine_future *f) {
    tine_pool_forget((tine_handle *)f);
    atomic_fetch_sub(&((tine_handle *)f)->refs, 1);
}
