/* What the supervisor's files share: its state, and the start of one worker. */
#ifndef TINE_LAUNCH_SPAWN_INTERNAL_H
#define TINE_LAUNCH_SPAWN_INTERNAL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#include "launch/spawn/descendants.h"
#include "launch/spawn/spawn.h"
#include "runtime/settings/topology.h"

enum { TINE_SPAWN_TOKEN_DIGITS = 32 };
enum { TINE_SPAWN_LIFELINE_FD = 3, TINE_SPAWN_LOG_FD = 4 }; /* in the worker */

typedef struct tine_spawn_slot_state {
    _Atomic pid_t pid; /* 0: empty; written by the supervisor */
    int pidfd;         /* -1: none */
    int lifeline;      /* our end; -1: none */
    /* Once it is reaped, until its death is reported: its pid, and its exit status or the signal; a
     * status of -1: unknown. */
    pid_t dead;
    int status;
    bool killed; /* by a signal */
    /* by SIGKILL: from outside, or by the kernel for want of memory */
    bool killed_from_outside;
    char mark[96];     /* what its descendants have in their environment */
    tine_run_log *log; /* NULL: none */
    unsigned attempt;  /* s->attempts when it was started */
    /* it is to be killed if it runs just this task; 0: none */
    _Atomic uint64_t end_task;
    _Atomic pid_t ending; /* the worker with this pid is to end; 0: none is */
    atomic_bool retired;  /* then the slot stays empty */
} tine_spawn_slot_state;

struct tine_spawn {
    /* How workers are started (start.c). Written before the supervisor starts. */
    char *program;
    char **argv;
    char **environment; /* with room for three entries behind n_environment, see start.c */
    size_t n_environment;
    unsigned starts; /* of workers, so far */
    char token[TINE_SPAWN_TOKEN_DIGITS + 1];
    int workers, threads;
    tine_topology topology;
    cpu_set_t allowed;
    bool pinned; /* each worker has cores of its own */

    void (*died)(void *ctx, int slot, pid_t pid, const char *reason, const tine_run_log *log);
    void (*failed)(void *ctx, unsigned failures, const char *reason);
    bool (*ready)(void *ctx, char *reason, size_t room);
    void (*ended)(void *ctx);
    void *ctx;

    /* The supervisor's own. */
    tine_spawn_slot_state *slots;
    struct pollfd *fds;  /* one per worker, then the eventfd */
    const char **marks;  /* of those that died at the same time */
    bool no_pidfd;       /* some worker has none: poll for its death */
    int64_t unjoined_at; /* when workers that have not joined are killed; 0: not stopping yet */
    unsigned attempts;   /* times that empty slots were filled */
    unsigned failures;   /* attempts in a row that failed */
    int64_t retry_at;    /* when empty slots are filled; INT64_MAX: there is none */
    int killed;          /* -1: the deadline of stopping has not passed */

    pthread_t thread;
    bool running; /* the thread is to be joined */
    int wake_fd;  /* eventfd: stopping has changed */
    atomic_bool stopping;
    _Atomic int64_t stop_at;

    /* Guards the result of the first start, for tine_spawn_start, and is held while a worker is
     * started. No other lock is taken while it is held. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started;
    int start_error; /* errno */
};

/* A random token for s->token. False: no random bytes. */
bool tine_spawn_token_make(char *token);
/* Decides whether each worker gets its own cores. */
void tine_spawn_placement_make(tine_spawn *s);
/* Starts the worker of slot i. On the supervisor's thread: its affinity changes for the moment of
 * the start, because that is what the worker inherits. Returns 0 or an errno value. */
int tine_spawn_worker_start(tine_spawn *s, int i);

/* A copy of a list that ends with NULL, as the copy does. NULL: no memory. */
char **tine_strings_copy(char *const *list);
void tine_strings_free(char **list); /* accepts NULL */
/* The environment of a worker: *n entries, and room for three more before its NULL (the token, the
 * lifeline and the mark differ from worker to worker). NULL: no memory. */
char **tine_spawn_environment(const tine_spawn_config *config, size_t *n);

/* pidfd_open by its number, which older C libraries do not wrap. -1 with errno: the kernel does not
 * have it either, or there is no such process. */
int tine_pidfd_open(int pid);

#endif
