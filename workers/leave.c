/* See leave.h. A worker that sleeps in its transport is woken; one that runs a task looks when that
 * suspends or ends, and the progress thread for it meanwhile. */
#include "workers/leave.h"

void tine_leave_attach(tine_leave *l, tine_link *link) {
    if (!l) return;
    pthread_mutex_lock(&l->lock);
    l->link = link;
    pthread_mutex_unlock(&l->lock);
}

bool tine_leave_ask(tine_leave *l) {
    atomic_store(&l->asked, true);
    pthread_mutex_lock(&l->lock);
    bool connected = l->link;
    if (connected) tine_link_wake(l->link);
    pthread_mutex_unlock(&l->lock);
    return connected;
}

bool tine_leave_connected(tine_leave *l) {
    pthread_mutex_lock(&l->lock);
    bool connected = l->link;
    pthread_mutex_unlock(&l->lock);
    return connected;
}
