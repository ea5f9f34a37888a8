/* Fibers: stacks, the bookkeeping of a switch, and what the sanitizers are told of it. See fiber.h.
 * The handler of overflows is in overflow.c, the switch itself in switch.c.
 *
 * A fiber's record lies at the top of its stack, in a page that the stack needs anyway: a suspended
 * fiber with a shallow stack costs one page, and the kernel's records of two mappings. */
#include "workers/fiber/fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/value/current.h"
#include "transport/base/assert.h"
#include "workers/fiber/overflow.h"
#include "workers/fiber/switch.h"
#include "workers/fiber/thread.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FIBER_ASAN
#endif
#ifdef __SANITIZE_THREAD__
#define FIBER_TSAN
#endif
#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Mappings left to the rest of the process: libraries, malloc's arenas, tensors. */
enum { SPARE_MAPPINGS = 2048 };
enum { DEFAULT_STACK = 256 << 10, DEFAULT_CACHED = 256 };
/* A cached stack larger than UNTRIMMED_STACK keeps the pages of its upper TRIM_KEEPS bytes; the
 * kernel gets the others back. Smaller stacks keep all their pages: madvise costs more than a
 * switch. */
enum { UNTRIMMED_STACK = 512 << 10, TRIM_KEEPS = 64 << 10 };

struct tine_fiber_pool {
    size_t stack_size, map_size;
    size_t max_cached, n_cached, live, max_live;
    char **cached; /* mappings without a fiber */
    bool armed;    /* this pool is a user of the thread's alternate signal stack */
    tine_fiber_threads threads;
};

/* What the Itanium C++ ABI calls __cxa_eh_globals: the exceptions that handlers are busy with, per
 * thread. A task may wait inside a handler, so each fiber has its own. Absent in a process without
 * a C++ library. */
typedef struct fiber_exceptions {
    void *caught;
    unsigned uncaught;
} fiber_exceptions;
extern fiber_exceptions *__cxa_get_globals(void) __attribute__((weak));

struct tine_fiber {
    tine_switch_point self, back;
    fiber_exceptions exceptions; /* while it does not run */
    tine_state state;            /* its tine_current while it does not run */
    tine_fiber_pool *pool;
    tine_fiber *outer;         /* the fiber that resumed it, or NULL */
    tine_fiber_thread *thread; /* which runs in its place, or NULL */
    char *map;
    void (*entry)(void *arg);
    void *arg;
    bool running, ended;
#ifdef FIBER_ASAN
    void *fake_stack, *back_fake_stack;
    const void *back_bottom;
    size_t back_size;
#endif
#ifdef FIBER_TSAN
    void *tsan, *tsan_back;
#endif
    tine_fiber_spot spot; /* what the overflow handler reads */
};

/* ---- calls for the sanitizers: empty without them ---- */

static void sanitizer_made(tine_fiber *f) {
#ifdef FIBER_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    (void)f;
}

static void sanitizer_freed(tine_fiber *f) {
#ifdef FIBER_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
#ifdef FIBER_ASAN
    /* Frames that never returned left red zones, which are not the next fiber's. */
    __asan_unpoison_memory_region(f->spot.low, f->pool->stack_size);
#endif
    (void)f;
}

static inline void sanitizer_enters(tine_fiber *f) {
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(&f->back_fake_stack, f->spot.low, f->pool->stack_size);
#endif
#ifdef FIBER_TSAN
    f->tsan_back = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(f->tsan, 0);
#endif
    (void)f;
}

static inline void sanitizer_entered(tine_fiber *f) {
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, &f->back_bottom, &f->back_size);
#endif
    (void)f;
}

static inline void sanitizer_leaves(tine_fiber *f) {
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(f->ended ? NULL : &f->fake_stack, f->back_bottom, f->back_size);
#endif
#ifdef FIBER_TSAN
    __tsan_switch_to_fiber(f->tsan_back, 0);
#endif
    (void)f;
}

static inline void sanitizer_left(tine_fiber *f) {
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(f->back_fake_stack, NULL, NULL);
#endif
    (void)f;
}

/* Exchanges the thread's exceptions with those of f. */
static inline void exceptions_exchange(tine_fiber *f) {
    if (!__cxa_get_globals) return;
    fiber_exceptions *now = __cxa_get_globals(), before = *now;
    *now = f->exceptions;
    f->exceptions = before;
}

/* ---- stacks ---- */

static size_t mappings_allowed(void) {
    size_t n = 65530;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f) {
        if (fscanf(f, "%zu", &n) != 1) n = 65530;
        fclose(f);
    }
    return n > 2 * SPARE_MAPPINGS ? n - SPARE_MAPPINGS : n / 2;
}

static char *stack_map(tine_fiber_pool *p) {
    if (p->n_cached > 0) return p->cached[--p->n_cached];
    char *map = mmap(NULL, p->map_size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED) return NULL;
    if (mprotect(map, TINE_FIBER_GUARD, PROT_NONE) != 0) {
        munmap(map, p->map_size);
        return NULL;
    }
    /* A huge page would make the first touch of a large stack cost 2 MiB. */
    if (p->stack_size >= 2 << 20) madvise(map + TINE_FIBER_GUARD, p->stack_size, MADV_NOHUGEPAGE);
    return map;
}

static void stack_unmap(tine_fiber_pool *p, char *map) {
    if (p->n_cached >= p->max_cached) {
        munmap(map, p->map_size);
        return;
    }
    if (p->stack_size > UNTRIMMED_STACK)
        madvise(map + TINE_FIBER_GUARD, p->stack_size - TRIM_KEEPS, MADV_DONTNEED);
    p->cached[p->n_cached++] = map;
}

/* ---- the pool ---- */

tine_error tine_fiber_pool_new(tine_fiber_pool **out, size_t stack_size, size_t max_cached) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (stack_size == 0) stack_size = DEFAULT_STACK;
    if (stack_size < TINE_FIBER_STACK_MIN) stack_size = TINE_FIBER_STACK_MIN;
    if (stack_size > (size_t)1 << 40)
        return tine_error_set(TINE_EINVAL, "the stack of a task has at most 1 TiB, not %zu bytes",
                              stack_size);
    tine_fiber_pool *p = calloc(1, sizeof *p);
    if (!p) goto no_memory;
    p->stack_size = (stack_size + page - 1) / page * page;
    p->map_size = p->stack_size + TINE_FIBER_GUARD;
    p->max_cached = max_cached ? max_cached : DEFAULT_CACHED;
    p->max_live = mappings_allowed() / 2;
    p->cached = calloc(p->max_cached, sizeof *p->cached);
    if (!p->cached || !tine_fiber_overflow_arm()) goto no_memory;
    p->armed = true;
    *out = p;
    return TINE_OK;
no_memory:
    tine_fiber_pool_free(p);
    return tine_error_set(TINE_ENOMEM, "no memory for the stacks of tasks");
}

void tine_fiber_pool_free(tine_fiber_pool *p) {
    if (!p) return;
    TINE_ASSERT(p->live, ==, 0);
    tine_fiber_threads_fini(&p->threads);
    while (p->n_cached > 0) munmap(p->cached[--p->n_cached], p->map_size);
    if (p->armed) tine_fiber_overflow_disarm();
    free(p->cached);
    free(p);
}

size_t tine_fiber_live(const tine_fiber_pool *p) { return p->live; }

/* ---- fibers ---- */

static tine_fiber *fiber_of(tine_fiber_spot *spot) {
    return spot ? (tine_fiber *)((char *)spot - offsetof(tine_fiber, spot)) : NULL;
}

static void fiber_main(void *arg) {
    tine_fiber *f = arg;
    sanitizer_entered(f);
    f->entry(f->arg);
    f->ended = true;
    sanitizer_leaves(f);
    tine_switch(&f->self, &f->back);
    abort();
}

tine_fiber *tine_fiber_new(tine_fiber_pool *p, void (*entry)(void *arg), void *arg,
                           const char *name) {
    char *map = p->live < p->max_live ? stack_map(p) : NULL;
    if (!map) {
        tine_error_set(TINE_ENOMEM,
                       "no memory for the stack of another task: %zu tasks are live, "
                       "with stacks of %zu KiB; set TINE_STACK_SIZE to smaller stacks, "
                       "or raise vm.max_map_count (a task takes 2 mappings)",
                       p->live, p->stack_size >> 10);
        return NULL;
    }
    char *low = map + TINE_FIBER_GUARD, *top = low + p->stack_size;
    tine_fiber *f = (tine_fiber *)(top - (sizeof *f + 63) / 64 * 64);
    memset(f, 0, sizeof *f);
    f->pool = p;
    f->map = map;
    f->entry = entry;
    f->arg = arg;
    f->state.context = tine_current.context;
    f->spot.guard = map;
    f->spot.low = low;
    f->spot.stack_kib = p->stack_size >> 10;
    f->spot.name = name;
    tine_switch_make(&f->self, low, (size_t)((char *)f - low), fiber_main, f);
    sanitizer_made(f);
    p->live++;
    return f;
}

void tine_fiber_resume(tine_fiber *f) {
    TINE_ASSERT_TRUE(!f->running);
    TINE_ASSERT_TRUE(!f->ended);
    tine_state saved = tine_current;
    f->outer = fiber_of(tine_fiber_spot_running);
    f->running = true;
    tine_current = f->state;
    tine_fiber_spot_running = &f->spot;
    exceptions_exchange(f);
    sanitizer_enters(f);
    tine_switch(&f->back, &f->self);
    sanitizer_left(f);
    exceptions_exchange(f);
    tine_fiber_spot_running = f->outer ? &f->outer->spot : NULL;
    f->state = tine_current;
    f->running = false;
    tine_current = saved;
}

static void fiber_leave(tine_fiber *f) {
    sanitizer_leaves(f);
    tine_switch(&f->self, &f->back);
    sanitizer_entered(f);
}

void tine_fiber_yield(void) {
    tine_fiber *f = tine_fiber_running();
    TINE_ASSERT_TRUE(f);
    if (f->thread)
        tine_fiber_thread_pause(f->thread); /* tine_fiber_call_on_thread yields in its place */
    else
        fiber_leave(f);
}

bool tine_fiber_call_on_thread(void (*fn)(void *arg), void *arg) {
    tine_fiber *f = tine_fiber_running();
    if (f->thread) {
        fn(arg);
        return true;
    }
    tine_fiber_thread *t = tine_fiber_thread_take(&f->pool->threads);
    if (!t) return false;
    f->thread = t;
    bool ended = tine_fiber_thread_run(t, fn, arg);
    while (!ended) {
        fiber_leave(f);
        ended = tine_fiber_thread_continue(t);
    }
    f->thread = NULL;
    tine_fiber_thread_give(&f->pool->threads, t);
    return true;
}

bool tine_fiber_ended(const tine_fiber *f) { return f->ended; }

void tine_fiber_free(tine_fiber *f) {
    if (!f) return;
    TINE_ASSERT_TRUE(!f->running);
    tine_failure_fini(&f->state.failure);
    sanitizer_freed(f);
    f->pool->live--;
    stack_unmap(f->pool, f->map);
}

tine_fiber *tine_fiber_running(void) { return fiber_of(tine_fiber_spot_running); }
