/* See arena.h. Free memory is a list of extents in ascending order; no two of them touch. Blocks
 * that gain from 2 MiB pages are aligned to 2 MiB and taken from the bottom up, others from the top
 * down. */
#include "transport/base/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport/base/assert.h"
#include "transport/base/map.h"
#include "transport/base/vector.h"

enum {
    PAGE = TINE_ARENA_PAGE,
    HUGE = 2 << 20,
    LOOK_MOST = 1024 /* extents: some us */
};
#ifndef MADV_COLLAPSE
enum { MADV_COLLAPSE = 25 };
#endif

static const char NAME[] = "tine-tensors";

typedef struct extent {
    uint64_t at, size;
} extent;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a leaf lock */
static struct {
    uint8_t *memory; /* NULL: no arena */
    tine_arena_place place;
    extent *free; /* with room for the extents that all taken blocks may add */
    size_t n_free, room, n_taken, used, users;
} arena;

/* ---- making ---- */

static uint8_t *arena_map(int fd, uint64_t size) {
    size_t n = (size_t)size;
    uint8_t *room =
        mmap(NULL, n + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return NULL;
    uint8_t *at = room + (-(uintptr_t)room & (HUGE - 1));
    if (mmap(at, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        munmap(room, n + HUGE);
        return NULL;
    }
    (void)madvise(at, n, MADV_HUGEPAGE);
    tine_map_leave_undumped(at, n);
    return at;
}

static size_t address_space_used(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

bool tine_arena_may_map(uint64_t size) {
    struct rlimit most;
    if (getrlimit(RLIMIT_AS, &most) != 0 || most.rlim_cur == RLIM_INFINITY) return true;
    size_t half = most.rlim_cur / 2, used = address_space_used();
    return size <= half && used <= half - size;
}

static int arena_make(uint64_t size, const char **why) {
    tine_arena_place place = {.pid = (uint32_t)getpid(), .size = size & ~(uint64_t)(HUGE - 1)};
    *why = "its bound is below 4 MiB";
    if (place.size < 2 * HUGE) return -EINVAL;
    *why = "no random numbers";
    if (getrandom(place.token, sizeof place.token, 0) != sizeof place.token) return -EIO;
    int fd = tine_map_segment(NAME, place.size, why), rc = -ENOMEM;
    if (fd < 0) return fd;
    *why = "no address space for it (ulimit -v)";
    extent *first = tine_grow(NULL, &arena.room, 1, sizeof *first);
    bool fits = tine_arena_may_map(place.size + HUGE);
    uint8_t *at = first && fits ? arena_map(fd, place.size) : NULL;
    if (!at) {
        rc = first && fits ? -errno : rc;
        free(first);
        arena.room = 0;
        close(fd);
        return rc;
    }
    place.fd = (uint32_t)fd;
    memcpy(at + place.size - PAGE, place.token, sizeof place.token);
    first[0] = (extent){0, place.size - PAGE};
    arena.free = first;
    arena.n_free = 1;
    arena.place = place;
    arena.memory = at;
    return 0;
}

static bool arena_is_ours(void) { return arena.memory && arena.place.pid == (uint32_t)getpid(); }

int tine_arena_open(uint64_t size, const char **why) {
    pthread_mutex_lock(&lock);
    *why = "this process was forked by one that has an arena";
    int rc = arena_is_ours() ? 0 : arena.memory ? -EBUSY : arena_make(size, why);
    arena.users += !rc;
    pthread_mutex_unlock(&lock);
    return rc;
}

void tine_arena_close(void) {
    pthread_mutex_lock(&lock);
    TINE_ASSERT(arena.users, >, 0);
    arena.users--;
    pthread_mutex_unlock(&lock);
}

bool tine_arena_is_open(void) {
    pthread_mutex_lock(&lock);
    bool is = arena_is_ours() && arena.users > 0;
    pthread_mutex_unlock(&lock);
    return is;
}

void tine_arena_fork(bool begins) {
    if (begins)
        pthread_mutex_lock(&lock);
    else
        pthread_mutex_unlock(&lock);
}

bool tine_arena_get(tine_arena_place *out) {
    pthread_mutex_lock(&lock);
    bool is = arena_is_ours();
    if (is) *out = arena.place;
    pthread_mutex_unlock(&lock);
    return is;
}

/* ---- extents ---- */

static void extent_insert(size_t i, extent e) {
    TINE_ASSERT(arena.n_free, <, arena.room);
    memmove(&arena.free[i + 1], &arena.free[i], (arena.n_free - i) * sizeof e);
    arena.free[i] = e;
    arena.n_free++;
}

static void extent_remove(size_t i) {
    arena.n_free--;
    memmove(&arena.free[i], &arena.free[i + 1], (arena.n_free - i) * sizeof arena.free[0]);
}

/* Takes [at, at + size) out of extent i. */
static void extent_cut(size_t i, uint64_t at, uint64_t size) {
    extent e = arena.free[i], after = {at + size, e.at + e.size - at - size};
    arena.free[i].size = at - e.at;
    if (after.size) extent_insert(i + 1, after);
    if (!arena.free[i].size) extent_remove(i);
}

static bool arena_find_huge(uint64_t size, uint64_t *at) {
    for (size_t i = 0; i < arena.n_free; i++) {
        extent e = arena.free[i];
        *at = (e.at + HUGE - 1) & ~(uint64_t)(HUGE - 1);
        if (*at - e.at >= e.size || e.size - (*at - e.at) < size) continue;
        extent_cut(i, *at, size);
        return true;
    }
    return false;
}

static bool extent_cut_end(size_t i, uint64_t size, uint64_t *at) {
    extent e = arena.free[i];
    if (e.size < size) return false;
    *at = e.at + e.size - size;
    extent_cut(i, *at, size);
    return true;
}

/* The first extents, too: where many small gaps lie above, what has never been taken is there. */
static bool arena_find(uint64_t size, uint64_t *at) {
    size_t n = arena.n_free, least = n < LOOK_MOST ? 0 : n - LOOK_MOST;
    for (size_t i = n; i-- > least;)
        if (extent_cut_end(i, size, at)) return true;
    for (size_t i = 0; i < least && i < LOOK_MOST; i++)
        if (extent_cut_end(i, size, at)) return true;
    return false;
}

/* Makes room in the list: each taken block may become an extent of its own when it is given
 * back. */
static bool arena_room(void) {
    extent *more =
        tine_grow(arena.free, &arena.room, arena.n_free + arena.n_taken + 2, sizeof *more);
    if (more) arena.free = more;
    return more;
}

/* Backs these units of 2 MiB by pages of that size. For a memfd the kernel makes none by itself
 * (transparent_hugepage/shmem_enabled is `never` by default): only on request, and only from
 * populated pages. With pages of 4 KiB the tutorial's ensemble (256 channels, batch 64) took 10 %
 * longer, and the first touch of 64 MiB 53 ms instead of 6. Where the kernel refuses, pages come as
 * they are touched. */
static void arena_make_huge(uint8_t *data, size_t size) {
    static atomic_bool refused; /* an older kernel */
    if (atomic_load(&refused)) return;
    for (size_t i = 0; i < size; i += HUGE) *(volatile uint8_t *)(data + i) = 0;
    if (madvise(data, size, MADV_COLLAPSE) != 0 && errno == EINVAL) atomic_store(&refused, true);
}

void tine_arena_touch(void *block, size_t size, size_t from, size_t n) {
    const size_t unit = HUGE - 1, whole = size & ~unit;
    size_t begin = (from + unit) & ~unit, end = (from + n + unit) & ~unit;
    uint64_t offset;
    if (end > whole) end = whole;
    if (begin < end && tine_arena_holds(block, size, &offset))
        arena_make_huge((uint8_t *)block + begin, end - begin);
}

void *tine_arena_take(size_t size, size_t *taken) {
    uint64_t rounded = ((uint64_t)size + PAGE - 1) & ~(uint64_t)(PAGE - 1), at;
    uint8_t *data = NULL;
    pthread_mutex_lock(&lock);
    if (rounded >= size && arena_is_ours() && arena_room() &&
        (rounded >= HUGE ? arena_find_huge(rounded, &at) : arena_find(rounded, &at))) {
        data = arena.memory + at;
        *taken = (size_t)rounded;
        arena.n_taken++;
        arena.used += (size_t)rounded;
    }
    pthread_mutex_unlock(&lock);
    return data;
}

static void extent_give(extent e) {
    size_t i = 0, most = arena.n_free;
    while (i < most) {
        size_t middle = (i + most) / 2;
        if (arena.free[middle].at < e.at)
            i = middle + 1;
        else
            most = middle;
    }
    extent *before = i > 0 ? &arena.free[i - 1] : NULL;
    extent *after = i < arena.n_free ? &arena.free[i] : NULL;
    bool joins = before && before->at + before->size == e.at;
    bool joined = after && e.at + e.size == after->at;
    if (joins && joined) {
        before->size += e.size + after->size;
        extent_remove(i);
    } else if (joins) {
        before->size += e.size;
    } else if (joined) {
        *after = (extent){e.at, e.size + after->size};
    } else {
        extent_insert(i, e);
    }
}

void tine_arena_give(void *data, size_t taken) {
    uint64_t at = (uint64_t)((uint8_t *)data - arena.memory);
    if (arena.place.pid != (uint32_t)getpid()) return;
    /* before another thread can take them */
    (void)fallocate((int)arena.place.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                    (off_t)taken);
    pthread_mutex_lock(&lock);
    extent_give((extent){at, taken});
    arena.n_taken--;
    arena.used -= taken;
    pthread_mutex_unlock(&lock);
}

bool tine_arena_holds(const void *data, size_t size, uint64_t *offset) {
    pthread_mutex_lock(&lock);
    uint64_t at = (uintptr_t)data - (uintptr_t)arena.memory;
    bool holds = arena.memory && at < arena.place.size && size <= arena.place.size - at;
    pthread_mutex_unlock(&lock);
    *offset = holds ? at : 0;
    return holds;
}

static atomic_int n_readers;

void tine_arena_count_reader(int change) { atomic_fetch_add(&n_readers, change); }

/* The lock belongs to the open file description, which a mapping keeps open: the kernel unlocks
 * when the mapping, or the process, ends. */
int tine_arena_watch(int fd) {
    struct flock reads = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &reads) == 0 ? 0 : -errno;
}

bool tine_arena_is_watched(void) {
    struct flock writes = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    tine_arena_place place;
    return tine_arena_get(&place) && fcntl((int)place.fd, F_OFD_GETLK, &writes) == 0 &&
           writes.l_type != F_UNLCK;
}

bool tine_arena_has_readers(void) {
    return atomic_load_explicit(&n_readers, memory_order_relaxed) > 0;
}

bool tine_arena_has(size_t size) {
    pthread_mutex_lock(&lock);
    bool has = arena_is_ours() && size <= arena.place.size - arena.used;
    pthread_mutex_unlock(&lock);
    return has;
}

size_t tine_arena_size(void) {
    tine_arena_place place;
    return tine_arena_get(&place) ? (size_t)place.size : 0;
}

const uint8_t *tine_arena_at(uint64_t offset) { return arena.memory + offset; }

size_t tine_arena_used(void) {
    pthread_mutex_lock(&lock);
    size_t used = arena.used;
    pthread_mutex_unlock(&lock);
    return used;
}
