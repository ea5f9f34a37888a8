/* See cores_peak.h. Each thread is bound to a core of its own, and all start together. */
#include "launch/command/cores_peak.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { THREADS_MAX = 256 };

typedef struct peak_run {
    pthread_barrier_t start;
    enum tine_gemm_type type;
    double seconds;
} peak_run;

typedef struct peak_thread {
    peak_run *all;
    int cpu; /* -1: anywhere */
    double gflops;
} peak_thread;

static void *peak_thread_main(void *arg) {
    peak_thread *l = arg;
    if (l->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)l->cpu, &set);
        /* If it fails, the figure is less exact. */
        (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    pthread_barrier_wait(&l->all->start);
    l->gflops = tine_peak_gflops(TINE_ISA_AUTO, l->all->type, l->all->seconds);
    return NULL;
}

double tine_cores_peak(int cores, enum tine_gemm_type type, double seconds) {
    peak_thread lanes[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    peak_run all = {.type = type, .seconds = seconds};
    cpu_set_t allowed;
    double sum = 0;
    if (cores < 1) cores = 1;
    if (cores > THREADS_MAX) cores = THREADS_MAX;
    bool known =
        sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) >= cores;
    if (pthread_barrier_init(&all.start, NULL, (unsigned)cores)) return 0;
    for (int i = 0, cpu = 0; i < cores; i++, cpu++) {
        while (known && !CPU_ISSET((size_t)cpu, &allowed)) cpu++;
        lanes[i] = (peak_thread){.all = &all, .cpu = known ? cpu : -1};
        /* the others wait at the barrier */
        if (pthread_create(&threads[i], NULL, peak_thread_main, &lanes[i])) abort();
    }
    for (int i = 0; i < cores; i++) {
        pthread_join(threads[i], NULL);
        sum += lanes[i].gflops;
    }
    pthread_barrier_destroy(&all.start);
    return sum;
}
