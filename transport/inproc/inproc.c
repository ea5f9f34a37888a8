/* inproc://NAME: the reference transport. Listener and connectors live in one process, usually in
 * threads of their own; a frame is handed over by pointer, nothing is copied.
 *
 * Each end has an inbox of notes (a frame, a peer that came or went) and an eventfd. A bond joins a
 * connector to its listener and counts the bytes that lie in either inbox because of it, which is
 * what max_queued bounds. One lock guards all of it: names, bonds and inboxes. It is a leaf lock,
 * held for a few list operations; frames are freed outside it.
 *
 * A frame is in the receiver's inbox as soon as it is sent, so there is nothing to flush, and what
 * an end sent before it went away still arrives, followed by EVENT_LOST. `inproc://` with `*` as
 * its name picks a free one. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/internal.h"
#include "transport/base/clock.h"
#include "transport/base/doorbell.h"

enum { NAME_MAX_BYTES = 200, FRAME_COST = 64 }; /* the cost bounds a flood of empty frames too */

struct end;

typedef struct bond {
    struct end *ends[2];   /* [0] listener, [1] connector; NULL once that end let go */
    tine_peer id;          /* what the listener calls the connector */
    size_t queued[2];      /* bytes in the inbox of ends[i] */
    bool want_writable[2]; /* ends[i] was told -EAGAIN */
    bool cut[2];           /* ends[i] is to see nothing more of the other */
    int refs;              /* the two ends and the notes that name the bond */
} bond;

typedef struct note {
    struct note *next;
    bond *bond;
    tine_event_kind kind;
    tine_frame *frame;
    bool bad;
    char reason[]; /* LOST */
} note;

typedef struct end {
    tine_transport base;
    bool listener, closed, connecting;
    int64_t deadline; /* connector: when the search for its listener ends; negative: never */
    bond **bonds;     /* listener: by peer id - 1; connector: the one */
    size_t n_bonds, room;
    note *head, **tail;
    note *reserve; /* the LOST note of a failed search, so that reporting it needs no memory */
    tine_doorbell doorbell;
    tine_transport_stats stats;
    struct end *next; /* among the listeners, or among the connectors that search */
    char url[];
} end;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static end *listeners, *searching;
static unsigned long names;

static const char *version(void) { return "built in"; }

static void bond_unref(bond *l) {
    if (l && --l->refs == 0) free(l);
}

static int side(const end *e) { return e->listener ? 0 : 1; }

static bond *bond_of(const end *e, tine_peer peer) {
    if (peer == 0 || peer > e->n_bonds) return NULL;
    bond *l = e->bonds[peer - 1];
    return l && !l->cut[side(e)] ? l : NULL;
}

static note *note_new(bond *l, tine_event_kind kind, const char *reason) {
    size_t len = reason ? strlen(reason) + 1 : 1;
    note *n = malloc(sizeof *n + len);
    if (!n) return NULL;
    *n = (note){.bond = l, .kind = kind};
    memcpy(n->reason, reason ? reason : "", len);
    if (l) l->refs++;
    return n;
}

static void post(end *e, note *n) {
    n->next = NULL;
    *e->tail = n;
    e->tail = &n->next;
    tine_doorbell_ring(&e->doorbell);
}

/* Tells `to` that the other end of the bond is gone. Without memory the process is beyond a message
 * about it. */
static void post_lost(bond *l, int to, bool bad, const char *reason) {
    end *e = l->ends[to];
    if (!e || l->cut[to]) return;
    l->cut[to] = true;
    note *n = note_new(l, TINE_EVENT_LOST, reason);
    TINE_ASSERT_TRUE(n);
    n->bad = bad;
    post(e, n);
}

static void unlist(end **list, end *e) {
    for (end **p = list; *p; p = &(*p)->next)
        if (*p == e) {
            *p = e->next;
            return;
        }
}

static int end_new(end **out, const char *url, const tine_transport_config *config, bool listener,
                   char *why, size_t why_size) {
    const char *name = !strncmp(url, "inproc://", 9) ? url + 9 : "";
    if (!*name || strlen(name) > NAME_MAX_BYTES) {
        snprintf(why, why_size,
                 "\"%.80s\" is no inproc address: give a name of 1 to %d bytes, inproc://NAME", url,
                 NAME_MAX_BYTES);
        return -EINVAL;
    }
    end *e = calloc(1, sizeof *e + 9 + NAME_MAX_BYTES + 1);
    if (!e || tine_doorbell_init(&e->doorbell)) {
        snprintf(why, why_size, "no memory or file descriptor for %.80s", url);
        free(e);
        return -ENOMEM;
    }
    e->base.ops = &tine_transport_inproc;
    e->base.config = tine_transport_defaults(config);
    e->listener = listener;
    e->tail = &e->head;
    strcpy(e->url, url);
    *out = e;
    return 0;
}

static void end_free(end *e) {
    tine_doorbell_fini(&e->doorbell);
    free(e->reserve);
    free(e->bonds);
    free(e);
}

static end *find_listener(const char *url) {
    for (end *e = listeners; e; e = e->next)
        if (!strcmp(e->url, url)) return e;
    return NULL;
}

static int inproc_listen(tine_transport **out, const char *url, const tine_transport_config *config,
                         char *why, size_t why_size) {
    end *e;
    int rc = end_new(&e, url, config, true, why, why_size);
    if (rc) return rc;
    pthread_mutex_lock(&lock);
    if (!strcmp(url, "inproc://*"))
        snprintf(e->url, 9 + NAME_MAX_BYTES, "inproc://tine-%lu", ++names);
    if (find_listener(e->url)) {
        rc = -EIO;
    } else {
        e->next = listeners;
        listeners = e;
        for (end *s = searching; s; s = s->next) tine_doorbell_ring(&s->doorbell);
    }
    pthread_mutex_unlock(&lock);
    if (rc) {
        snprintf(why, why_size, "%s is taken by another listener of this process", e->url);
        end_free(e);
        return rc;
    }
    *out = &e->base;
    return 0;
}

static int inproc_connect(tine_transport **out, const char *url,
                          const tine_transport_config *config, char *why, size_t why_size) {
    end *e;
    int rc = end_new(&e, url, config, false, why, why_size);
    if (rc) return rc;
    e->bonds = calloc(1, sizeof *e->bonds);
    e->reserve = calloc(1, sizeof *e->reserve + sizeof(((tine_event *)0)->reason));
    if (!e->bonds || !e->reserve) {
        snprintf(why, why_size, "no memory for %.80s", url);
        end_free(e);
        return -ENOMEM;
    }
    e->n_bonds = e->room = 1;
    e->connecting = true;
    e->deadline = e->base.config.connect_ns < 0 ? -1 : tine_clock_ns() + e->base.config.connect_ns;
    pthread_mutex_lock(&lock);
    e->next = searching;
    searching = e;
    pthread_mutex_unlock(&lock);
    *out = &e->base;
    return 0;
}

static int grow(end *l) {
    if (l->n_bonds < l->room) return 0;
    size_t room = l->room ? 2 * l->room : 16;
    bond **bonds = realloc(l->bonds, room * sizeof *bonds);
    if (!bonds) return -ENOMEM;
    l->bonds = bonds;
    l->room = room;
    return 0;
}

static int join(end *listener, end *connector) {
    bond *l = calloc(1, sizeof *l);
    note *up[2] = {l ? note_new(l, TINE_EVENT_UP, NULL) : NULL,
                   l ? note_new(l, TINE_EVENT_UP, NULL) : NULL};
    if (!up[0] || !up[1] || grow(listener)) {
        free(up[0]);
        free(up[1]);
        free(l);
        return -ENOMEM;
    }
    l->ends[0] = listener;
    l->ends[1] = connector;
    l->refs += 2;
    listener->bonds[listener->n_bonds++] = l;
    l->id = listener->n_bonds;
    connector->bonds[0] = l;
    post(listener, up[0]);
    post(connector, up[1]);
    return 0;
}

/* A connector looks for its listener on each call until it is there or the time is over. */
static void search(end *e) {
    end *l = find_listener(e->url);
    if (l && !l->closed && join(l, e) == 0) {
        unlist(&searching, e);
        e->connecting = false;
    } else if (e->deadline >= 0 && tine_clock_ns() >= e->deadline) {
        unlist(&searching, e);
        e->connecting = false;
        note *n = e->reserve;
        e->reserve = NULL;
        n->kind = TINE_EVENT_LOST;
        snprintf(n->reason, sizeof(((tine_event *)0)->reason), "nobody listens at %.90s", e->url);
        post(e, n);
    }
}

static const char *inproc_url(const tine_transport *t) { return ((const end *)t)->url; }

/* A frame that the receiver does not take at all breaks the framing, as it would over a wire. */
static void refuse(bond *l, int to, size_t bytes) {
    char reason[96];
    snprintf(reason, sizeof reason, "a frame of %zu bytes is past max_frame", bytes);
    post_lost(l, to, true, reason);
    post_lost(l, 1 - to, false, "dropped by the other end");
}

static int inproc_send(tine_transport *t, tine_peer peer, tine_frame *f) {
    end *e = (end *)t;
    size_t bytes = tine_frame_bytes(f);
    if (!tine_transport_may_send(t, f, bytes)) return -EINVAL;
    tine_frame *refused = NULL;
    pthread_mutex_lock(&lock);
    bond *l = e->closed ? NULL : bond_of(e, peer);
    int rc = 0, to = 1 - side(e);
    if (!l || !l->ends[to]) {
        rc = -EPIPE;
        goto out;
    }
    if (l->queued[to] && l->queued[to] + bytes + FRAME_COST > e->base.config.max_queued) {
        l->want_writable[side(e)] = true;
        rc = -EAGAIN;
        goto out;
    }
    if (bytes > l->ends[to]->base.config.max_frame) {
        refuse(l, to, bytes);
        refused = f;
        goto out;
    }
    note *n = note_new(l, TINE_EVENT_FRAME, NULL);
    if (!n) {
        rc = -EAGAIN;
        goto out;
    }
    n->frame = f;
    l->queued[to] += bytes + FRAME_COST;
    e->stats.frames_out++;
    e->stats.bytes_out += bytes;
    post(l->ends[to], n);
out:
    pthread_mutex_unlock(&lock);
    tine_frame_free(refused);
    return rc;
}

/* A frame leaves the inbox: its bytes no longer count, which may make its sender writable again. */
static void account(end *e, note *n) {
    bond *l = n->bond;
    int me = side(e);
    size_t bytes = tine_frame_bytes(n->frame);
    l->queued[me] -= bytes + FRAME_COST;
    e->stats.frames_in++;
    e->stats.bytes_in += bytes;
    end *from = l->ends[1 - me];
    if (!from || !l->want_writable[1 - me] || l->queued[me] > from->base.config.max_queued / 2)
        return;
    note *w = note_new(l, TINE_EVENT_WRITABLE, NULL);
    if (!w) return; /* asked again at the next frame */
    l->want_writable[1 - me] = false;
    post(from, w);
}

static note *take(end *e) {
    note *n = e->head;
    if (!n) return NULL;
    e->head = n->next;
    if (!e->head) e->tail = &e->head;
    return n;
}

/* True when the note makes an event; false when it has been overtaken: its peer was dropped, or is
 * gone. */
static bool turn(end *e, note *n, tine_event *ev) {
    bond *l = n->bond;
    if (n->kind == TINE_EVENT_FRAME) account(e, n);
    if (l && l->cut[side(e)] && n->kind == TINE_EVENT_WRITABLE) return false;
    ev->kind = n->kind;
    ev->peer = l && e->listener ? l->id : 1;
    ev->frame = n->frame;
    ev->bad = n->bad;
    snprintf(ev->reason, sizeof ev->reason, "%s", n->reason);
    if (n->kind == TINE_EVENT_LOST) {
        e->stats.peers_lost++;
        e->stats.peers_bad += n->bad;
        if (l) {
            e->bonds[ev->peer - 1] = NULL;
            l->ends[side(e)] = NULL;
            bond_unref(l);
        }
    }
    n->frame = NULL;
    return true;
}

static int inproc_recv(tine_transport *t, tine_event *ev) {
    end *e = (end *)t;
    *ev = (tine_event){.kind = TINE_EVENT_NONE};
    pthread_mutex_lock(&lock);
    if (e->connecting) search(e);
    note *n, *done = NULL;
    bool made = false;
    while (!made && (n = take(e))) {
        made = turn(e, n, ev);
        bond_unref(n->bond);
        n->next = done;
        done = n;
    }
    pthread_mutex_unlock(&lock);
    while ((n = done)) {
        done = n->next;
        free(n);
    }
    return 0;
}

static void inproc_wait(tine_transport *t, int64_t timeout_ns) {
    end *e = (end *)t;
    pthread_mutex_lock(&lock);
    bool ready = e->head;
    if (e->connecting && e->deadline >= 0) {
        int64_t left = e->deadline - tine_clock_ns();
        timeout_ns = tine_timeout_min(timeout_ns, left > 0 ? left : 0);
    }
    if (e->connecting && find_listener(e->url)) ready = true;
    pthread_mutex_unlock(&lock);
    if (ready) return;
    struct pollfd p = {.fd = e->doorbell.fd, .events = POLLIN};
    struct timespec ts = tine_timespec(timeout_ns < 0 ? 0 : timeout_ns);
    if (ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL) > 0) tine_doorbell_clear(&e->doorbell);
}

/* A frame is handed over whole. */
static bool inproc_busy(tine_transport *t) {
    (void)t;
    return false;
}

static void inproc_wake(tine_transport *t) { tine_doorbell_ring(&((end *)t)->doorbell); }

/* Takes what an inbox holds of one bond (all of it where `l` is NULL) out of it, to be freed
 * outside the lock. */
static note *purge(end *e, const bond *l) {
    note *out = NULL, **p = &e->head, *n;
    e->tail = &e->head;
    while ((n = *p)) {
        if (l && n->bond != l) {
            e->tail = p = &n->next;
            continue;
        }
        *p = n->next;
        if (n->frame && n->bond)
            n->bond->queued[side(e)] -= tine_frame_bytes(n->frame) + FRAME_COST;
        bond_unref(n->bond);
        n->next = out;
        out = n;
    }
    return out;
}

static void notes_free(note *n) {
    while (n) {
        note *next = n->next;
        tine_frame_free(n->frame);
        free(n);
        n = next;
    }
}

static void inproc_drop(tine_transport *t, tine_peer peer, bool bad, const char *reason) {
    end *e = (end *)t;
    note *thrown = NULL;
    pthread_mutex_lock(&lock);
    bond *l = bond_of(e, peer);
    if (l) {
        thrown = purge(e, l);
        post_lost(l, side(e), bad, reason);
        post_lost(l, 1 - side(e), false, "dropped by the other end");
    }
    pthread_mutex_unlock(&lock);
    notes_free(thrown);
}

static void inproc_close(tine_transport *t) {
    end *e = (end *)t;
    pthread_mutex_lock(&lock);
    e->closed = true;
    pthread_mutex_unlock(&lock);
}

static bool inproc_stop(tine_transport *t) {
    (void)t; /* what was sent is in its receiver's inbox already */
    return true;
}

static void inproc_fini(tine_transport *t) {
    end *e = (end *)t;
    if (!e) return;
    pthread_mutex_lock(&lock);
    unlist(e->listener ? &listeners : &searching, e);
    note *thrown = purge(e, NULL);
    for (size_t i = 0; i < e->n_bonds; i++) {
        bond *l = e->bonds[i];
        if (!l) continue;
        l->ends[side(e)] = NULL;
        post_lost(l, 1 - side(e), false, "the other end went away");
        bond_unref(l);
    }
    pthread_mutex_unlock(&lock);
    notes_free(thrown);
    end_free(e);
}

static void inproc_stats(const tine_transport *t, tine_transport_stats *out) {
    pthread_mutex_lock(&lock);
    *out = ((const end *)t)->stats;
    pthread_mutex_unlock(&lock);
}

const tine_transport_ops tine_transport_inproc = {
    .version = version,
    .listen = inproc_listen,
    .connect = inproc_connect,
    .url = inproc_url,
    .send = inproc_send,
    .recv = inproc_recv,
    .wait = inproc_wait,
    .busy = inproc_busy,
    .wake = inproc_wake,
    .drop = inproc_drop,
    .close = inproc_close,
    .stop = inproc_stop,
    .fini = inproc_fini,
    .stats = inproc_stats,
};
