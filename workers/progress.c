/* See progress.h. With something large under way the thread sleeps in the transport; else it looks
 * in every few milliseconds, because a transport that cannot be woken by its peers (mpi between
 * hosts) would poll on the core that the task computes on. */
#include "workers/progress.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/clock.h"

enum { OWNER, LENT, THREAD }; /* who has the line; LENT: whoever takes it up */
enum {
    /* between the first looks after a sleep, and then twice as long each time, up to */
    TICK_NS = 4000000,
    TICK_MAX_NS = 32000000, /* this: a look costs the task some 40 us (tine ensemble) */
    QUIET_NS = 100000000,   /* without a lend, after which the thread sleeps until one */
    /* events not yet received: more than a worker's tasks and open forks can bring */
    CAME_MAX = 1 << 14,
    CAME_FIRST_ROOM = 16,
};

/* ---- the queue of what came ---- */

/* Room is made before anything is received, so that no event is lost for want of memory. */
static bool has_room(struct tine_event_queue *q) {
    if (q->n < q->room) return true;
    if (q->first > 0) {
        memmove(q->at, q->at + q->first, (q->n - q->first) * sizeof *q->at);
        q->n -= q->first;
        q->first = 0;
        return true;
    }
    size_t room = q->room ? 2 * q->room : CAME_FIRST_ROOM;
    tine_event *at = room > CAME_MAX ? NULL : realloc(q->at, room * sizeof *at);
    if (!at) return false;
    q->at = at;
    q->room = room;
    return true;
}

/* ---- what the holder does ---- */

static int send_unsent(tine_progress *p) {
    while (p->unsent) {
        tine_unsent_frame *u = p->unsent;
        int e = p->transport->ops->send(p->transport, 1, u->frame);
        if (e == -EAGAIN) return e;
        if (e) tine_frame_free(u->frame);
        p->unsent = u->next;
        if (!p->unsent) p->unsent_end = &p->unsent;
        free(u);
    }
    return 0;
}

int tine_progress_send(tine_progress *p, tine_frame *f) {
    int e = p->unsent ? -EAGAIN : p->transport->ops->send(p->transport, 1, f);
    tine_unsent_frame *u = e == -EAGAIN ? malloc(sizeof *u) : NULL;
    if (u) {
        *u = (tine_unsent_frame){NULL, f};
        *p->unsent_end = u;
        p->unsent_end = &u->next;
        return 0;
    }
    if (e) tine_frame_free(f);
    return e == -EAGAIN ? -ENOMEM : e == -EPIPE ? 0 : e;
}

static int receive(tine_progress *p, tine_event *ev) {
    int e;
    while (!(e = p->transport->ops->recv(p->transport, ev)) && ev->kind == TINE_EVENT_WRITABLE)
        send_unsent(p);
    return e;
}

int tine_progress_recv(tine_progress *p, tine_event *ev) {
    struct tine_event_queue *q = &p->came;
    if (q->first == q->n) return receive(p, ev);
    *ev = q->at[q->first++];
    if (q->first == q->n) q->first = q->n = 0;
    return 0;
}

void tine_progress_wait(tine_progress *p, int64_t timeout_ns) {
    if (p->came.first == p->came.n) p->transport->ops->wait(p->transport, timeout_ns);
}

/* ---- the thread ---- */

/* True: something came, look again. */
static bool receive_one(tine_progress *p) {
    tine_event *ev = &p->came.at[p->came.n];
    if (receive(p, ev)) {
        p->over = true; /* the owner will be told so himself */
        return false;
    }
    if (ev->kind == TINE_EVENT_NONE) return false;
    p->came.n++;
    p->over = ev->kind == TINE_EVENT_LOST;
    return true;
}

static bool is_busy(tine_progress *p) { return p->unsent || p->transport->ops->busy(p->transport); }

static void sleep_in_transport(tine_progress *p) {
    atomic_store(&p->waiting, true);
    if (!atomic_load(&p->wanted)) p->transport->ops->wait(p->transport, -1);
    atomic_store(&p->waiting, false);
}

/* Until the line is wanted back or nothing large is under way any more. */
static void drive(tine_progress *p) {
    while (!atomic_load(&p->wanted) && !p->over && has_room(&p->came)) {
        if (receive_one(p)) continue;
        if (p->over || !is_busy(p)) break;
        sleep_in_transport(p);
    }
    tine_due_release **end = &p->due;
    while (*end) end = &(*end)->next;
    *end = tine_releases_take();
}

static void take_up(tine_progress *p) {
    int lent = LENT;
    if (!atomic_compare_exchange_strong(&p->holder, &lent, THREAD)) return;
    drive(p);
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->holder, LENT);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Until the next look, or a lend that cannot wait. False: the thread is to end. */
static bool sleep_until_due(tine_progress *p, unsigned seen, bool quiet, int64_t tick) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->asleep, quiet);
    if (!p->ending && quiet && atomic_load(&p->lends) == seen) {
        pthread_cond_wait(&p->changed, &p->lock);
    } else if (!p->ending && !atomic_load(&p->at_once)) {
        struct timespec t = tine_timespec(tine_clock_ns() + tick);
        pthread_cond_timedwait(&p->changed, &p->lock, &t);
    }
    atomic_store(&p->asleep, false);
    bool go_on = !p->ending;
    pthread_mutex_unlock(&p->lock);
    return go_on;
}

static void *progress_main(void *arg) {
    tine_progress *p = arg;
    unsigned seen = atomic_load(&p->lends) - 1; /* what it is started for is new to it */
    int64_t tick = TICK_NS, quiet = 0, unseen = 0;
    tine_releases_hold();
    while (sleep_until_due(p, seen, quiet >= QUIET_NS, tick)) {
        unsigned lends = atomic_load(&p->lends);
        bool same = lends == seen, slept = quiet >= QUIET_NS;
        quiet = !same || atomic_load(&p->holder) == LENT ? 0 : quiet + tick;
        tick = slept ? TICK_NS : 2 * tick < TICK_MAX_NS ? 2 * tick : TICK_MAX_NS;
        unseen += tick;
        /* A task that forks all the time is never in the same stretch twice. */
        if (atomic_exchange(&p->at_once, false) || same || unseen > TICK_MAX_NS) {
            take_up(p);
            unseen = 0;
        }
        seen = lends;
    }
    return NULL;
}

/* Signals are for the program's own threads. */
static void start(tine_progress *p) {
    sigset_t all, before;
    p->tried = true;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    p->exists = pthread_create(&p->thread, NULL, progress_main, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- the owner ---- */

void tine_progress_init(tine_progress *p, tine_transport *t) {
    pthread_condattr_t monotonic;
    memset(p, 0, sizeof *p);
    p->transport = t;
    p->unsent_end = &p->unsent;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void tine_progress_lend(tine_progress *p) {
    if (p->away || p->ending || !p->transport) return;
    if (!p->tried) start(p);
    bool at_once = is_busy(p);
    p->away = true;
    atomic_fetch_add(&p->lends, 1);
    if (at_once) atomic_store(&p->at_once, true);
    atomic_store(&p->holder, LENT);
    /* The thread says that it sleeps before it looks at `lends`, so one of the two sees the
     * other. */
    if (!at_once && !atomic_load(&p->asleep)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static bool taken_back(tine_progress *p) {
    int lent = LENT;
    return atomic_compare_exchange_strong(&p->holder, &lent, OWNER);
}

static void await_thread(tine_progress *p) {
    atomic_store(&p->wanted, true);
    if (atomic_load(&p->waiting)) p->transport->ops->wake(p->transport);
    pthread_mutex_lock(&p->lock);
    while (!taken_back(p)) pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->wanted, false);
}

void tine_progress_take(tine_progress *p) {
    if (!p->away) return;
    p->away = false;
    if (!taken_back(p)) await_thread(p);
    if (!p->due) return;
    tine_due_release *due = p->due;
    p->due = NULL;
    tine_releases_run_list(due);
}

void tine_progress_stop(tine_progress *p) {
    if (!p->transport || p->ending) return;
    tine_progress_take(p);
    pthread_mutex_lock(&p->lock);
    p->ending = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (p->exists) pthread_join(p->thread, NULL);
    send_unsent(p);
}

void tine_progress_fini(tine_progress *p) {
    if (!p->transport) return;
    while (p->came.first < p->came.n) {
        tine_event *ev = &p->came.at[p->came.first++];
        if (ev->kind == TINE_EVENT_FRAME) tine_frame_free(ev->frame);
    }
    free(p->came.at);
    while (p->unsent) {
        tine_unsent_frame *u = p->unsent;
        p->unsent = u->next;
        tine_frame_free(u->frame);
        free(u);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    memset(p, 0, sizeof *p);
}
