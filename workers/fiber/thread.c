/* See thread.h. */
#include "workers/fiber/thread.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/value/current.h"
#include "workers/fiber/overflow.h"

enum { MAX_IDLE = 8 };

struct tine_fiber_thread {
    tine_fiber_thread *next; /* idle */
    pthread_t thread;
    sem_t go, back; /* its turn; the other's */
    /* What follows belongs to the side whose turn it is. */
    void (*fn)(void *arg); /* NULL: the thread is to end */
    void *arg;
    bool returned;
    tine_state state;
    tine_fiber_spot *spot;
};

static void turn_await(sem_t *turn) {
    while (sem_wait(turn) != 0 && errno == EINTR) {
    }
}

static void thread_turn_begins(tine_fiber_thread *t) {
    turn_await(&t->go);
    tine_current = t->state;
    tine_fiber_spot_running = t->spot;
}

static void thread_turn_ends(tine_fiber_thread *t) {
    t->state = tine_current;
    memset(&tine_current, 0, sizeof tine_current);
    sem_post(&t->back);
}

static void *fiber_thread_main(void *arg) {
    tine_fiber_thread *t = arg;
    for (thread_turn_begins(t); t->fn; thread_turn_begins(t)) {
        t->fn(t->arg);
        t->returned = true;
        thread_turn_ends(t);
    }
    memset(&tine_current, 0, sizeof tine_current);
    return NULL;
}

void tine_fiber_thread_pause(tine_fiber_thread *t) {
    thread_turn_ends(t);
    thread_turn_begins(t);
}

bool tine_fiber_thread_continue(tine_fiber_thread *t) {
    t->state = tine_current;
    t->spot = tine_fiber_spot_running;
    sem_post(&t->go);
    turn_await(&t->back);
    tine_current = t->state;
    return t->returned;
}

bool tine_fiber_thread_run(tine_fiber_thread *t, void (*fn)(void *arg), void *arg) {
    t->fn = fn;
    t->arg = arg;
    t->returned = false;
    return tine_fiber_thread_continue(t);
}

static void fiber_thread_free(tine_fiber_thread *t) {
    sem_destroy(&t->go);
    sem_destroy(&t->back);
    free(t);
}

/* Not tine_thread_start: the function is the program's, and so are the signals and the stack. */
static tine_fiber_thread *fiber_thread_new(void) {
    tine_fiber_thread *t = calloc(1, sizeof *t);
    int failed = t ? 0 : ENOMEM;
    if (t) {
        sem_init(&t->go, 0, 0);
        sem_init(&t->back, 0, 0);
        failed = pthread_create(&t->thread, NULL, fiber_thread_main, t);
    }
    if (!failed) return t;
    if (t) fiber_thread_free(t);
    tine_error_set(TINE_ENOMEM, "cannot start the thread of a task: %s", strerror(failed));
    return NULL;
}

tine_fiber_thread *tine_fiber_thread_take(tine_fiber_threads *threads) {
    tine_fiber_thread *t = threads->idle;
    if (!t) return fiber_thread_new();
    threads->idle = t->next;
    threads->n_idle--;
    return t;
}

static void fiber_thread_end(tine_fiber_thread *t) {
    t->fn = NULL;
    sem_post(&t->go);
    pthread_join(t->thread, NULL);
    fiber_thread_free(t);
}

void tine_fiber_thread_give(tine_fiber_threads *threads, tine_fiber_thread *t) {
    if (threads->n_idle == MAX_IDLE) {
        fiber_thread_end(t);
        return;
    }
    t->next = threads->idle;
    threads->idle = t;
    threads->n_idle++;
}

void tine_fiber_threads_fini(tine_fiber_threads *threads) {
    while (threads->idle) {
        tine_fiber_thread *t = threads->idle;
        threads->idle = t->next;
        fiber_thread_end(t);
    }
    threads->n_idle = 0;
}
