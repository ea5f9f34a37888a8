/* A doorbell: wakes the thread that waits in a transport. Any thread and any signal handler may
 * ring it. An eventfd beside a flag, so that all rings between two waits cost one system call
 * together. */
#ifndef TINE_TRANSPORT_BASE_DOORBELL_H
#define TINE_TRANSPORT_BASE_DOORBELL_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct tine_doorbell {
    int fd; /* to be polled: readable after a ring */
    atomic_bool rung;
} tine_doorbell;

/* 0 or a negative errno. */
static inline int tine_doorbell_init(tine_doorbell *d) {
    atomic_init(&d->rung, false);
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return d->fd < 0 ? -errno : 0;
}

/* Accepts a zeroed object: descriptor 0 is never a doorbell. */
static inline void tine_doorbell_fini(tine_doorbell *d) {
    if (d->fd > 0) close(d->fd);
    d->fd = -1;
}

static inline void tine_doorbell_ring(tine_doorbell *d) {
    if (atomic_exchange(&d->rung, true)) return;
    int saved = errno; /* a signal handler must leave errno alone */
    uint64_t one = 1;
    ssize_t n = write(d->fd, &one, sizeof one);
    (void)n;
    errno = saved;
}

/* Drains the eventfd before it clears the flag: a ring in between finds the flag set, and the wait
 * that is about to return answers it. */
static inline void tine_doorbell_clear(tine_doorbell *d) {
    uint64_t count;
    ssize_t n = read(d->fd, &count, sizeof count);
    (void)n;
    atomic_exchange(&d->rung, false);
}

#endif
