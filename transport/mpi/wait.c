/* wait: when an idle rank polls and when it sleeps. Polling gives the round trip that MPI is used
 * for; it is worth its core only for as long as an answer is likely to be near, and not at all
 * where ranks share cores: there a rank yields its core a few times and sleeps. A sleep ends when a
 * peer on this host rings; peers elsewhere cannot, so that with any of them sleeps stay short. The
 * numbers are from tests/bench/bench_mpi.c. */
#include <sched.h>

#include "transport/mpi/internal.h"

enum {
    SPIN_NS = 200000,       /* cores to spare: an answer sooner than this finds us polling */
    SPIN_CROWDED_NS = 5000, /* ranks share cores */
    NAP_FIRST_NS = 50000,   /* peers that cannot ring, or a transfer under way: the first sleep */
    /* ... which doubles up to this, the most an idle rank adds to a message */
    NAP_LONGEST_NS = 500000,
    NAP_RUNG_NS = 20000000, /* every peer can ring: only a guard */
};

static void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool something(tine_mpi *t) {
    return t->notes_n || t->broken || atomic_load_explicit(&t->woken, memory_order_acquire);
}

/* Says that we sleep, looks once more, sleeps. A message sent after the look finds `asleep` set. */
static void nap(tine_mpi *t, int64_t ns) {
    uint32_t word = atomic_load(&t->doorbell->word);
    atomic_exchange(&t->doorbell->asleep, 1);
    t->looks = 0;
    if (!tine_mpi_progress(t) && !something(t)) tine_mpi_doorbell_sleep(t->doorbell, word, ns);
    atomic_store(&t->doorbell->asleep, 0);
}

void tine_mpi_wait(tine_mpi *t, int64_t timeout_ns) {
    int64_t now = tine_clock_ns(), spin_from = now, next = NAP_FIRST_NS;
    int64_t end = timeout_ns < 0 ? INT64_MAX : now + timeout_ns;
    while (!something(t)) {
        bool moved = tine_mpi_progress(t);
        if (something(t)) break;
        now = tine_clock_ns();
        if (now >= end) break;
        if (moved) {
            spin_from = now;
            next = NAP_FIRST_NS;
            t->woke = false;
        }
        if (now - spin_from < (t->oversubscribed ? SPIN_CROWDED_NS : SPIN_NS)) {
            /* A peer that we woke may have been put on this very core. */
            if (t->oversubscribed || t->woke)
                sched_yield();
            else
                pause_a_little();
            continue;
        }
        /* Who does not know us yet cannot ring. A connector's greeting is answered with a ring. */
        bool rung =
            (!t->listener || t->n_met == t->n_peers) && !t->n_far && !t->busy && !t->flying_slots;
        int64_t ns = rung ? NAP_RUNG_NS : next;
        nap(t, ns < end - now ? ns : end - now);
        next = 2 * next < NAP_LONGEST_NS ? 2 * next : NAP_LONGEST_NS;
    }
    atomic_store(&t->woken, false);
}

void tine_mpi_wake(tine_mpi *t) {
    atomic_store(&t->woken, true);
    tine_mpi_doorbell_ring(t->doorbell);
}
