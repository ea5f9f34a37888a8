/* See bare.h. Each end is one thread that uses nothing but the transport's operations
 * table. */
#include "launch/bench/bare.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launch/cli/report.h"
#include "transport/transport.h"

enum { IN_FLIGHT = 256, SILENCE_SECONDS = 20 };

/* The first frame of an end that echoes. Observers and workers may connect to the endpoint as well;
 * they do not send it, and are not measured. */
static const char greeting[] = "tine bench fork: this end echoes";

typedef struct bare_end {
    const tine_transport_ops *ops;
    tine_transport *transport;
    tine_peer peer;
    char *why;
    size_t why_size;
} bare_end;

/* Waits for the next event. False: the transport is broken, or silent for SILENCE_SECONDS. */
static bool bare_next(bare_end *b, tine_event *ev) {
    double give_up = tine_seconds() + SILENCE_SECONDS;
    for (;;) {
        int err = b->ops->recv(b->transport, ev);
        if (err == 0 && ev->kind != TINE_EVENT_NONE) return true;
        if (err || tine_seconds() > give_up) {
            if (err)
                snprintf(b->why, b->why_size, "%s", strerror(-err));
            else
                snprintf(b->why, b->why_size, "no event for %d s", SILENCE_SECONDS);
            return false;
        }
        b->ops->wait(b->transport, 100000000);
    }
}

/* Takes over the frame; NULL: there was no memory for it. */
static bool bare_send(bare_end *b, tine_frame *f) {
    if (f && b->ops->send(b->transport, b->peer, f) == 0) return true;
    if (f) tine_frame_free(f);
    snprintf(b->why, b->why_size, f ? "the transport refused a frame" : "no memory for a frame");
    return false;
}

static bool bare_greet(bare_end *b) {
    tine_frame *f = tine_frame_new(sizeof greeting, 0);
    if (f) memcpy(f->header, greeting, sizeof greeting);
    return bare_send(b, f);
}

static bool bare_greets(const tine_event *ev) {
    return ev->kind == TINE_EVENT_FRAME && ev->frame->header_size == sizeof greeting &&
           memcmp(ev->frame->header, greeting, sizeof greeting) == 0;
}

bool tine_bare_echo(const char *url, int lane, size_t arena, char *why, size_t why_size) {
    const tine_transport_config config = {.lane = lane, .arena = arena};
    bare_end b = {.ops = tine_transport_for(url, why, why_size), .why = why, .why_size = why_size};
    tine_event ev;
    if (!b.ops || b.ops->connect(&b.transport, url, &config, why, why_size)) return false;
    while (bare_next(&b, &ev) && ev.kind != TINE_EVENT_LOST) {
        b.peer = ev.peer;
        if (ev.kind == TINE_EVENT_UP && !bare_greet(&b)) break;
        if (ev.kind != TINE_EVENT_FRAME) continue;
        if (b.ops->send(b.transport, ev.peer, ev.frame)) tine_frame_free(ev.frame);
    }
    b.ops->close(b.transport);
    b.ops->stop(b.transport);
    b.ops->fini(b.transport);
    return true;
}

static bool bare_ask(bare_end *b, size_t header, tine_buffer *buffer) {
    tine_frame *f = tine_frame_new(header, buffer ? 1 : 0);
    if (f) memset(f->header, 0, header);
    if (f && buffer) f->buffers[0] = tine_buffer_ref(buffer);
    return bare_send(b, f);
}

/* Receives `n` echoes. What others send is dropped. */
static bool bare_take(bare_end *b, size_t n) {
    tine_event ev;
    while (n > 0) {
        if (!bare_next(b, &ev)) return false;
        if (ev.kind == TINE_EVENT_LOST && ev.peer == b->peer) {
            snprintf(b->why, b->why_size, "the echoing peer was lost: %.100s", ev.reason);
            return false;
        }
        if (ev.kind != TINE_EVENT_FRAME) continue;
        tine_frame_free(ev.frame);
        n -= ev.peer == b->peer;
    }
    return true;
}

static bool bare_round_trips(bare_end *b, const tine_bare_config *c, tine_bare *out) {
    double *samples = malloc(c->rounds * sizeof *samples);
    bool good = samples;
    size_t warm = c->rounds / 10, n = 0;
    double begin = tine_seconds();
    for (size_t i = 0; good && n < c->rounds; i++) {
        double start = tine_seconds();
        if (n > 0 && start - begin > TINE_BENCH_SECONDS) break;
        good = bare_ask(b, c->small, NULL) && bare_take(b, 1);
        if (i >= warm && start - begin >= TINE_BENCH_WARM_SECONDS)
            samples[n++] = 1e6 * (tine_seconds() - start);
    }
    if (good) {
        out->p50 = tine_estimate_quantile(samples, n, 0.5);
        out->p99 = tine_estimate_quantile(samples, n, 0.99);
    }
    free(samples);
    return good;
}

static bool bare_burst(bare_end *b, const tine_bare_config *c, size_t burst, double *rate) {
    double start = tine_seconds();
    size_t sent = 0, taken = 0;
    while (taken < burst) {
        for (; sent < burst && sent - taken < IN_FLIGHT; sent++)
            if (!bare_ask(b, c->small, NULL)) return false;
        if (!bare_take(b, 1)) return false;
        taken++;
    }
    *rate = (double)burst / (tine_seconds() - start);
    return true;
}

static bool bare_pipelined(bare_end *b, const tine_bare_config *c, tine_bare *out) {
    double rates[TINE_BENCH_BATCHES];
    for (int i = 0; i < TINE_BENCH_BATCHES; i++)
        if (!bare_burst(b, c, c->burst / TINE_BENCH_BATCHES, &rates[i])) return false;
    out->rate = tine_estimate_quantile(rates, TINE_BENCH_BATCHES, 0.5);
    return true;
}

static bool bare_large(bare_end *b, const tine_bare_config *c, tine_bare *out) {
    tine_buffer *buffer = tine_buffer_new(c->large);
    double *samples = malloc(c->large_rounds * sizeof *samples);
    bool good = buffer && samples;
    if (good) memset(buffer->data, 1, c->large);
    for (size_t i = 0; good && i < c->large_rounds + 1; i++) {
        double start = tine_seconds();
        good = bare_ask(b, c->small, buffer) && bare_take(b, 1);
        samples[i % c->large_rounds] = 2e-9 * (double)c->large / (tine_seconds() - start);
    }
    if (good) out->bytes_rate = tine_estimate_quantile(samples, c->large_rounds, 0.5);
    free(samples);
    tine_buffer_unref(buffer);
    return good;
}

static bool bare_measure(bare_end *b, const tine_bare_config *c, tine_bare *out) {
    tine_event ev;
    for (bool greeted = false; !greeted;) {
        if (!bare_next(b, &ev)) return false;
        greeted = bare_greets(&ev);
        if (ev.kind == TINE_EVENT_FRAME) tine_frame_free(ev.frame);
    }
    b->peer = ev.peer;
    return bare_round_trips(b, c, out) && bare_pipelined(b, c, out) && bare_large(b, c, out);
}

/* ---- the process or thread that echoes ---- */

typedef struct echo {
    char url[256];
    int lane;
    size_t arena;
    pid_t child;
    int pipe; /* the child reads the address from it */
    pthread_t thread;
    bool threaded, started;
} echo;

static void *echo_thread(void *arg) {
    const echo *e = arg;
    char why[200];
    tine_bare_echo(e->url, e->lane, e->arena, why, sizeof why);
    return NULL;
}

/* Forks the child while this process has one thread: before the listener exists, so the address
 * follows through the pipe. */
static bool echo_fork(echo *e) {
    int ends[2];
    pid_t parent = getpid();
    if (pipe(ends) != 0) return false;
    e->child = fork();
    if (e->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[1]);
        if (getppid() == parent && read(ends[0], e->url, sizeof e->url) == sizeof e->url)
            echo_thread(e);
        _exit(0);
    }
    close(ends[0]);
    e->pipe = ends[1];
    return e->child > 0;
}

static bool echo_go(echo *e, const char *url) {
    snprintf(e->url, sizeof e->url, "%s", url);
    if (e->child > 0) return write(e->pipe, e->url, sizeof e->url) == sizeof e->url;
    if (!e->threaded) return true;
    e->started = pthread_create(&e->thread, NULL, echo_thread, e) == 0;
    return e->started;
}

static void echo_end(echo *e) {
    if (e->started) pthread_join(e->thread, NULL);
    if (e->pipe > 0) close(e->pipe);
    if (e->child > 0) waitpid(e->child, NULL, 0);
}

bool tine_bare_measure(const tine_bare_config *c, tine_bare *out, char *why, size_t why_size) {
    bare_end b = {
        .ops = tine_transport_for(c->url, why, why_size), .why = why, .why_size = why_size};
    unsigned flags = tine_transport_flags(c->url);
    echo e = {.threaded = flags & TINE_TRANSPORT_THREADS, .lane = c->lane, .arena = c->arena};
    const tine_transport_config config = {.lane = c->lane, .arena = c->arena};
    bool good = false;
    out->mpi_p50 = out->mpi_p99 = tine_estimate_quantile(NULL, 0, 0.5);
    if (!b.ops) return false;
    /* Threads are started later; under a launcher the other ranks run already. */
    if (!e.threaded && !(flags & TINE_TRANSPORT_RANKS) && !echo_fork(&e)) goto out;
    if (b.ops->listen(&b.transport, c->url, &config, why, why_size)) goto out;
    good = echo_go(&e, b.ops->url(b.transport)) && bare_measure(&b, c, out);
out:
    if (b.transport) {
        b.ops->close(b.transport);
        b.ops->stop(b.transport);
        b.ops->fini(b.transport);
    }
    echo_end(&e);
    return good;
}
