/* A lane: two rings (ring.h), one each way, in a segment of memory that two processes of one host
 * share, and the bells that wake them.
 *
 * The segment is a memfd: it has no name in any file system, and the kernel frees it when both have
 * ended, however they end. Its size is sealed, so that neither can truncate it under the other. One
 * side makes it and tells the other its own pid, the numbers of its descriptors and a random token.
 * The other opens them in /proc, which the kernel allows only to a process of the same user, or
 * root, that sees the first under this pid. It checks that what it has opened is such a segment and
 * holds the token, and writes an answer that proves that it has mapped it. What the maker tells is
 * of no use to a process without these rights. Descriptors are not passed: a lane needs no path, no
 * socket, and no permission beyond that of opening a file.
 *
 * A bell is a pipe, which an event loop can poll beside its sockets: a byte in it wakes its owner.
 * Both sides have it open for reading and writing, so that a write never raises SIGPIPE. */
#ifndef TINE_TRANSPORT_SHM_LANE_H
#define TINE_TRANSPORT_SHM_LANE_H

#include "transport/shm/ring.h"

enum {
    TINE_SHM_TOKEN = 16,
    TINE_SHM_MIN_CAPACITY = 1 << 16,
    /* of a ring; a larger one is refused, since a ring comes to use all of its memory */
    TINE_SHM_MAX_CAPACITY = 64 << 20,
};

enum {
    TINE_SHM_LEASES = 4096, /* that one side may have lent (lease.h) */
    TINE_SHM_ALIGN = 64,    /* of what is lent */
};

/* Shared: the leases that the borrower has returned. It only sets bits; the lender takes them. */
typedef struct tine_shm_returns {
    _Atomic uint64_t count; /* of returns so far */
    _Atomic uint64_t bits[TINE_SHM_LEASES / 64];
} tine_shm_returns;

/* The mapping, which outlives the lane as long as something is lent. */
typedef struct tine_shm_memory {
    atomic_uint refs;
    uint8_t *bytes;
    size_t mapped;
} tine_shm_memory;

typedef struct tine_shm_lane {
    tine_shm_memory *shared; /* NULL: no lane */
    int fd;                  /* of the segment, until the other side has it; -1: none */
    tine_shm_returns *lent, *borrowed;
    tine_shm_writer out;
    tine_shm_reader in;
} tine_shm_lane;

/* What the side that makes a lane tells the other. */
typedef struct tine_shm_offer {
    uint32_t pid, segment, bell, other_bell; /* descriptors: of the maker's bell and the other's */
    uint64_t capacity;                       /* of each ring: a power of two */
    uint8_t token[TINE_SHM_TOKEN];
} tine_shm_offer;

/* Makes a lane; offer->bell and other_bell are the caller's. 0, or a negative errno with a few
 * words in *why that say what failed. */
int tine_shm_lane_make(tine_shm_lane *l, uint64_t capacity, tine_shm_offer *offer,
                       const char **why);
/* Opens the lane that is offered, and writes the answer. Errors as above. */
int tine_shm_lane_open(tine_shm_lane *l, const tine_shm_offer *offer, const char **why);
/* One that was opened: this side has the maker's rings, since two others than the maker use it. */
void tine_shm_lane_turn(tine_shm_lane *l);
/* The maker: whether the other side has answered in the segment. */
bool tine_shm_lane_answered(const tine_shm_lane *l, const tine_shm_offer *offer);
/* The maker: the other side needs the segment's descriptor no more. */
void tine_shm_lane_offered_end(tine_shm_lane *l);
void tine_shm_lane_fini(tine_shm_lane *l); /* accepts a zeroed object */
tine_shm_memory *tine_shm_memory_ref(tine_shm_memory *m);
void tine_shm_memory_unref(tine_shm_memory *m); /* accepts NULL */

/* A descriptor, or a negative errno. */
int tine_shm_bell_make(void);
int tine_shm_bell_open(uint32_t pid, uint32_t fd);
void tine_shm_bell_ring(int fd);
void tine_shm_bell_clear(int fd);

/* Whether this process can make and open lanes: NULL, or what it lacks, in a few words. */
const char *tine_shm_obstacle(void);

#endif
