/* wait: when an idle rank polls and when it sleeps. Polling gives the round trip for which MPI is
 * used. It is worth a core only while an answer is likely to come soon, and not at all where ranks
 * share cores: there a rank yields its core a few times and then sleeps. A peer on this host ends a
 * sleep by ringing the doorbell; peers elsewhere cannot, and with any of them sleeps are short. The
 * numbers are from tests/bench/bench_mpi.c. */
#include <sched.h>

#include "transport/mpi/internal.h"

enum {
    POLL_NS = 200000,              /* how long a rank polls before it sleeps */
    POLL_OVERSUBSCRIBED_NS = 5000, /* the same where ranks share cores */
    /* A sleep that no doorbell ends doubles from the first to the longest, which is the most that
     * an idle rank adds to a message. */
    SLEEP_FIRST_NS = 50000,
    SLEEP_LONGEST_NS = 500000,
    SLEEP_RUNG_NS = 20000000, /* every peer can ring: only a guard */
};

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_news(tine_mpi *t) {
    return t->events.n || t->broken || atomic_load_explicit(&t->woken, memory_order_acquire);
}

/* Sets `asleep`, polls once more, sleeps. A message that is sent after this poll finds `asleep`
 * set. */
static void rank_sleep(tine_mpi *t, int64_t ns) {
    uint32_t word = atomic_load(&t->doorbell->word);
    atomic_exchange(&t->doorbell->asleep, 1);
    t->polls = 0;
    if (!tine_mpi_progress(t) && !has_news(t)) tine_mpi_doorbell_sleep(t->doorbell, word, ns);
    atomic_store(&t->doorbell->asleep, 0);
}

void tine_mpi_wait(tine_mpi *t, int64_t timeout_ns) {
    int64_t now = tine_clock_ns(), poll_from = now, next = SLEEP_FIRST_NS;
    int64_t end = timeout_ns < 0 ? INT64_MAX : now + timeout_ns;
    while (!has_news(t)) {
        bool moved = tine_mpi_progress(t);
        if (has_news(t)) break;
        now = tine_clock_ns();
        if (now >= end) break;
        if (moved) {
            poll_from = now;
            next = SLEEP_FIRST_NS;
        }
        if (now - poll_from < (t->oversubscribed ? POLL_OVERSUBSCRIBED_NS : POLL_NS)) {
            /* A peer that was woken may have been placed on this core. */
            if (t->oversubscribed || t->woke)
                sched_yield();
            else
                cpu_relax();
            continue;
        }
        /* A rank that has not sent HELLO cannot ring. The answer to a connector's HELLO rings. */
        bool rung = (!t->listener || t->n_joined == t->n_peers) && !t->n_silent && !t->busy &&
                    !t->n_called && !t->flying_slots;
        int64_t ns = rung ? SLEEP_RUNG_NS : next;
        rank_sleep(t, ns < end - now ? ns : end - now);
        next = 2 * next < SLEEP_LONGEST_NS ? 2 * next : SLEEP_LONGEST_NS;
    }
    atomic_store(&t->woken, false);
}

void tine_mpi_wake(tine_mpi *t) {
    atomic_store(&t->woken, true);
    tine_mpi_doorbell_ring(t->doorbell);
}
