/* See progress.h. With a large frame under way the thread sleeps in the transport; else it looks in every few milliseconds, because
 * a transport that cannot be woken by its peers (mpi between hosts) would poll on the core that the task computes on. */
#include "workers/progress.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "transport/clock.h"

enum { EVENTS_MAX = 256, TICK_NS = 4000000 };

/* Room is made before anything is received, so that an event is never lost for want of memory. */
static bool has_room(struct tine_event_list *l) {
    if (l->n < l->room) return true;
    if (l->room == EVENTS_MAX) return false;
    size_t room = l->room ? 4 * l->room : 16;
    tine_event *at = realloc(l->at, room * sizeof *at);
    if (!at) return false;
    l->at = at;
    l->room = room;
    return true;
}

/* True: something came, look again. */
static bool receive(tine_progress *p) {
    tine_event *ev = &p->events.at[p->events.n];
    if (p->transport->ops->recv(p->transport, ev)) {
        p->over = true; /* the owner will be told so himself */
        return false;
    }
    if (ev->kind == TINE_EVENT_NONE) return false;
    p->events.n++;
    p->over = ev->kind == TINE_EVENT_LOST;
    return true;
}

static void sleep_in_transport(tine_progress *p) {
    atomic_store(&p->waiting, true);
    if (!atomic_load(&p->wanted)) p->transport->ops->wait(p->transport, -1);
    atomic_store(&p->waiting, false);
}

static void sleep_a_tick(tine_progress *p) {
    struct timespec t = tine_timespec(tine_clock_ns() + TICK_NS);
    pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

static bool may_drive(tine_progress *p) {
    return p->lent && !p->over && !atomic_load(&p->wanted) && has_room(&p->events);
}

static void *progress_main(void *arg) {
    tine_progress *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->ending) {
        if (!may_drive(p))
            pthread_cond_wait(&p->changed, &p->lock);
        else if (receive(p) || p->over)
            continue;
        else if (p->transport->ops->busy(p->transport))
            sleep_in_transport(p);
        else
            sleep_a_tick(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are for the program's own threads. */
static bool start(tine_progress *p) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    p->started = pthread_create(&p->thread, NULL, progress_main, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p->started;
}

void tine_progress_init(tine_progress *p, tine_transport *t) {
    pthread_condattr_t monotonic;
    memset(p, 0, sizeof *p);
    p->transport = t;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void tine_progress_lend(tine_progress *p) {
    if (p->away || p->ending || !p->transport || (!p->started && !start(p))) return;
    p->away = true;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->wanted, false);
    p->lent = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

void tine_progress_take(tine_progress *p) {
    if (!p->away) return;
    atomic_store(&p->wanted, true);
    if (atomic_load(&p->waiting)) p->transport->ops->wake(p->transport);
    pthread_mutex_lock(&p->lock);
    p->lent = false;
    pthread_mutex_unlock(&p->lock);
    p->away = false;
}

int tine_progress_recv(tine_progress *p, tine_event *ev) {
    struct tine_event_list *l = &p->events;
    if (l->n == 0) return p->transport->ops->recv(p->transport, ev);
    *ev = l->at[l->taken++];
    if (l->taken == l->n) l->taken = l->n = 0;
    return 0;
}

void tine_progress_wait(tine_progress *p, int64_t timeout_ns) {
    if (p->events.n == 0) p->transport->ops->wait(p->transport, timeout_ns);
}

void tine_progress_fini(tine_progress *p) {
    if (!p->transport || p->ending) return;
    tine_progress_take(p);
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->started) pthread_join(p->thread, NULL);
    for (size_t i = p->events.taken; i < p->events.n; i++)
        if (p->events.at[i].kind == TINE_EVENT_FRAME) tine_frame_free(p->events.at[i].frame);
    free(p->events.at);
    p->events = (struct tine_event_list){0};
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}
