/* See spin.h. The numbers are from `tine bench fork` on two cores, idle and with three busy
 * processes. */
#include "transport/shm/spin.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SPIN_LEAST_NS = 1000,
    /* More than a wake-up takes at worst: 55 us on a virtual machine of Intel. With less, each of
     * two sides that have slept once goes to sleep again just before the other, which it has to
     * wait for, is awake. */
    SPIN_MOST_NS = 100000,
    WORTH_NS = 150000,        /* waits of this length may be short ones with two wake-ups */
    TYPICAL_MOST_NS = 500000, /* what one long wait counts for */
    JUMP_NS = 30000,          /* of the clock: the thread did not run */
    /* Between two looks at the load. A thread too many may run for a moment only, as the kernel's
     * own do: one look that shows it is not believed, and the next comes at once; after that the
     * next comes soon, then twice as long after each. */
    LOOK_NS = 10000000,
    LOOK_AT_ONCE_NS = 100000,
    LOOK_AGAIN_NS = 1000000,
    /* How long it is off the first time; doubles up to the most. A thread that loses its core once
     * in some ms makes ten round trips with wake-ups then, and not forty. */
    PENALTY_NS = 250000,
    PENALTY_MOST_NS = 160000000,
};

/* How many threads of the machine are runnable now, this one included; 0: unknown. */
static int runnable(void) {
    char text[64], *at = text;
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return 0;
    text[n] = 0;
    for (int i = 0; i < 3; i++)
        if ((at = strchr(at, ' ')))
            at++;
        else
            return 0;
    return atoi(at);
}

static void spin_off(tine_shm_spin *s, int64_t now) {
    s->penalty = s->penalty ? 2 * s->penalty : PENALTY_NS;
    if (s->penalty > PENALTY_MOST_NS) s->penalty = PENALTY_MOST_NS;
    s->off_until = now + s->penalty;
}

static int cores_allowed(pid_t pid) {
    cpu_set_t set;
    return sched_getaffinity(pid, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* A worker that its parent has pinned to a core has that for itself. */
static bool has_one_core(const tine_shm_spin *s) {
    return cores_allowed(0) < 2 && (s->listens || cores_allowed(getppid()) < 2);
}

void tine_shm_spin_saw(tine_shm_spin *s, int64_t now, int beyond) {
    bool was_beyond = s->beyond > s->spared, is_beyond = beyond > s->spared;
    s->looked = now;
    s->doubted = is_beyond && !was_beyond && !s->doubted && beyond < INT_MAX && s->look_ns;
    if (s->doubted) {
        s->look_ns = LOOK_AT_ONCE_NS;
        return;
    }
    s->beyond = beyond;
    s->penalty /= 2;
    s->look_ns = !is_beyond ? LOOK_NS : !was_beyond ? LOOK_AGAIN_NS : 2 * s->look_ns;
    if (s->look_ns > LOOK_NS) s->look_ns = LOOK_NS;
}

static void spin_look(tine_shm_spin *s, int64_t now) {
    s->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    tine_shm_spin_saw(s, now, has_one_core(s) ? INT_MAX : runnable() - s->cores);
}

int64_t tine_shm_spin_begin(tine_shm_spin *s, int64_t now) {
    s->began = now;
    s->budget = 0;
    if (now < s->off_until || s->typical > WORTH_NS) return 0;
    if (now - s->looked >= s->look_ns) spin_look(s, now);
    if (s->beyond > s->spared || s->others >= s->cores) return 0;
    s->budget = 2 * s->typical + SPIN_LEAST_NS;
    if (s->budget > SPIN_MOST_NS) s->budget = SPIN_MOST_NS;
    return s->budget;
}

void tine_shm_spin_polled(tine_shm_spin *s, int64_t now) {
    if (s->budget && now - s->began > s->budget + JUMP_NS) spin_off(s, now);
}

void tine_shm_spin_end(tine_shm_spin *s, int64_t now) {
    int64_t took = now - s->began;
    if (took > TYPICAL_MOST_NS) took = TYPICAL_MOST_NS;
    s->typical += (took - s->typical) / 8;
}
