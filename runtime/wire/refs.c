/* See refs.h. */
#include "runtime/wire/refs.h"

#include <stdlib.h>

#include "transport/base/vector.h"

/* A repetition is found at once among the last LOOK_BACK ids, else when the set is sorted: a longer
 * search would be quadratic. */
enum { LOOK_BACK = 16 };

bool tine_refs_add(tine_refs *r, tine_object id) {
    for (size_t i = r->n > LOOK_BACK ? r->n - LOOK_BACK : 0; i < r->n; i++)
        if (r->ids[i] == id) return true;
    tine_object *ids = tine_grow_from(r->ids, r->few, &r->room, r->n + 1, sizeof *ids);
    if (!ids) return false;
    r->ids = ids;
    r->ids[r->n++] = id;
    return true;
}

static int compare_ids(const void *a, const void *b) {
    tine_object x = *(const tine_object *)a, y = *(const tine_object *)b;
    return (x > y) - (x < y);
}

/* As a rule they are sorted: results of tasks that were forked one after another. */
void tine_refs_sort(tine_refs *r) {
    size_t kept = 0, sorted = 1;
    while (sorted < r->n && r->ids[sorted - 1] < r->ids[sorted]) sorted++;
    if (sorted >= r->n) return;
    qsort(r->ids, r->n, sizeof *r->ids, compare_ids);
    for (size_t i = 0; i < r->n; i++)
        if (kept == 0 || r->ids[kept - 1] != r->ids[i]) r->ids[kept++] = r->ids[i];
    r->n = kept;
}
