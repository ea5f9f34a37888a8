/* A wake-up call that any thread and any signal handler may give: an eventfd beside a flag, so that
 * calls between two waits cost one system call together. */
#ifndef TINE_TRANSPORT_BASE_WAKEUP_H
#define TINE_TRANSPORT_BASE_WAKEUP_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct tine_wakeup {
    int fd; /* readable when a call is pending; to be polled */
    atomic_bool set;
} tine_wakeup;

static inline int tine_wakeup_init(tine_wakeup *w) {
    atomic_init(&w->set, false);
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->fd < 0 ? -errno : 0;
}

static inline void tine_wakeup_fini(tine_wakeup *w) {
    if (w->fd > 0) close(w->fd);
    w->fd = -1;
}

static inline void tine_wakeup_call(tine_wakeup *w) {
    if (atomic_exchange(&w->set, true)) return;
    int saved = errno; /* a signal handler must leave errno alone */
    uint64_t one = 1;
    ssize_t n = write(w->fd, &one, sizeof one);
    (void)n;
    errno = saved;
}

/* Drains first, then clears the flag: a call in between finds the flag set and is answered by the
 * wait that is about to return. */
static inline void tine_wakeup_clear(tine_wakeup *w) {
    uint64_t count;
    ssize_t n = read(w->fd, &count, sizeof count);
    (void)n;
    atomic_exchange(&w->set, false);
}

#endif
