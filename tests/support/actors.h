/* Processes that may die: each acts once. They are forked by a process that has one thread and was
 * forked before the test had a second one. */
#ifndef TINE_TESTS_SUPPORT_ACTORS_H
#define TINE_TESTS_SUPPORT_ACTORS_H

#include <sys/types.h>

/* What one is to do. */
typedef struct order {
    char url[200];
    int kind;
    unsigned seed;
} order;

typedef struct actors {
    int to;
    pid_t pid;
    int from; /* the wait status of each actor */
} actors;

actors actors_new(void (*act)(const order *o));
void actors_order(actors *a, const char *url, int kind, unsigned seed);
int actors_status(actors *a); /* of the next that has ended; blocks */
void actors_fini(actors *a);

#endif
