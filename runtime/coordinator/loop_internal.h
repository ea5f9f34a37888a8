/* What the loop's files share: loop.c (who drives), loop_io.c (frames and actions), loop_local.c
 * (deaths of local workers). */
#ifndef TINE_RUNTIME_COORDINATOR_LOOP_INTERNAL_H
#define TINE_RUNTIME_COORDINATOR_LOOP_INTERNAL_H

#include "transport/base/idmap.h"
#include "runtime/coordinator/loop.h"

/* A frame that the transport had no room for. */
typedef struct tine_unsent {
    struct tine_unsent *next;
    tine_peer peer;
    tine_frame *frame;
} tine_unsent;

/* A callback that is due. */
typedef struct tine_later {
    struct tine_later *next;
    void (*fn)(void *arg);
    void *arg;
} tine_later;

/* The two halves of a local worker's death, of which either may come first: the supervisor's report
 * (reason) and the transport's LOST (peer), after which nothing it sent can be under way. */
typedef struct tine_death {
    struct tine_death *next;
    uint32_t pid;
    char *reason;   /* NULL: not reported yet */
    tine_peer lost; /* 0: not lost yet */
    int64_t due;    /* settled by then with what is known */
    char transport_reason[128];
} tine_death;

struct tine_loop {
    pthread_mutex_t lock;
    pthread_cond_t changed;      /* to threads that wait while another drives */
    pthread_cond_t progress_due; /* to the progress thread */
    pthread_t progress;
    bool progress_started, stopping, stopped; /* stopped: every future is done */
    bool gone;                                /* no worker is started any more */
    bool driving, progress_drives,
        blocked; /* blocked: the driver is in the transport's wait, without the lock */
    /* the progress thread sleeps long, and is to be woken when the driver lets go */
    bool long_tick;
    unsigned wanting; /* threads that want the progress thread to let go */
    unsigned claims;  /* threads that want whoever drives to let go */
    unsigned inside;  /* threads in tine_loop_until */
    unsigned waiting; /* threads in `changed` */
    uint64_t driven;  /* how often the role was taken by another than the progress thread */
    unsigned pushes;

    tine_scheduler *scheduler;
    tine_transport *transport;
    tine_idmap tickets; /* forks under way: ticket to future, a reference on each */
    uint64_t last_ticket;
    tine_unsent *unsent;
    tine_later *later, **later_end;
    tine_death *deaths;
    void (*stray)(uint32_t pid, const char *token);

    pthread_mutex_t handles_lock;
    struct tine_handle_change {
        tine_object id;
        int change;
    } * handles;
    size_t n_handles, room_handles;

    void (*listener)(void *arg, tine_peer peer, const tine_message *m);
    void *listener_arg;
};

/* With the lock, by the driver (or while nobody drives). */
bool tine_loop_receive(tine_loop *l); /* false: nothing was there */
/* carries out the scheduler's actions; false: there was none */
bool tine_loop_act(tine_loop *l);
void tine_loop_count_handles(tine_loop *l); /* tells the scheduler of handles on objects */

void tine_loop_peer_lost(tine_loop *l, tine_peer peer, const char *reason);
int64_t tine_loop_settle_deaths(tine_loop *l, int64_t now); /* when it wants to be called again */
void tine_loop_deaths_free(tine_loop *l);

#endif
