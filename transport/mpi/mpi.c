/* The mpi transport's operations table: opening, events, closing. internal.h has the design and the
 * list of files.
 *
 * A launcher starts all ranks of a job at once, and this is what differs from sockets: the first
 * listen or connect in a process initialises MPI and waits until every rank does the same; between
 * ranks of one host there are no heartbeats, since a rank that dies ends the job. All transports of
 * a process share one duplicate of the communicator, in which each has tags of its own, so that no
 * message of an earlier one is taken for one of this. A connector sends HELLO to rank 0 on a tag
 * that is always received; the answer makes the connection. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/base/count.h"
#include "transport/mpi/internal.h"

static tine_mpi *mpi_of(tine_transport *t) { return (tine_mpi *)t; }

static void mpi_configure(tine_mpi *t, const tine_transport_config *config) {
    tine_transport_config c = tine_transport_defaults(config);
    if (c.chunk > 1 << 30) c.chunk = 1 << 30; /* MPI counts with an int */
    if (!t->listener && c.connect_ns > 0) t->give_up = tine_clock_ns() + c.connect_ns;
    t->base.config = c;
}

/* Compares the ranks on this host with the cores this rank may use; rank 0 corrects it later. */
static bool mpi_guess_oversubscribed(const tine_mpi *t) {
    const char *text = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    int here = text ? atoi(text) : t->size;
    tine_mpi_identity identity = t->identity;
    return here > CPU_COUNT(&identity.cores) && CPU_COUNT(&identity.cores) > 1;
}

static void mpi_fini(tine_transport *base);

static int mpi_allocate(tine_mpi *t) {
    t->n_peers = t->listener ? t->size - 1 : t->size;
    t->peers = calloc(t->n_peers ? (size_t)t->n_peers : 1, sizeof *t->peers);
    if (!t->peers) return -ENOMEM;
    for (int i = 0; i < t->n_peers; i++) t->peers[i].rank = t->listener ? i + 1 : i;
    if (!t->listener) t->peers[0].id = 1;
    for (int i = 0; i < TINE_MPI_SLOTS; i++) t->receives[i].req = MPI_REQUEST_NULL;
    for (int i = 0; i < TINE_MPI_SLOTS; i++)
        if (!(t->receives[i].frame = tine_mpi_message_new())) return -ENOMEM;
    return tine_mpi_doorbell_open(&t->identity, &t->doorbell);
}

static int mpi_begin(tine_mpi *t) {
    for (int i = 0; i < TINE_MPI_SLOTS; i++) tine_mpi_post_receive(t, &t->receives[i]);
    if (!t->listener && !t->broken) tine_mpi_send_hello(t, &t->peers[0], TINE_MPI_HELLO);
    return t->broken ? -EIO : 0;
}

static int mpi_open(tine_transport **out, const char *url, const tine_transport_config *config,
                    bool listener, char *why, size_t why_size) {
    if (strcmp(url, "mpi://") && strcmp(url, "mpi:")) {
        snprintf(why, why_size, "%s: mpi:// takes no address; the launcher has placed the ranks",
                 url);
        return -EINVAL;
    }
    tine_mpi_world *w;
    int err = tine_mpi_world_open(&w, why, why_size);
    if (err) return err;
    tine_mpi *t = NULL;
    if (listener != (w->rank == 0)) {
        snprintf(why, why_size,
                 "mpi://: rank 0 listens and the other ranks connect; this is rank %d", w->rank);
        err = -EINVAL;
        goto out;
    }
    err = -ENOMEM;
    snprintf(why, why_size, "mpi://: no memory");
    if (!(t = calloc(1, sizeof *t))) goto out;
    *t = (tine_mpi){.base.ops = tine_transport_mpi(),
                    .rank = w->rank,
                    .size = w->size,
                    .comm = w->comm,
                    .world = w,
                    .opening = w->openings,
                    .listener = listener,
                    .events = TINE_RING(tine_mpi_event),
                    .doorbell_fd = -1};
    TAILQ_INIT(&t->holders);
    if ((err = mpi_allocate(t))) goto out;
    t->doorbell_fd = t->identity.fd;
    t->oversubscribed = mpi_guess_oversubscribed(t);
    mpi_configure(t, config);
    t->identity.opening = t->opening;
    tine_mpi_world_sweep();
    err = mpi_begin(t);
    if (err) snprintf(why, why_size, "mpi://: MPI refused to send or to receive");
out:
    if (err && t)
        mpi_fini(&t->base);
    else if (err)
        tine_mpi_world_close();
    else
        *out = &t->base;
    return err;
}

static int mpi_listen(tine_transport **out, const char *url, const tine_transport_config *config,
                      char *why, size_t why_size) {
    return mpi_open(out, url, config, true, why, why_size);
}

static int mpi_connect(tine_transport **out, const char *url, const tine_transport_config *config,
                       char *why, size_t why_size) {
    return mpi_open(out, url, config, false, why, why_size);
}

static const char *mpi_url(const tine_transport *t) {
    (void)t;
    return "mpi://";
}

static tine_mpi_peer *mpi_peer_of(tine_mpi *t, tine_peer id) {
    tine_peer number = tine_peer_number(id);
    tine_mpi_peer *p =
        number ? tine_mpi_peer_at(t, (int)((number - 1) % (tine_peer)t->size)) : NULL;
    return p && p->id == id ? p : NULL;
}

static int mpi_own_url(const tine_transport *base, char *url, size_t size) {
    return tine_mpi_own_url((const tine_mpi *)base, url, size);
}

static int mpi_join(tine_transport *base, const char *url, tine_peer *peer) {
    tine_mpi *t = mpi_of(base);
    return t->closed || t->broken ? -EPIPE : tine_mpi_join(t, url, peer);
}

static int mpi_pair(tine_transport *base, tine_peer a, tine_peer b) {
    tine_mpi *t = mpi_of(base);
    tine_mpi_peer *first = mpi_peer_of(t, a), *second = mpi_peer_of(t, b);
    return t->listener && first && second ? tine_mpi_pair(t, first, second) : -EINVAL;
}

static int mpi_send(tine_transport *base, tine_peer peer, tine_frame *f) {
    tine_mpi *t = mpi_of(base);
    tine_mpi_peer *p = mpi_peer_of(t, peer);
    if (t->closed || t->broken || !p || p->state != TINE_MPI_UP || p->leaving) return -EPIPE;
    if (!tine_transport_may_send(base, f, tine_frame_bytes(f))) return -EINVAL;
    return tine_mpi_send_queue(t, p, f);
}

/* Counts a frame as taken. Its sender is told at least after each quarter of the window, in case no
 * frame goes that way. */
static void mpi_count_taken(tine_mpi *t, tine_mpi_peer *p) {
    p->received_taken++;
    if (p->state != TINE_MPI_UP || p->received_taken - p->told < TINE_MPI_WINDOW / 4) return;
    tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_ACK}, NULL, 0);
}

static int mpi_recv(tine_transport *base, tine_event *ev) {
    tine_mpi *t = mpi_of(base);
    tine_mpi_event e;
    /* The NONE that ends a batch does not poll: what the batch brought is handled sooner. */
    if (!t->events.n && !t->drained) {
        if (!t->holding) tine_mpi_send_held(t);
        tine_mpi_progress(t);
    }
    t->drained = false;
    ev->kind = TINE_EVENT_NONE;
    if (!tine_ring_pop(&t->events, &e)) return t->broken ? -EIO : 0;
    t->drained = t->events.n == 0;
    ev->kind = e.kind;
    ev->peer = e.id;
    ev->frame = e.frame;
    ev->bad = e.bad;
    if (e.kind == TINE_EVENT_LOST)
        snprintf(ev->reason, sizeof ev->reason, "%s", e.reason ? e.reason : "no memory to say why");
    free(e.reason);
    if (e.kind == TINE_EVENT_FRAME && e.peer->id == e.id) mpi_count_taken(t, e.peer);
    return 0;
}

static void mpi_hold(tine_transport *base, bool on) {
    tine_mpi *t = mpi_of(base);
    t->holding = on;
    if (!on) tine_mpi_send_held(t);
}

static void mpi_wait(tine_transport *base, int64_t timeout_ns) {
    tine_mpi_send_held(mpi_of(base));
    tine_mpi_wait(mpi_of(base), timeout_ns);
}

static bool mpi_busy(tine_transport *base) {
    for (const tine_mpi_peer *p = mpi_of(base)->busy; p; p = p->next_busy)
        if (p->out[1].head || p->in[1].head || p->blocked) return true;
    return false;
}

static void mpi_wake(tine_transport *base) { tine_mpi_wake(mpi_of(base)); }

static void mpi_send_bye(tine_mpi *t, tine_mpi_peer *p, bool clean) {
    bool unheard = !t->listener && p->rank == 0 && p->state == TINE_MPI_SILENT && !t->n_joined;
    if (unheard && t->receives[0].frame) tine_mpi_send_hello(t, p, TINE_MPI_BYE);
    if (tine_mpi_awaits_bye(p))
        tine_mpi_send_control(t, p, (tine_mpi_head){.kind = TINE_MPI_BYE, .inlined = clean}, NULL,
                              0);
}

static void mpi_drop(tine_transport *base, tine_peer peer, bool bad, const char *reason) {
    tine_mpi *t = mpi_of(base);
    tine_mpi_peer *p = mpi_peer_of(t, peer);
    if (p) tine_mpi_lose(t, p, bad, reason);
}

static void mpi_close(tine_transport *base) { mpi_of(base)->closed = true; }

static bool mpi_flushed(const tine_mpi *t) {
    if (t->flying_slots) return false;
    for (int i = 0; i < t->n_peers; i++)
        if (t->peers[i].out[0].head || t->peers[i].out[1].head) return false;
    return true;
}

static bool mpi_flush(tine_mpi *t, int64_t end) {
    while (!mpi_flushed(t) && !t->broken) {
        if (tine_mpi_progress(t)) continue;
        if (tine_clock_ns() > end) return false;
        sched_yield();
    }
    return mpi_flushed(t);
}

static bool mpi_stop(tine_transport *base) {
    tine_mpi *t = mpi_of(base);
    TINE_ASSERT_TRUE(t->closed);
    tine_mpi_send_held(t);
    int64_t end = tine_clock_ns() + t->base.config.linger_ns;
    bool clean = mpi_flush(t, end);
    for (int i = 0; i < t->n_peers; i++) {
        mpi_send_bye(t, &t->peers[i], clean);
        t->peers[i].leaving = true;
        tine_mpi_mark_busy(t, &t->peers[i]);
    }
    return mpi_flush(t, end) && clean;
}

static void message_free(void *message) { tine_frame_free(message); }

static void mpi_keep_slots(tine_mpi *t) {
    for (int i = 0; i < TINE_MPI_SLOTS; i++) {
        struct tine_mpi_receive *r = &t->receives[i];
        if (r->frame && r->req != MPI_REQUEST_NULL) {
            MPI_Cancel(&r->req);
            tine_mpi_world_keep(r->req, r->frame, message_free);
        } else {
            tine_frame_free(r->frame);
        }
    }
    for (tine_mpi_slot *s = t->flying_slots, *next; s; s = next) {
        next = s->next;
        tine_mpi_world_keep(s->req, s, tine_mpi_slot_free);
    }
    for (tine_mpi_slot *s = t->idle_slots, *next; s; s = next) {
        next = s->next;
        free(s);
    }
}

static void mpi_fini(tine_transport *base) {
    if (!base) return;
    tine_mpi *t = mpi_of(base);
    for (int i = 0; t->peers && i < t->n_peers; i++) {
        tine_mpi_peer *p = &t->peers[i];
        mpi_send_bye(t, p, false);
        tine_mpi_send_clear(p);
        tine_mpi_receive_clear(p);
        free(p->held);
        tine_mpi_doorbell_close(p->doorbell, -1);
    }
    tine_mpi_event e;
    while (tine_ring_pop(&t->events, &e)) {
        tine_frame_free(e.frame);
        free(e.reason);
    }
    mpi_keep_slots(t);
    tine_mpi_world_sweep();
    tine_mpi_doorbell_close(t->doorbell, t->doorbell_fd);
    tine_ring_fini(&t->events);
    free(t->peers);
    free(t);
    tine_mpi_world_close();
}

static void mpi_stats(const tine_transport *base, tine_transport_stats *out) {
    tine_counts_copy(out, &((const tine_mpi *)base)->stats, sizeof *out);
}

static const tine_transport_ops ops = {
    .version = tine_mpi_world_version,
    .listen = mpi_listen,
    .connect = mpi_connect,
    .url = mpi_url,
    .own_url = mpi_own_url,
    .join = mpi_join,
    .pair = mpi_pair,
    .send = mpi_send,
    .hold = mpi_hold,
    .recv = mpi_recv,
    .wait = mpi_wait,
    .busy = mpi_busy,
    .wake = mpi_wake,
    .drop = mpi_drop,
    .close = mpi_close,
    .stop = mpi_stop,
    .fini = mpi_fini,
    .stats = mpi_stats,
};

const tine_transport_ops *tine_transport_mpi(void) { return &ops; }
