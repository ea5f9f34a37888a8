/* What a worker has begun, in memory that it shares with the process that started it. After the
 * worker's death, whatever ended it, the log tells which task ran and which had not begun. The
 * worker writes; the other side reads once the worker is dead. */
#ifndef TINE_TRANSPORT_BASE_RUN_LOG_H
#define TINE_TRANSPORT_BASE_RUN_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { TINE_RUN_LOG_RECENT = 1024 };

typedef struct tine_run_log {
    _Atomic uint64_t joined;       /* how often a coordinator has welcomed the worker */
    _Atomic uint64_t dismissed;    /* not 0: the coordinator has ended the worker */
    _Atomic uint64_t leaves;       /* not 0: a signal has asked it to leave */
    _Atomic uint64_t running;      /* the task that runs now; 0: none */
    _Atomic uint64_t begun, ended; /* tasks so far; ended: without failing */
    /* the last ones begun, in a ring: task number i (from 0) at i % TINE_RUN_LOG_RECENT */
    _Atomic uint64_t recent[TINE_RUN_LOG_RECENT];
} tine_run_log;

static inline void tine_run_log_begin(tine_run_log *l, uint64_t task) {
    uint64_t n = atomic_load_explicit(&l->begun, memory_order_relaxed);
    atomic_store_explicit(&l->recent[n % TINE_RUN_LOG_RECENT], task, memory_order_release);
    atomic_store_explicit(&l->begun, n + 1, memory_order_release);
}

/* The task on the processor; 0: none. */
static inline void tine_run_log_run(tine_run_log *l, uint64_t task) {
    atomic_store_explicit(&l->running, task, memory_order_release);
}

static inline void tine_run_log_end(tine_run_log *l) {
    uint64_t n = atomic_load_explicit(&l->ended, memory_order_relaxed);
    atomic_store_explicit(&l->ended, n + 1, memory_order_release);
}

/* Whether `task` is among the last ones begun. */
static inline bool tine_run_log_has(const tine_run_log *l, uint64_t task) {
    for (int i = 0; i < TINE_RUN_LOG_RECENT; i++)
        if (atomic_load_explicit(&l->recent[i], memory_order_acquire) == task) return true;
    return false;
}

#endif
