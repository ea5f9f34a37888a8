/* See neighbours.h. */
#include "transport/shm/neighbours.h"

#include <stdlib.h>

tine_shm_neighbour *tine_shm_neighbours_add(tine_shm_neighbours *n, tine_shm_segment *segment) {
    if (!n->all) n->all = calloc(TINE_SHM_NEIGHBOURS_MOST, sizeof *n->all);
    if (!n->all || n->n == TINE_SHM_NEIGHBOURS_MOST) return NULL;
    tine_shm_neighbour *added = &n->all[n->n++];
    *added = (tine_shm_neighbour){.segment = tine_shm_segment_ref(segment)};
    return added;
}

tine_shm_neighbour *tine_shm_neighbours_find(const tine_shm_neighbours *n,
                                             const tine_shm_segment *segment) {
    for (uint32_t i = 0; i < n->n; i++)
        if (n->all[i].segment == segment) return &n->all[i];
    return NULL;
}

tine_shm_neighbour *tine_shm_neighbours_numbered(const tine_shm_neighbours *n, uint32_t number) {
    for (uint32_t i = 0; i < n->n; i++)
        if (n->all[i].segment->number == number) return &n->all[i];
    return NULL;
}

void tine_shm_neighbours_remove(tine_shm_neighbours *n, tine_shm_neighbour *which) {
    tine_shm_segment *segment = which->segment;
    *which = n->all[--n->n];
    tine_shm_segment_unref(segment);
}

void tine_shm_neighbours_fini(tine_shm_neighbours *n) {
    while (n->n > 0) tine_shm_neighbours_remove(n, &n->all[n->n - 1]);
    free(n->all);
    *n = (tine_shm_neighbours){0};
}
