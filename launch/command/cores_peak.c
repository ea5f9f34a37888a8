/* See cores_peak.h. Each thread is bound to a core of its own for the moment, and all start
 * together. */
#include "launch/command/cores_peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { THREADS_MAX = 256 };

typedef struct measure {
    pthread_barrier_t start;
    enum tine_gemm_type type;
    double seconds;
} measure;

typedef struct lane {
    measure *all;
    int cpu; /* -1: anywhere */
    double gflops;
} lane;

static void *run(void *arg) {
    lane *l = arg;
    if (l->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)l->cpu, &set);
        (void)pthread_setaffinity_np(pthread_self(), sizeof set,
                                     &set); /* a refusal only makes it less exact */
    }
    pthread_barrier_wait(&l->all->start);
    l->gflops = tine_peak_gflops(TINE_ISA_AUTO, l->all->type, l->all->seconds);
    return NULL;
}

double tine_cores_peak(int cores, enum tine_gemm_type type, double seconds) {
    lane lanes[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    measure all = {.type = type, .seconds = seconds};
    cpu_set_t allowed;
    double sum = 0;
    if (cores < 1) cores = 1;
    if (cores > THREADS_MAX) cores = THREADS_MAX;
    bool known =
        sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) >= cores;
    if (pthread_barrier_init(&all.start, NULL, (unsigned)cores)) return 0;
    for (int i = 0, cpu = 0; i < cores; i++, cpu++) {
        while (known && !CPU_ISSET((size_t)cpu, &allowed)) cpu++;
        lanes[i] = (lane){.all = &all, .cpu = known ? cpu : -1};
        /* the others wait at the barrier */
        if (pthread_create(&threads[i], NULL, run, &lanes[i])) abort();
    }
    for (int i = 0; i < cores; i++) {
        pthread_join(threads[i], NULL);
        sum += lanes[i].gflops;
    }
    pthread_barrier_destroy(&all.start);
    return sum;
}
