/* Another process's arena (transport/base/arena.h), mapped here for reading.
 *
 * It is opened in /proc, as a lane is (lane.h). It holds the token that its owner has sent, which
 * proves that the process that is named is the owner. Its size is sealed, so that reading never
 * fails; what is read there may change at any time. The mapping stays, also when the process has
 * died, as long as buffers lie in it. */
#ifndef TINE_TRANSPORT_SHM_SEGMENT_H
#define TINE_TRANSPORT_SHM_SEGMENT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "transport/base/arena.h"

typedef struct tine_shm_segment {
    atomic_uint refs;
    const uint8_t *bytes;
    size_t size;
    tine_arena_place place; /* as its owner has sent it */
    uint32_t number;        /* the listener's for it (neighbours.h), from 1 */
    dev_t device;
    ino_t inode;
} tine_shm_segment;

/* `watch`: the process can find out that it is mapped (tine_arena_is_watched). Errors as
 * tine_shm_lane_make. */
int tine_shm_segment_open(tine_shm_segment **out, const tine_arena_place *place, bool watch,
                          const char **why);
tine_shm_segment *tine_shm_segment_ref(tine_shm_segment *s);
void tine_shm_segment_unref(tine_shm_segment *s); /* accepts NULL */
/* Whether the process that it belongs to lives. */
bool tine_shm_segment_lives(const tine_shm_segment *s);

#endif
