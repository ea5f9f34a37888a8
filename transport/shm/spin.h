/* How long an event loop polls shared memory before it sleeps.
 *
 * Polling saves a sleep and a wake-up, some 5 us to 50 us, and costs a core meanwhile. It pays
 * while an answer is likely to come soon and no other process wants the core. So a loop polls for
 * at most twice as long as recent waits took. It does not poll if that is long, if it may use one
 * core only (unless the other side pinned it there), if more threads are runnable on the machine
 * than it has cores, if the other sides that do not sleep need all of these, or for a while after a
 * polling thread has lost its core, which shows as a jump of its clock. */
#ifndef TINE_TRANSPORT_SHM_SPIN_H
#define TINE_TRANSPORT_SHM_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed is valid: polls little at first. */
typedef struct tine_shm_spin {
    bool listens;      /* it is not the other side that may have pinned this process */
    int spared;        /* threads that may be runnable beside as many as there are cores */
    int others;        /* other sides that do not sleep, and were heard since the last look */
    int cores;         /* of the machine */
    int beyond;        /* threads that were runnable beside as many, at the last look believed */
    bool doubted;      /* the last look was not: it showed more threads than the one before */
    int64_t typical;   /* ns: the mean of recent waits */
    int64_t off_until; /* no polling until then */
    int64_t penalty;   /* how long it is off next time */
    int64_t looked;    /* at the load, last */
    int64_t look_ns;   /* until the next look */
    int64_t began;     /* this wait */
    int64_t budget;    /* of it */
} tine_shm_spin;

/* A look at the load has shown so many runnable threads beside as many as there are cores; INT_MAX:
 * this process may use one core only. tine_shm_spin_begin looks by itself. */
void tine_shm_spin_saw(tine_shm_spin *s, int64_t now, int beyond);
/* A wait begins: how many ns it may poll. */
int64_t tine_shm_spin_begin(tine_shm_spin *s, int64_t now);
/* The polling has ended, with or without success. */
void tine_shm_spin_polled(tine_shm_spin *s, int64_t now);
/* The wait has ended. */
void tine_shm_spin_end(tine_shm_spin *s, int64_t now);
/* One turn of a loop that polls. */
static inline void tine_shm_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
