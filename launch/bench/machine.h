/* The machine on which a benchmark runs, and how quiet it is meanwhile. */
#ifndef TINE_LAUNCH_BENCH_MACHINE_H
#define TINE_LAUNCH_BENCH_MACHINE_H

#include "launch/bench/results.h"

typedef struct tine_machine_watch {
    double load;           /* of the last minute; -1: not known */
    uint64_t steal, total; /* ticks of all CPUs */
} tine_machine_watch;

void tine_machine_begin(tine_machine_watch *w);
/* Sets r->machine, and warns where the machine was not quiet since begin. */
void tine_machine_end(const tine_machine_watch *w, tine_results *r);

#endif
