/* Leases: buffers of one side of a lane that the other reads where they are.
 *
 * The lender keeps a reference on a buffer and tells the borrower a lease's number with the place
 * of the bytes in its arena. The borrower's buffer lies in its mapping of that arena (segment.h);
 * when its last reference is dropped, on any thread and whether or not the connection still
 * exists, the lease's bit is set in the lane's memory. So a return needs no message and no
 * wake-up, and cannot be lost; the lender looks for bits when it sends, receives or goes to sleep.
 *
 * Leases outlive the lane, because values do. What a lender has out when its lane ends is put
 * aside, and comes back when the borrower returns it, or has died. */
#ifndef TINE_TRANSPORT_SHM_LEASE_H
#define TINE_TRANSPORT_SHM_LEASE_H

#include "transport/base/buffer.h"
#include "transport/shm/lane.h"
#include "transport/shm/neighbours.h"

/* Whose arena a buffer lies in. From the last one on, a neighbour's: its number is added. */
enum { TINE_SHM_LENDERS, TINE_SHM_BORROWERS, TINE_SHM_NEIGHBOURS };

typedef struct tine_shm_lender { /* zeroed lends nothing */
    tine_shm_memory *memory;     /* of the lane; NULL: lends nothing */
    tine_shm_returns *returns;
    tine_shm_segment *borrower;            /* its arena shows whether the borrower lives */
    const tine_shm_neighbours *neighbours; /* that the connector of the lane maps */
    bool tells;                            /* of the neighbours: it is the listener */
    uint64_t seen;                         /* of the returns' count */
    uint32_t n;                            /* out now */
    uint64_t *count;                       /* of several lenders: out now. NULL: none */
    uint64_t lent_on;                      /* so far: what was borrowed from a neighbour */
    bool broken;                           /* something was returned that was not lent */
    tine_buffer *out[TINE_SHM_LEASES];
    uint64_t taken[TINE_SHM_LEASES / 64];
} tine_shm_lender;

/* Keeps a reference on the lane's memory, and on the segment; the neighbours are the caller's. */
void tine_shm_lender_init(tine_shm_lender *l, const tine_shm_lane *lane, tine_shm_segment *borrower,
                          const tine_shm_neighbours *neighbours, bool tells);
/* Puts what is out aside. */
void tine_shm_lender_fini(tine_shm_lender *l);
/* How many more it can lend. */
static inline uint32_t tine_shm_lender_room(const tine_shm_lender *l) {
    return l->memory ? TINE_SHM_LEASES - l->n : 0;
}
/* Where a buffer can be lent from. */
typedef struct tine_shm_spot {
    tine_buffer *buffer; /* the one to be lent, or a copy that it keeps from now on */
    uint64_t offset;
    uint32_t arena; /* TINE_SHM_LENDERS …: what was borrowed can be lent back, and on */
} tine_shm_spot;

/* False: it would have to be copied, and is too large for that or finds no room. */
bool tine_shm_lendable(const tine_shm_lender *l, tine_buffer *b, tine_shm_spot *out);
/* Lends what is at the spot, for which there is room. */
uint32_t tine_shm_lend(tine_shm_lender *l, const tine_shm_spot *spot);
/* Whether something has been returned. */
static inline bool tine_shm_is_returned(const tine_shm_lender *l) {
    return l->returns && atomic_load_explicit(&l->returns->count, memory_order_relaxed) != l->seen;
}
void tine_shm_collect(tine_shm_lender *l); /* takes what has been returned */

/* What the borrower is told. */
typedef struct tine_shm_place {
    uint64_t size, offset;
    uint32_t lease, arena;
} tine_shm_place;

/* The borrower's buffer, which lies in the lender's arena `s`, in a neighbour's, or where `l` has
 * lent it from. NULL with NULL in *wrong: no memory, and the lease is returned; else with what is
 * wrong with the place. */
tine_buffer *tine_shm_borrow(const tine_shm_lane *lane, const tine_shm_lender *l,
                             tine_shm_segment *s, const tine_shm_place *place, const char **wrong);

/* Drops what was put aside and has come back. True: something still is aside. */
bool tine_shm_aside_tidy(void);

#endif
