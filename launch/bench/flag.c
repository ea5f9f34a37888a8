/* See flag.h. Two words, each on cache lines of its own: the round that was asked and the one that
 * was answered. */
#include "launch/bench/flag.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/bench/bare.h"
#include "launch/cli/report.h"
#include "transport/shm/ring.h"
#include "transport/shm/spin.h"

enum { POLLS_PER_YIELD = 100000, OVER = UINT32_MAX };

typedef struct flag_pair {
    _Alignas(TINE_SHM_LINE) _Atomic uint32_t asked;
    _Alignas(TINE_SHM_LINE) _Atomic uint32_t answered;
} flag_pair;

static void flag_set(_Atomic uint32_t *word, uint32_t value, bool sleeps) {
    atomic_store(word, value);
    if (sleeps) syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Waits until `word` is no longer `value`; returns what it is then. */
static uint32_t flag_await(_Atomic uint32_t *word, uint32_t value, bool sleeps) {
    uint32_t now;
    for (unsigned polls = 1; (now = atomic_load(word)) == value; polls++) {
        if (sleeps)
            syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
        else if (polls % POLLS_PER_YIELD == 0)
            sched_yield(); /* the other process may want this core */
        else
            tine_shm_relax();
    }
    return now;
}

static void flag_answer(flag_pair *p, bool sleeps) {
    for (uint32_t round = 0; (round = flag_await(&p->asked, round, sleeps)) != OVER;)
        flag_set(&p->answered, round, sleeps);
}

static size_t flag_ask(flag_pair *p, double *samples, size_t rounds, bool sleeps) {
    double begin = tine_seconds(), start = begin;
    size_t n = 0;
    for (; n < rounds && start - begin < TINE_BENCH_SECONDS; n++) {
        flag_set(&p->asked, (uint32_t)n + 1, sleeps);
        flag_await(&p->answered, (uint32_t)n, sleeps);
        double end = tine_seconds();
        samples[n] = 1e6 * (end - start);
        start = end;
    }
    flag_set(&p->asked, OVER, sleeps);
    return n;
}

bool tine_bare_flag(size_t rounds, bool sleeps, tine_bare_trip *out) {
    pid_t parent = getpid(), child = -1;
    double *samples = malloc(rounds * sizeof *samples);
    flag_pair *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *out = (tine_bare_trip){0};
    if (samples && p != MAP_FAILED) child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) flag_answer(p, sleeps);
        _exit(0);
    }
    if (child > 0) {
        size_t n = flag_ask(p, samples, rounds, sleeps);
        waitpid(child, NULL, 0);
        *out = (tine_bare_trip){tine_estimate_quantile(samples, n, 0.5),
                                tine_estimate_quantile(samples, n, 0.99)};
    }
    if (p != MAP_FAILED) munmap(p, sizeof *p);
    free(samples);
    return child > 0;
}
