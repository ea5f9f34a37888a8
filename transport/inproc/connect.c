/* Listeners and connectors of inproc://, and how they find each other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/clock.h"
#include "transport/base/vector.h"
#include "transport/inproc/internal.h"

pthread_mutex_t tine_inproc_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, inproc_transport) listeners, searchers;
static unsigned long names; /* given so far to listeners that asked for any */

void tine_inproc_unref(inproc_connection *c) {
    if (c && --c->refs == 0) free(c);
}

inproc_connection *tine_inproc_connection(const inproc_transport *t, tine_peer peer) {
    if (peer == 0 || peer > t->n_connections) return NULL;
    inproc_connection *c = t->connections[peer - 1];
    return c && !c->lost[t->side] ? c : NULL;
}

bool tine_inproc_add(inproc_transport *t, inproc_event e) {
    inproc_event *slot = tine_ring_push(&t->inbox);
    if (!slot) return false;
    *slot = e;
    atomic_fetch_add(&t->added, 1);
    if (e.connection) e.connection->refs++;
    tine_doorbell_ring(&t->doorbell);
    return true;
}

void tine_inproc_lose(inproc_connection *c, int side, bool bad, const char *reason) {
    inproc_transport *t = c->sides[side];
    if (!t || c->lost[side]) return;
    c->lost[side] = true;
    c->bad[side] = bad;
    snprintf(c->reason[side], sizeof c->reason[side], "%s", reason);
    TINE_ASSERT_TRUE(tine_inproc_add(t, (inproc_event){.kind = TINE_EVENT_LOST, .connection = c}));
}

/* ---- opening ---- */

inproc_transport *tine_inproc_find(const char *url) {
    inproc_transport *t;
    LIST_FOREACH (t, &listeners, entry)
        if (!strcmp(t->url, url)) return t;
    return NULL;
}

void tine_inproc_free(inproc_transport *t) {
    tine_doorbell_fini(&t->doorbell);
    tine_ring_fini(&t->inbox);
    free(t->connections);
    free(t);
}

/* Room for the LOST of a search that fails is made here, so that reporting it needs no memory. */
static int inproc_new(inproc_transport **out, const char *url, const tine_transport_config *config,
                      int side, char *why, size_t why_size) {
    size_t scheme = sizeof INPROC_SCHEME - 1, n = strlen(url);
    if (strncmp(url, INPROC_SCHEME, scheme) != 0 || n == scheme || n > scheme + INPROC_NAME_MAX) {
        snprintf(why, why_size,
                 "\"%.80s\" is not an inproc address: give a name of 1 to %d bytes, inproc://NAME",
                 url, INPROC_NAME_MAX);
        return -EINVAL;
    }
    inproc_transport *t = calloc(1, sizeof *t);
    if (!t) goto no_memory;
    t->inbox = TINE_RING(inproc_event);
    t->connections = tine_grow(NULL, &t->room, 1, sizeof *t->connections);
    if (tine_doorbell_init(&t->doorbell) || tine_ring_reserve(&t->inbox, 1) || !t->connections)
        goto no_memory;
    t->base.ops = &tine_transport_inproc;
    t->base.config = tine_transport_defaults(config);
    t->side = side;
    memcpy(t->url, url, n + 1);
    *out = t;
    return 0;
no_memory:
    if (t) tine_inproc_free(t);
    snprintf(why, why_size, "no memory or file descriptor for %.80s", url);
    return -ENOMEM;
}

int tine_inproc_listen(tine_transport **out, const char *url, const tine_transport_config *config,
                       char *why, size_t why_size) {
    inproc_transport *t, *searcher;
    int rc = inproc_new(&t, url, config, INPROC_LISTENER, why, why_size);
    if (rc) return rc;
    pthread_mutex_lock(&tine_inproc_lock);
    if (!strcmp(url, "inproc://*")) snprintf(t->url, sizeof t->url, "inproc://tine-%lu", ++names);
    bool taken = tine_inproc_find(t->url);
    if (!taken) {
        LIST_INSERT_HEAD(&listeners, t, entry);
        LIST_FOREACH (searcher, &searchers, entry) tine_doorbell_ring(&searcher->doorbell);
    }
    pthread_mutex_unlock(&tine_inproc_lock);
    if (taken) {
        snprintf(why, why_size, "%.80s is taken by another listener of this process", t->url);
        tine_inproc_free(t);
        return -EIO;
    }
    *out = &t->base;
    return 0;
}

int tine_inproc_connect(tine_transport **out, const char *url, const tine_transport_config *config,
                        char *why, size_t why_size) {
    inproc_transport *t;
    int rc = inproc_new(&t, url, config, INPROC_CONNECTOR, why, why_size);
    if (rc) return rc;
    int64_t limit = t->base.config.connect_ns;
    t->deadline = limit < 0 ? -1 : tine_clock_ns() + limit;
    t->connections[t->n_connections++] = NULL;
    t->searching = true;
    pthread_mutex_lock(&tine_inproc_lock);
    LIST_INSERT_HEAD(&searchers, t, entry);
    pthread_mutex_unlock(&tine_inproc_lock);
    *out = &t->base;
    return 0;
}

/* Joins the two; without memory the connector goes on searching. */
static bool connection_new(inproc_transport *listener, inproc_transport *connector) {
    inproc_connection **more = tine_grow(listener->connections, &listener->room,
                                         listener->n_connections + 1, sizeof *more);
    if (more) listener->connections = more;
    if (!more || tine_ring_reserve(&listener->inbox, 1) || tine_ring_reserve(&connector->inbox, 1))
        return false;
    inproc_connection *c = calloc(1, sizeof *c);
    if (!c) return false;
    c->sides[INPROC_LISTENER] = listener;
    c->sides[INPROC_CONNECTOR] = connector;
    c->refs = INPROC_SIDES;
    listener->connections[listener->n_connections++] = c;
    c->id = listener->n_connections;
    connector->connections[0] = c;
    for (int i = 0; i < INPROC_SIDES; i++)
        tine_inproc_add(c->sides[i], (inproc_event){.kind = TINE_EVENT_UP, .connection = c});
    return true;
}

/* Called by each recv of a connector until its listener is found or the deadline has passed. */
void tine_inproc_search(inproc_transport *t) {
    inproc_transport *listener = tine_inproc_find(t->url);
    bool found = listener && !listener->closed && connection_new(listener, t);
    bool late = !found && t->deadline >= 0 && tine_clock_ns() >= t->deadline;
    if (!found && !late) return;
    LIST_REMOVE(t, entry);
    t->searching = false;
    if (late) tine_inproc_add(t, (inproc_event){.kind = TINE_EVENT_LOST});
}
