/* What the coordinator's files share: coordinator.c (its context), coordinator_trace.c (gathering
 * the profile). */
#ifndef TINE_RUNTIME_COORDINATOR_COORDINATOR_INTERNAL_H
#define TINE_RUNTIME_COORDINATOR_COORDINATOR_INTERNAL_H

#include "runtime/api/context.h"
#include "runtime/coordinator/coordinator.h"

typedef struct coordinator_owner {
    tine_object_owner owner;
    pthread_mutex_t lock;
    tine_loop *loop; /* NULL when no coordinator runs */
} coordinator_owner;

struct tine_coordinator {
    tine_context context;
    tine_loop *loop;
    pthread_cond_t changed; /* an instance was made */
    size_t max_pending, max_pending_bytes;
};

#endif
