/* The hosts of the conformance suite (threads and child processes) and the tools its roles use. The
 * cases are in conformance_cases.c.
 *
 * Child processes are forked before the test opens its listener. They learn the URL from memory
 * that both share, and wait for their gates on pipes. A child dies with its parent. Under
 * ThreadSanitizer all connectors are threads, so that it sees both ends. */
#include "tests/support/conformance.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/assert.h"
#include "transport/base/clock.h"

static const int64_t PATIENCE_NS = 40000000000;

void tine_conf_go(tine_conf_end *e, int index) { e->host->go(e->host, index); }

void tine_conf_await(tine_conf_end *e) { e->host->await(e->host, e->index); }

/* What arrives before the peer has learnt that the lane is in use here is kept. */
static void lane_await(tine_conf_end *e, tine_peer peer) {
    int64_t until = tine_clock_ns() + PATIENCE_NS;
    tine_event ev;
    if (!e->early.item_size) e->early = TINE_RING(tine_event);
    while (e->ops->uses_lane(e->t, peer) < e->host->lane) {
        TINE_ASSERT(tine_clock_ns(), <, until);
        TINE_ASSERT(e->ops->recv(e->t, &ev), ==, 0);
        if (ev.kind != TINE_EVENT_NONE)
            *(tine_event *)tine_ring_push(&e->early) = ev;
        else if (e->ops->uses_lane(e->t, peer) < e->host->lane)
            e->ops->wait(e->t, 100000000);
        if (ev.kind == TINE_EVENT_LOST && ev.peer == peer) break;
    }
}

tine_event tine_conf_next(tine_conf_end *e) {
    tine_event ev = {0};
    if (e->early.n && tine_ring_pop(&e->early, &ev)) return ev;
    int64_t until = tine_clock_ns() + PATIENCE_NS;
    for (;;) {
        TINE_ASSERT(e->ops->recv(e->t, &ev), ==, 0);
        if (ev.kind == TINE_EVENT_UP && e->host->lane) lane_await(e, ev.peer);
        if (ev.kind != TINE_EVENT_NONE) return ev;
        int64_t left = until - tine_clock_ns();
        if (left <= 0) return ev;
        e->ops->wait(e->t, left);
    }
}

bool tine_conf_send(tine_conf_end *e, tine_peer peer, tine_frame *f) {
    int rc;
    while ((rc = e->ops->send(e->t, peer, f)) == -EAGAIN) {
        tine_event ev = tine_conf_next(e);
        if (ev.kind == TINE_EVENT_WRITABLE) continue;
        tine_frame_free(ev.frame);
        rc = -EPROTO;
        break;
    }
    if (!rc) return true;
    tine_frame_free(f);
    snprintf(e->why, sizeof e->why, "a frame could not be sent: %s", strerror(-rc));
    return false;
}

static uint64_t word(uint64_t i, uint32_t seed) {
    return (i + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ seed;
}

void tine_conf_fill(void *to, size_t n, uint32_t seed) {
    uint8_t *p = to;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = word(i, seed);
        memcpy(p + i, &w, n - i < 8 ? n - i : 8);
    }
}

bool tine_conf_filled(const void *at, size_t n, uint32_t seed) {
    const uint8_t *p = at;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t w = word(i, seed);
        if (memcmp(p + i, &w, n - i < 8 ? n - i : 8)) return false;
    }
    return true;
}

tine_frame *tine_conf_frame(size_t header, size_t buffer, uint32_t seed) {
    tine_frame *f = tine_frame_new(header, buffer == SIZE_MAX ? 0 : 1);
    TINE_ASSERT_TRUE(f);
    tine_conf_fill(f->header, header, seed);
    if (f->n_buffers) {
        f->buffers[0] = tine_buffer_new(buffer);
        TINE_ASSERT_TRUE(f->buffers[0]);
        tine_conf_fill(f->buffers[0]->data, buffer, seed + 1);
    }
    return f;
}

bool tine_conf_check(const tine_frame *f, size_t header, size_t buffer, uint32_t seed) {
    if (f->header_size != header || f->n_buffers != (buffer == SIZE_MAX ? 0 : 1)) return false;
    if (!tine_conf_filled(f->header, header, seed)) return false;
    return !f->n_buffers || (f->buffers[0]->size == buffer &&
                             tine_conf_filled(f->buffers[0]->data, buffer, seed + 1));
}

const char *tine_conf_key;

static bool end_open(tine_conf_end *e, const char *scheme, tine_conf_host *h) {
    *e = (tine_conf_end){.scheme = scheme, .host = h};
    char any[64];
    snprintf(any, sizeof any, "%s://x", scheme);
    e->ops = tine_transport_for(any, e->why, sizeof e->why);
    return e->ops;
}

static bool end_done(tine_conf_end *e, bool right, char *why, size_t why_size) {
    if (e->t) {
        e->ops->close(e->t);
        if (right) e->ops->stop(e->t);
        e->ops->fini(e->t);
    }
    tine_ring_fini(&e->early);
    if (!right)
        snprintf(why, why_size, "%s", e->why[0] ? e->why : "a role failed and gave no reason");
    return right;
}

bool tine_conf_connect(const tine_conf_case *c, const char *scheme, const char *url, int index,
                       tine_conf_host *h, char *why, size_t why_size) {
    tine_conf_end e;
    bool right = end_open(&e, scheme, h);
    e.index = index;
    h->await(h, index);
    e.url = url;
    tine_transport_config config = c->connect;
    config.lane = h->lane ? 0 : -1;
    config.arena = h->lane == TINE_LANE_BUFFERS ? TINE_CONF_ARENA : 0;
    config.key = tine_conf_key;
    right =
        right && e.ops->connect(&e.t, url, &config, e.why, sizeof e.why) == 0 && c->connector(&e);
    return end_done(&e, right, why, why_size);
}

bool tine_conf_listen(const tine_conf_case *c, const char *scheme, const char *url, char *actual,
                      size_t actual_size, tine_conf_host *h, char *why, size_t why_size) {
    tine_conf_end e;
    tine_transport_config config = c->listen;
    config.lane = h->lane ? 0 : -1;
    config.arena = h->lane == TINE_LANE_BUFFERS ? TINE_CONF_ARENA : 0;
    config.key = tine_conf_key;
    bool right =
        end_open(&e, scheme, h) && e.ops->listen(&e.t, url, &config, e.why, sizeof e.why) == 0;
    if (right) {
        snprintf(actual, actual_size, "%s", e.ops->url(e.t));
        e.url = actual;
        right = c->listener(&e);
    }
    return end_done(&e, right, why, why_size);
}

/* ---- the hosts ---- */

typedef struct shared {
    char url[512];
    char why[TINE_CONF_CONNECTORS][256];
} shared;

typedef struct local_host {
    tine_conf_host base;
    const tine_conf_case *c;
    const char *scheme;
    shared *shared;
    int gates[TINE_CONF_CONNECTORS][2]; /* a pipe each */
    bool threads;
    pthread_t thread[TINE_CONF_CONNECTORS];
    bool right[TINE_CONF_CONNECTORS];
    pid_t pid[TINE_CONF_CONNECTORS];
} local_host;

typedef struct thread_arg {
    local_host *h;
    int index;
} thread_arg;

static void local_go(tine_conf_host *base, int index) {
    local_host *h = (local_host *)base;
    TINE_ASSERT_TRUE(write(h->gates[index][1], "g", 1));
}

static void local_await(tine_conf_host *base, int index) {
    local_host *h = (local_host *)base;
    char byte;
    ssize_t n;
    do n = read(h->gates[index][0], &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 0) _exit(0); /* the listener has failed, and reports why */
}

/* A thread cannot be killed: its transport is freed without a flush and without a message, which
 * comes nearest. */
static void local_die(tine_conf_host *base, tine_conf_end *e) {
    local_host *h = (local_host *)base;
    if (!h->threads) kill(getpid(), SIGKILL);
    e->ops->fini(e->t);
    e->t = NULL;
}

static bool play(local_host *h, int index) {
    return tine_conf_connect(h->c, h->scheme, h->shared->url, index, &h->base,
                             h->shared->why[index], sizeof h->shared->why[index]);
}

static void *thread_main(void *arg) {
    thread_arg a = *(thread_arg *)arg;
    free(arg);
    a.h->right[a.index] = play(a.h, a.index);
    return NULL;
}

static void start_thread(local_host *h, int index) {
    thread_arg *a = malloc(sizeof *a);
    TINE_ASSERT_TRUE(a);
    *a = (thread_arg){h, index};
    TINE_ASSERT(pthread_create(&h->thread[index], NULL, thread_main, a), ==, 0);
}

static void start_process(local_host *h, int index) {
    pid_t parent = getpid();
    h->pid[index] = fork();
    TINE_ASSERT(h->pid[index], >=, 0);
    if (h->pid[index]) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    for (int i = 0; i < h->c->connectors; i++) close(h->gates[i][1]);
    _exit(play(h, index) ? 0 : 1);
}

static bool join_thread(local_host *h, int index) {
    pthread_join(h->thread[index], NULL);
    return h->right[index];
}

/* `hurry`: the listener has failed already, so the result of its connectors does not count. */
static bool join_process(local_host *h, int index, bool hurry) {
    int status;
    if (hurry) kill(h->pid[index], SIGKILL);
    while (waitpid(h->pid[index], &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && index == 0 &&
        (h->c->flags & TINE_CONF_DIES))
        return true;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (!h->shared->why[index][0])
        snprintf(h->shared->why[index], sizeof h->shared->why[index], "ended with wait status 0x%x",
                 (unsigned)status);
    return false;
}

static bool join_all(local_host *h, bool right, char *why, size_t why_size) {
    for (int i = 0; i < h->c->connectors; i++) {
        /* A thread whose listener failed may wait for ever: it ends with the test. */
        if (h->threads && !right) return false;
        bool role = h->threads ? join_thread(h, i) : join_process(h, i, !right);
        if (right && !role) {
            snprintf(why, why_size, "connector %d: %s", i, h->shared->why[i]);
            right = false;
        }
    }
    return right;
}

static void remove_dir(const char *url, const char *dir) {
    if (!dir[0]) return;
    unlink(url + strlen("ipc://"));
    rmdir(dir);
}

bool tine_conf_run(const char *scheme, const char *name, char *why, size_t why_size) {
    local_host h = {.base = {.go = local_go, .await = local_await, .die = local_die}};
    char url[256], dir[64] = "", plain[16];
    snprintf(plain, sizeof plain, "%.*s", (int)strcspn(scheme, "+"), scheme);
    if (strstr(scheme, "+lane")) h.base.lane = TINE_LANE_FRAMES;
    if (strstr(scheme, "+leases")) h.base.lane = TINE_LANE_BUFFERS;
    h.scheme = scheme = plain;
    snprintf(url, sizeof url, "%s://", scheme);
    const tine_transport_info *info = tine_transport_info_of(url);
    TINE_ASSERT_TRUE(info);
    h.c = tine_conf_find(name);
    TINE_ASSERT_TRUE(h.c);
    h.threads = info->flags & TINE_TRANSPORT_THREADS;
#ifdef __SANITIZE_THREAD__
    /* A forked child may start no threads there if its parent has some. */
    h.threads = true;
#endif
    h.shared =
        mmap(NULL, sizeof *h.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    TINE_ASSERT_TRUE(h.shared != MAP_FAILED);
    if (info->any) snprintf(url, sizeof url, "%s", info->any);
    if (info->flags & TINE_TRANSPORT_PATH) {
        const char *tmp = getenv("TMPDIR");
        snprintf(dir, sizeof dir, "%.40s/conf-XXXXXX", tmp ? tmp : "/tmp");
        TINE_ASSERT_TRUE(mkdtemp(dir));
        snprintf(url, sizeof url, "ipc://%s/s", dir);
    }
    for (int i = 0; i < h.c->connectors; i++) TINE_ASSERT(pipe(h.gates[i]), ==, 0);
    for (int i = 0; i < h.c->connectors; i++) (h.threads ? start_thread : start_process)(&h, i);
    bool right = tine_conf_listen(h.c, scheme, url, h.shared->url, sizeof h.shared->url, &h.base,
                                  why, why_size);
    right = join_all(&h, right, why, why_size);
    for (int i = 0; i < h.c->connectors; i++) {
        close(h.gates[i][0]);
        close(h.gates[i][1]);
    }
    remove_dir(url, dir);
    munmap(h.shared, sizeof *h.shared);
    return right;
}
