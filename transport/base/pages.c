/* See pages.h. A block that is kept is in a list by age, whose oldest make room for new ones, and
 * in the bin of its size, where one for a new buffer is looked for. Pages come from the arena
 * (arena.h) where there is one with room. */
#include "transport/base/pages.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/queue.h>

#include "transport/base/arena.h"
#include "transport/base/clock.h"

enum {
    KEPT_MAX = 1024,
    TIDY_MOST = 64, /* blocks in one call: some ms */
    LOOK_MOST = 32, /* blocks of a bin */
    BINS = 4 * 64,
    HUGE_FROM = 4 << 20,
    PAGE = 4096
};
static const int64_t KEEP_NS = 1000000000; /* pages of the arena */

typedef struct kept_block {
    TAILQ_ENTRY(kept_block) by_age;
    LIST_ENTRY(kept_block) in_bin; /* or in the list of unused ones */
    tine_pages pages;
    int64_t since;
    bool shared; /* of the arena */
} kept_block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* taken before the arena's */
static kept_block blocks[KEPT_MAX];                      /* the first n_blocks have been used */
static size_t n_blocks, n_kept, bytes_kept;
static LIST_HEAD(, kept_block) unused;
/* Each by `shared`: by age, the oldest first; of one size, the latest first. */
static TAILQ_HEAD(, kept_block) ages[2] = {TAILQ_HEAD_INITIALIZER(ages[0]),
                                           TAILQ_HEAD_INITIALIZER(ages[1])};
static LIST_HEAD(, kept_block) bins[2][BINS];

/* Four bins for each power of 2. */
static size_t pages_bin(size_t size) {
    if (size < PAGE) size = PAGE;
    unsigned log = 63 - (unsigned)__builtin_clzll((unsigned long long)size);
    return 4 * log + ((size >> (log - 2)) & 3);
}

/* A process that is forked while another thread holds a lock may release what it has inherited. */
static void fork_begins(void) {
    pthread_mutex_lock(&lock);
    tine_arena_fork(true);
}

static void fork_ends(void) {
    tine_arena_fork(false);
    pthread_mutex_unlock(&lock);
}

static void __attribute__((constructor)) fork_watch(void) {
    pthread_atfork(fork_begins, fork_ends, fork_ends);
}

static tine_pages pages_remove(kept_block *b) {
    TAILQ_REMOVE(&ages[b->shared], b, by_age);
    LIST_REMOVE(b, in_bin);
    LIST_INSERT_HEAD(&unused, b, in_bin);
    bytes_kept -= b->pages.size;
    n_kept--;
    return b->pages;
}

static bool pages_are_shared(tine_pages p) {
    uint64_t offset;
    return tine_arena_holds(p.data, p.size, &offset);
}

static void pages_release(tine_pages p, bool shared) {
    if (shared)
        tine_arena_give(p.data, p.size);
    else
        munmap(p.data, p.size);
}

static bool pages_fit(tine_pages p, size_t size) {
    return p.size >= size && p.size - size <= size / 4;
}

/* The smallest kept block of at least `size` bytes that is not a quarter larger; of equal ones the
 * latest given back. Blocks that fit lie in the bin of the size and the two after it. */
static tine_pages pages_reuse(size_t size, bool shared) {
    kept_block *best = NULL, *b;
    pthread_mutex_lock(&lock);
    for (size_t bin = pages_bin(size), last = bin + 2; !best && bin <= last && bin < BINS; bin++) {
        int looks = 0;
        LIST_FOREACH (b, &bins[shared][bin], in_bin) {
            if (pages_fit(b->pages, size) && (!best || b->pages.size < best->pages.size)) best = b;
            if (++looks == LOOK_MOST || (best && best->pages.size - size < PAGE)) break;
        }
    }
    tine_pages p = best ? pages_remove(best) : (tine_pages){0};
    pthread_mutex_unlock(&lock);
    return p;
}

static void *pages_map(size_t size) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                0);
}

/* Releases the oldest, of either kind. The lock is held, but not meanwhile. */
static void pages_release_oldest(void) {
    kept_block *own = TAILQ_FIRST(&ages[false]), *shared = TAILQ_FIRST(&ages[true]);
    bool is_shared = shared && (!own || shared->since < own->since);
    tine_pages p = pages_remove(is_shared ? shared : own);
    pthread_mutex_unlock(&lock);
    pages_release(p, is_shared);
    pthread_mutex_lock(&lock);
}

/* Where address space is limited, kept blocks must not take what an allocation needs. */
static void pages_release_all(void) {
    pthread_mutex_lock(&lock);
    while (n_kept > 0) pages_release_oldest();
    pthread_mutex_unlock(&lock);
}

/* What a forked process inherits of the arena is not its own: there the arena is not open. */
static tine_pages pages_take_shared(size_t size, bool touched) {
    tine_pages p = {0};
    /* Nor one that nobody uses: its pages would be cleared for each buffer. */
    if (!tine_arena_is_open()) return p;
    p = pages_reuse(size, true);
    if (p.data) return p;
    p.data = tine_arena_take(size, &p.size);
    if (p.data && touched) tine_arena_touch(p.data, p.size, 0, p.size);
    return p;
}

tine_pages tine_pages_take_shared(size_t size) { return pages_take_shared(size, true); }

static tine_pages pages_take_own(size_t size) {
    size_t rounded = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (rounded < size) return (tine_pages){0};
    tine_pages p = pages_reuse(size, false);
    if (p.data) return p;
    p.data = pages_map(rounded);
    if (p.data == MAP_FAILED) {
        pages_release_all();
        p.data = pages_map(rounded);
    }
    if (p.data == MAP_FAILED) return (tine_pages){0};
    /* 2 MiB pages make the first touch 512 times rarer. */
    if (rounded >= HUGE_FROM) (void)madvise(p.data, rounded, MADV_HUGEPAGE);
    p.size = rounded;
    return p;
}

tine_pages tine_pages_take(size_t size) {
    tine_pages p = pages_take_shared(size, true);
    return p.data ? p : pages_take_own(size);
}

tine_pages tine_pages_take_untouched(size_t size) {
    tine_pages p = {0};
    if (size <= SIZE_MAX / 4 && tine_arena_has(4 * size)) p = pages_take_shared(size, false);
    return p.data ? p : pages_take_own(size);
}

static void pages_keep(tine_pages p, bool shared) {
    pthread_mutex_lock(&lock);
    while (n_kept == KEPT_MAX || bytes_kept + p.size > TINE_PAGES_KEEP) pages_release_oldest();
    kept_block *b = LIST_FIRST(&unused);
    if (b)
        LIST_REMOVE(b, in_bin);
    else
        b = &blocks[n_blocks++];
    b->pages = p;
    b->shared = shared;
    b->since = tine_clock_ns();
    TAILQ_INSERT_TAIL(&ages[shared], b, by_age);
    LIST_INSERT_HEAD(&bins[shared][pages_bin(p.size)], b, in_bin);
    n_kept++;
    bytes_kept += p.size;
    pthread_mutex_unlock(&lock);
}

static bool pages_keepable(tine_pages p, bool shared) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false; /* the sanitizer could not detect a use after the release */
#endif
    if (p.size > TINE_PAGES_KEEP / 2) return false;
    /* From here on the kernel may reclaim the pages until they are written. It cannot reclaim the
     * arena's: tine_pages_tidy returns them. */
    if (shared) return tine_arena_is_open();
    return madvise(p.data, p.size, MADV_FREE) == 0;
}

void tine_pages_give(tine_pages p) {
    if (!p.data) return;
    bool shared = pages_are_shared(p);
    if (pages_keepable(p, shared))
        pages_keep(p, shared);
    else
        pages_release(p, shared);
}

int64_t tine_pages_tidy(int64_t now_ns) {
    for (int n = 0; n < TIDY_MOST || now_ns == INT64_MAX; n++) {
        pthread_mutex_lock(&lock);
        kept_block *oldest = TAILQ_FIRST(&ages[true]);
        int64_t left = oldest ? oldest->since + KEEP_NS - now_ns : -1;
        bool due = oldest && left <= 0;
        tine_pages p = due ? pages_remove(oldest) : (tine_pages){0};
        pthread_mutex_unlock(&lock);
        if (!due) return left;
        pages_release(p, true);
    }
    return 0;
}

size_t tine_pages_kept(void) {
    pthread_mutex_lock(&lock);
    size_t bytes = bytes_kept;
    pthread_mutex_unlock(&lock);
    return bytes;
}
