/* Where workers go: the physical cores that this process may use, near ones side by side.
 *
 * They are read with hwloc (libhwloc, which Open MPI uses as well). It is loaded where it is needed
 * and not linked. A machine without hardware threads and with one NUMA node is described by its
 * CPUs' numbers, and so is every machine without libhwloc. HWLOC_SYNTHETIC and the like describe
 * another machine: then nothing is pinned. */
#ifndef TINE_RUNTIME_SETTINGS_TOPOLOGY_H
#define TINE_RUNTIME_SETTINGS_TOPOLOGY_H

#include <sched.h>
#include <stdbool.h>

typedef struct tine_core {
    int package, node, number; /* -1: not known; of the package, the NUMA node, and of all cores */
    cpu_set_t cpus;            /* its hardware threads */
} tine_core;

typedef struct tine_topology {
    const char *source; /* "hwloc", "CPU numbers" */
    bool here;          /* it is the machine on which this process runs */
    int packages, nodes, n, cpus;
    tine_core *cores;
} tine_topology;

/* Zeroed, with n 0, where there is no memory or there are more CPUs than a cpu_set_t has bits. */
void tine_topology_get(tine_topology *out);
void tine_topology_fini(tine_topology *t);
/* Whether each of so many workers gets cores of its own. With fewer workers than that they are left
 * to the kernel: other programs would pin theirs to the same cores. */
bool tine_topology_pins(const tine_topology *t, int workers, int threads);
/* The CPUs of worker i; the NUMA node of its first core in *node. */
void tine_topology_place(const tine_topology *t, int i, int threads, cpu_set_t *cpus, int *node);

#endif
