/* Which of the messages that a peer numbers 1, 2, 3, … have arrived: all up to `low`, and those in
 * `early`, sorted. An early one has overtaken a large message, so there are few as a rule. */
#include "runtime/scheduler/internal.h"

#include <stdlib.h>
#include <string.h>

static size_t sched_early_place(const sched_arrivals *a, uint64_t number) {
    size_t low = 0, high = a->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (a->early[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool tine_scheduler_arrived(const sched_arrivals *a, uint64_t number) {
    if (number <= a->low) return true;
    size_t i = sched_early_place(a, number);
    return i < a->n && a->early[i] == number;
}

bool tine_scheduler_arrive(sched_arrivals *a, uint64_t number) {
    if (number == a->low + 1 && !a->n) {
        a->low++;
        return true;
    }
    if (a->n >= SCHED_MAX_EARLY) return false;
    size_t i = sched_early_place(a, number), taken = 0;
    a->early = tine_scheduler_grow(a->early, &a->room, a->n + 1, sizeof *a->early);
    memmove(a->early + i + 1, a->early + i, (a->n - i) * sizeof *a->early);
    a->early[i] = number;
    a->n++;
    for (; taken < a->n && a->early[taken] == a->low + 1; taken++) a->low++;
    a->n -= taken;
    if (taken) memmove(a->early, a->early + taken, a->n * sizeof *a->early);
    return true;
}

void tine_scheduler_arrivals_fini(sched_arrivals *a) {
    free(a->early);
    *a = (sched_arrivals){0};
}
