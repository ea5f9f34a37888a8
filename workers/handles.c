/* Handles on objects: see handles.h. An object with handles is in one list: that of the task
 * through which it came, or `held`; without handles it is in `unused`. Objects outside `held` have
 * yet to be reported to the coordinator. They are counted, because most tasks have no handles. */
#include "workers/handles.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "transport/base/assert.h"
#include "transport/base/idmap.h"
#include "transport/base/memory.h"

typedef struct worker_handle {
    LIST_ENTRY(worker_handle) entry;
    tine_object id;
    size_t count;
    bool held; /* at the coordinator */
} worker_handle;

struct tine_handles {
    tine_object_owner owner; /* first */
    pthread_mutex_t lock;    /* a leaf */
    tine_idmap by_id;
    tine_handle_list held, unused, no_task;
    tine_handle_list *task;
    size_t total; /* handles */
    atomic_size_t untold;
    bool ended;
};

static void handles_free(tine_handles *h) {
    tine_idmap_fini(&h->by_id);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void handles_move(worker_handle *handle, tine_handle_list *to) {
    LIST_REMOVE(handle, entry);
    LIST_INSERT_HEAD(to, handle, entry);
}

static void handles_move_held(tine_handles *h, worker_handle *handle) {
    atomic_fetch_sub(&h->untold, 1);
    handles_move(handle, &h->held);
}

static worker_handle *handle_make(tine_handles *h, tine_object id) {
    worker_handle *handle = tine_must_alloc(sizeof *handle);
    handle->id = id;
    tine_idmap_put(&h->by_id, id, handle);
    atomic_fetch_add(&h->untold, 1);
    LIST_INSERT_HEAD(h->task ? h->task : &h->no_task, handle, entry);
    return handle;
}

/* One that is not in `held`. */
static void handle_free(tine_handles *h, worker_handle *handle) {
    atomic_fetch_sub(&h->untold, 1);
    tine_idmap_remove(&h->by_id, handle->id);
    LIST_REMOVE(handle, entry);
    tine_block_free(handle, sizeof *handle);
}

static void handles_retained(tine_object_owner *owner, tine_object id) {
    tine_handles *h = (tine_handles *)owner;
    pthread_mutex_lock(&h->lock);
    h->total++;
    if (!h->ended) {
        worker_handle *handle = tine_idmap_get(&h->by_id, id);
        if (!handle) handle = handle_make(h, id);
        if (handle->count++ == 0 && handle->held) handles_move_held(h, handle);
    }
    pthread_mutex_unlock(&h->lock);
}

static void handles_released(tine_object_owner *owner, tine_object id) {
    tine_handles *h = (tine_handles *)owner;
    pthread_mutex_lock(&h->lock);
    bool last = --h->total == 0 && h->ended;
    worker_handle *handle = h->ended ? NULL : tine_idmap_get(&h->by_id, id);
    if (handle && --handle->count == 0) {
        if (handle->held) {
            atomic_fetch_add(&h->untold, 1);
            handles_move(handle, &h->unused);
        } else {
            handle_free(h, handle);
        }
    }
    pthread_mutex_unlock(&h->lock);
    if (last) handles_free(h);
}

tine_handles *tine_handles_new(void) {
    tine_handles *h = tine_must_alloc(sizeof *h);
    h->owner = (tine_object_owner){handles_retained, handles_released};
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

tine_object_owner *tine_handles_owner(tine_handles *h) { return &h->owner; }

void tine_handles_of_task(tine_handles *h, tine_handle_list *list) { h->task = list; }

/* The ids of a list; malloc'ed, NULL if there are none. */
static tine_object *handles_ids(const tine_handle_list *list, size_t *n) {
    tine_object *ids = NULL;
    size_t room = 0;
    const worker_handle *handle;
    *n = 0;
    LIST_FOREACH (handle, list, entry) {
        ids = tine_must_grow(ids, &room, *n + 1, sizeof *ids);
        ids[(*n)++] = handle->id;
    }
    return ids;
}

static void handles_hold(tine_handles *h, tine_handle_list *list, tine_executor *x) {
    size_t n;
    tine_object *ids = handles_ids(list, &n);
    for (worker_handle *handle; (handle = LIST_FIRST(list));) {
        handle->held = true;
        handles_move_held(h, handle);
    }
    tine_executor_hold(x, ids, n);
    free(ids);
}

static void handles_release_unused(tine_handles *h, tine_executor *x) {
    size_t n;
    tine_object *ids = handles_ids(&h->unused, &n);
    while (!LIST_EMPTY(&h->unused)) handle_free(h, LIST_FIRST(&h->unused));
    tine_executor_release(x, ids, n);
    free(ids);
}

void tine_handles_flush(tine_handles *h, tine_handle_list *list, tine_executor *x) {
    if (!atomic_load(&h->untold)) return;
    pthread_mutex_lock(&h->lock);
    if (list) handles_hold(h, list, x);
    handles_hold(h, &h->no_task, x);
    handles_release_unused(h, x);
    pthread_mutex_unlock(&h->lock);
}

static void handles_drop_list(tine_handles *h, tine_handle_list *list) {
    while (!LIST_EMPTY(list)) handle_free(h, LIST_FIRST(list));
}

void tine_handles_end(tine_handles *h) {
    pthread_mutex_lock(&h->lock);
    atomic_fetch_add(&h->untold, h->by_id.n); /* all are dropped alike from here on */
    handles_drop_list(h, &h->held);
    handles_drop_list(h, &h->unused);
    handles_drop_list(h, &h->no_task);
    h->ended = true;
    bool last = h->total == 0;
    pthread_mutex_unlock(&h->lock);
    if (last) handles_free(h);
}
