/* The mpi transport against bare MPI, and what idle ranks cost: the numbers behind
 * transport/mpi/wait.c.
 *
 * Started by itself it starts itself under mpirun, with 2 ranks and with one rank more than cores.
 * Per run it prints
 *   - the round trip of 100 bytes, over bare MPI and over the transport;
 *   - the round trip after 3 ms of silence, when both ends sleep;
 *   - what share of a core an idle rank uses;
 *   - work: how much longer the same computation takes in every worker while the coordinator waits,
 *     than in one. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/cli/report.h"
#include "transport/launcher.h"
#include "transport/transport.h"

enum { ROUNDS = 20000, QUIET = 200, WORK = 200000000 };
enum { ECHO = 1, COMPUTE };

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static tine_event next(tine_transport *t) {
    tine_event ev;
    for (;;) {
        if (t->ops->recv(t, &ev)) exit(fprintf(stderr, "the transport is broken\n"));
        if (ev.kind != TINE_EVENT_NONE) return ev;
        t->ops->wait(t, -1);
    }
}

static double compute(void) {
    double from = now();
    volatile unsigned x = 1;
    for (int i = 0; i < WORK; i++) x = x * 1664525 + 1013904223;
    return now() - from;
}

static void send_kind(tine_transport *t, tine_peer to, uint8_t kind) {
    tine_frame *f = tine_frame_new(100, 0);
    memset(f->header, kind, 100);
    if (t->ops->send(t, to, f)) exit(fprintf(stderr, "send failed\n"));
}

static void serve(tine_transport *t) {
    for (;;) {
        tine_event ev = next(t);
        if (ev.kind == TINE_EVENT_LOST) return;
        if (ev.kind != TINE_EVENT_FRAME) continue;
        if (ev.frame->header[0] == COMPUTE) {
            double took = compute();
            memcpy(ev.frame->header + 8, &took, sizeof took);
        }
        t->ops->send(t, 1, ev.frame);
    }
}

static double median_trip(tine_transport *t, int rounds, double silence) {
    static double took[ROUNDS];
    for (int i = 0; i < rounds; i++) {
        for (double until = now() + silence, left; (left = until - now()) > 0;)
            t->ops->wait(t, (int64_t)(left * 1e9));
        double from = now();
        send_kind(t, 2, ECHO);
        tine_frame_free(next(t).frame);
        took[i] = now() - from;
    }
    qsort(took, (size_t)rounds, sizeof *took, by_size);
    return took[rounds / 2];
}

static double work(tine_transport *t, int workers) {
    double sum = 0, took;
    for (int w = 0; w < workers; w++) send_kind(t, (tine_peer)w + 2, COMPUTE);
    for (int w = 0; w < workers; w++) {
        tine_event ev = next(t);
        memcpy(&took, ev.frame->header + 8, sizeof took);
        sum += took;
        tine_frame_free(ev.frame);
    }
    return sum / workers;
}

static void measure(tine_transport *t, int ranks, double bare) {
    for (int i = 1; i < ranks; i++) next(t);
    double trip = median_trip(t, ROUNDS, 0), quiet = median_trip(t, QUIET, 0.003);
    double from = cpu(), until = now() + 1, left;
    while ((left = until - now()) > 0) t->ops->wait(t, (int64_t)(left * 1e9));
    printf("%d ranks: round trip %.2f us (bare MPI %.2f us), after silence %.1f us, idle %.2f %% "
           "of a core\n",
           ranks, trip * 1e6, bare * 1e6, quiet * 1e6, 100 * (cpu() - from));
    double one = work(t, 1), all = work(t, ranks - 1);
    printf("%d ranks: work in each of %d workers takes %.3f of what it takes in one\n", ranks,
           ranks - 1, all / one);
}

static int rank_main(const tine_launcher *l) {
    char why[512];
    double bare[ROUNDS] = {0};
    const tine_transport_ops *ops = tine_transport_for("mpi://", why, sizeof why);
    int (*ping)(double *, int, int, char *, size_t);
    if (!ops) return fprintf(stderr, "bench_mpi: %s\n", why);
    *(void **)&ping = dlsym(RTLD_DEFAULT, "tine_mpi_round_trips");
    if (!ping || ping(bare, ROUNDS, 100, why, sizeof why))
        return fprintf(stderr, "bench_mpi: no bare MPI\n");
    tine_transport *t;
    int err = l->rank ? ops->connect(&t, "mpi://", NULL, why, sizeof why)
                      : ops->listen(&t, "mpi://", NULL, why, sizeof why);
    if (err) return fprintf(stderr, "bench_mpi: %s\n", why);
    if (l->rank)
        serve(t);
    else
        measure(t, l->size, tine_quantile(bare, ROUNDS, 0.5));
    ops->close(t);
    ops->stop(t);
    ops->fini(t);
    return 0;
}

int main(int argc, char **argv) {
    tine_launcher l;
    char command[512];
    (void)argc;
    if (tine_launcher_detect(&l)) return rank_main(&l);
    if (!getenv("TINE_MODULE_DIR")) setenv("TINE_MODULE_DIR", "build", 1);
    long most = sysconf(_SC_NPROCESSORS_ONLN) + 1;
    for (long ranks = 2;; ranks = most) {
        snprintf(command, sizeof command, "mpirun %s -n %ld --oversubscribe --bind-to none %s",
                 geteuid() ? "" : "--allow-run-as-root", ranks, argv[0]);
        if (system(command)) return 1;
        if (ranks == most) return 0;
    }
}
