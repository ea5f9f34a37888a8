/* See release.h. Each thread has its own list, so there is no lock. */
#include "runtime/value/release.h"

#include <stdlib.h>

static _Thread_local struct {
    unsigned holds;
    tine_due_release *first, *last;
    void (*notify)(void *ctx);
    void *ctx;
} mine;

void tine_releases_hold(void) { mine.holds++; }

static void release_run(tine_due_release *r) {
    if (r->release) r->release(r->ctx);
    free(r);
}

bool tine_releases_due(void) { return mine.first; }

void tine_releases_notify(void (*fn)(void *ctx), void *ctx) {
    mine.notify = fn;
    mine.ctx = ctx;
}

tine_due_release *tine_releases_take(void) {
    tine_due_release *list = mine.first;
    mine.first = NULL;
    return list;
}

void tine_releases_run_list(tine_due_release *list) {
    while (list) {
        tine_due_release *r = list;
        list = r->next;
        release_run(r);
    }
}

void tine_releases_run(void) {
    if (--mine.holds == 0 && mine.first) tine_releases_run_list(tine_releases_take());
}

void tine_release_due(tine_due_release *r) {
    if (mine.holds == 0) {
        release_run(r);
        return;
    }
    r->next = NULL;
    bool only = !mine.first;
    if (only)
        mine.first = r;
    else
        mine.last->next = r;
    mine.last = r;
    if (only && mine.notify) mine.notify(mine.ctx);
}
