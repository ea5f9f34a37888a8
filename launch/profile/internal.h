/* From the file's events to the profile: what read.c gives to join.c. */
#ifndef TINE_LAUNCH_PROFILE_INTERNAL_H
#define TINE_LAUNCH_PROFILE_INTERNAL_H

#include "launch/profile/profile.h"

/* A flow or async event. */
typedef struct tine_profile_point {
    int64_t at;
    uint64_t id;
    int32_t name, row;
    char phase; /* s t f b e */
} tine_profile_point;

typedef struct tine_profile_points {
    tine_profile_point *items;
    size_t n, room;
} tine_profile_points;

/* Sorts and nests the slices, makes tasks from flows and spans from async events. */
void tine_profile_join(tine_profile *p, tine_profile_points *points);

#endif
