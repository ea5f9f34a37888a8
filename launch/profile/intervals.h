/* Sets of times, as sorted lists of intervals that do not touch. */
#ifndef TINE_LAUNCH_PROFILE_INTERVALS_H
#define TINE_LAUNCH_PROFILE_INTERVALS_H

#include <stddef.h>
#include <stdint.h>

typedef struct tine_interval {
    int64_t begin, end;
} tine_interval;

/* Zeroed is empty. */
typedef struct tine_intervals {
    tine_interval *items;
    size_t n, room;
} tine_intervals;

/* In any order; an empty interval is left out. Then tine_intervals_merge. */
void tine_intervals_add(tine_intervals *set, int64_t begin, int64_t end);
void tine_intervals_merge(tine_intervals *set);
/* a without b. Both are merged. */
tine_intervals tine_intervals_minus(const tine_intervals *a, const tine_intervals *b);
int64_t tine_intervals_length(const tine_intervals *set);
void tine_intervals_fini(tine_intervals *set);

#endif
