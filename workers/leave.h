/* How another thread has a worker leave: it gives back the tasks that have not begun, runs the
 * others to their ends, and stops when the coordinator says so. One worker at a time uses it. */
#ifndef TINE_WORKERS_LEAVE_H
#define TINE_WORKERS_LEAVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "runtime/link/link.h"

typedef struct tine_leave {
    atomic_bool asked;
    pthread_mutex_t lock; /* a leaf but for what wakes the link */
    tine_link *link;      /* under the lock; NULL: no worker is connected */
} tine_leave;

#define TINE_LEAVE_INITIALIZER                                                                     \
    { .lock = PTHREAD_MUTEX_INITIALIZER }

/* From any thread. False: no worker is connected, and none that connects later joins. */
bool tine_leave_ask(tine_leave *l);
bool tine_leave_connected(tine_leave *l);

/* Of the worker. They accept NULL. */
void tine_leave_attach(tine_leave *l, tine_link *link); /* NULL: the link ends */
static inline bool tine_leave_asked(const tine_leave *l) { return l && atomic_load(&l->asked); }

#endif
