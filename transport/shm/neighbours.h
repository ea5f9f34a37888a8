/* Neighbours: the arenas of other peers that one side of a lane also reads from.
 *
 * The listener borrows from all of its peers. So that it can lend to one what it has borrowed from
 * another, it tells each where the arenas of the others are, under a number; the connector maps
 * them. The chain of leases is that of the buffers: what the listener lends on keeps a reference on
 * what it has borrowed, which goes back to its owner when the last reader has returned it.
 *
 * If the listener dies in between, it cannot tell the owner which readers remain. So a neighbour's
 * mapping holds a lock on the owner's memfd, which the kernel releases with the mapping, however
 * that ends: see tine_arena_is_watched. */
#ifndef TINE_TRANSPORT_SHM_NEIGHBOURS_H
#define TINE_TRANSPORT_SHM_NEIGHBOURS_H

#include "transport/shm/segment.h"

enum {
    /* Of one lane; buffers in the arenas of further peers are copied. Each neighbour costs the
     * connector the address space of an arena. */
    TINE_SHM_NEIGHBOURS_MOST = 64
};

typedef struct tine_shm_neighbour {
    tine_shm_segment *segment; /* has the number */
    bool mapped;               /* by the connector */
    bool gone;                 /* nothing more of it is lent; to be removed */
    uint64_t until;            /* gone, connector: records before this count may still name it */
} tine_shm_neighbour;

typedef struct tine_shm_neighbours { /* zeroed: none */
    uint32_t n;
    tine_shm_neighbour *all; /* room for TINE_SHM_NEIGHBOURS_MOST, or NULL */
} tine_shm_neighbours;

/* Keeps a reference on the segment. NULL: no room, or no memory. */
tine_shm_neighbour *tine_shm_neighbours_add(tine_shm_neighbours *n, tine_shm_segment *segment);
/* By the segment, or its number; NULL: there is none. */
tine_shm_neighbour *tine_shm_neighbours_find(const tine_shm_neighbours *n,
                                             const tine_shm_segment *segment);
tine_shm_neighbour *tine_shm_neighbours_numbered(const tine_shm_neighbours *n, uint32_t number);
void tine_shm_neighbours_remove(tine_shm_neighbours *n, tine_shm_neighbour *which);
void tine_shm_neighbours_fini(tine_shm_neighbours *n);

#endif
