/* See lane.h. The segment: a control page, then the bytes of the ring from the maker to the other
 * side, then those of the ring back. */
#include "transport/shm/lane.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/base/map.h"
#include "transport/shm/proc.h"

/* A multiple of every size of a page. */
enum { CONTROL = 64 << 10 };

static const char NAME[] = "tine-lane";

/* At the segment's start. */
typedef struct lane_control {
    uint8_t token[TINE_SHM_TOKEN];
    _Atomic uint64_t answer[TINE_SHM_TOKEN / sizeof(uint64_t)]; /* the token, by the other side */
    tine_shm_ring rings[2];                                     /* from the maker, to the maker */
    _Alignas(1024) tine_shm_returns returns[2]; /* of what the maker lends, of what it borrows */
} lane_control;

/* FRAMING.md has these numbers. */
_Static_assert(sizeof(lane_control) <= CONTROL, "the control page holds it");
_Static_assert(offsetof(lane_control, answer) == 16 && offsetof(lane_control, rings) == 128 &&
                   sizeof(tine_shm_ring) == 384 && offsetof(tine_shm_ring, asleep) == 256 &&
                   offsetof(lane_control, returns[0]) == 1024 &&
                   offsetof(lane_control, returns[1]) == 1544 &&
                   offsetof(tine_shm_returns, bits) == 8 && sizeof(tine_shm_returns) == 520,
               "the layout is part of the framing");

static lane_control *control_of(const tine_shm_lane *l) { return (void *)l->shared->bytes; }

/* ---- mapping ---- */

static bool map_at(uint8_t *at, size_t size, int fd, uint64_t offset) {
    return mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) !=
           MAP_FAILED;
}

/* The bytes of each ring lie twice in a row. A child that the program forks does not inherit the
 * mapping: it would keep the memory after this process. */
static int lane_map(tine_shm_lane *l, int fd, uint64_t capacity) {
    size_t n = (size_t)capacity, size = CONTROL + 4 * n;
    if (!(l->shared = malloc(sizeof *l->shared))) return -ENOMEM;
    uint8_t *at = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *l->shared = (tine_shm_memory){.bytes = at == MAP_FAILED ? NULL : at, .mapped = size};
    atomic_init(&l->shared->refs, 1);
    if (at == MAP_FAILED) return -errno;
    bool mapped = map_at(at, CONTROL, fd, 0);
    for (int i = 0; i < 4 && mapped; i++)
        mapped = map_at(at + CONTROL + (size_t)i * n, n, fd, CONTROL + (uint64_t)(i / 2) * n);
    if (!mapped) return -errno;
    (void)madvise(at, size, MADV_DONTFORK);
    tine_map_leave_undumped(at, size);
    return 0;
}

static void lane_set_rings(tine_shm_lane *l, uint64_t capacity, bool maker) {
    lane_control *c = control_of(l);
    uint8_t *at = l->shared->bytes + CONTROL, *bytes[2] = {at, at + 2 * capacity};
    int out = maker ? 0 : 1;
    l->lent = &c->returns[out];
    l->borrowed = &c->returns[!out];
    l->out = (tine_shm_writer){.ring = &c->rings[out], .bytes = bytes[out], .capacity = capacity};
    l->in = (tine_shm_reader){.ring = &c->rings[!out], .bytes = bytes[!out], .capacity = capacity};
}

void tine_shm_lane_offered_end(tine_shm_lane *l) {
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
}

void tine_shm_lane_fini(tine_shm_lane *l) {
    if (!l->shared) return;
    tine_shm_memory_unref(l->shared);
    tine_shm_lane_offered_end(l);
    *l = (tine_shm_lane){.fd = -1};
}

tine_shm_memory *tine_shm_memory_ref(tine_shm_memory *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void tine_shm_memory_unref(tine_shm_memory *m) {
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
    if (m->bytes) munmap(m->bytes, m->mapped);
    free(m);
}

/* ---- making ---- */

int tine_shm_lane_make(tine_shm_lane *l, uint64_t capacity, tine_shm_offer *offer,
                       const char **why) {
    *l = (tine_shm_lane){.fd = -1};
    *why = "no random numbers";
    if (getrandom(offer->token, sizeof offer->token, 0) != sizeof offer->token) return -EIO;
    int fd = tine_map_segment(NAME, CONTROL + 2 * capacity, why);
    if (fd < 0) return fd;
    int rc = lane_map(l, fd, capacity);
    l->fd = fd;
    if (rc) {
        *why = "the segment cannot be mapped";
        if (!l->shared) close(fd);
        tine_shm_lane_fini(l);
        return rc;
    }
    memcpy(control_of(l)->token, offer->token, sizeof offer->token);
    lane_set_rings(l, capacity, true);
    offer->pid = (uint32_t)getpid();
    offer->segment = (uint32_t)fd;
    offer->capacity = capacity;
    return 0;
}

bool tine_shm_lane_answered(const tine_shm_lane *l, const tine_shm_offer *offer) {
    lane_control *c = control_of(l);
    uint64_t right[TINE_SHM_TOKEN / sizeof(uint64_t)];
    memcpy(right, offer->token, sizeof right);
    return atomic_load(&c->answer[0]) == right[0] && atomic_load(&c->answer[1]) == right[1];
}

/* ---- opening ---- */

static bool capacity_is_valid(uint64_t capacity) {
    return capacity >= TINE_SHM_MIN_CAPACITY && capacity <= TINE_SHM_MAX_CAPACITY &&
           !(capacity & (capacity - 1));
}

static int segment_open(tine_shm_lane *l, const tine_shm_offer *offer, const char **why) {
    off_t size = CONTROL + 2 * (off_t)offer->capacity;
    int fd = tine_shm_proc_open(offer->pid, offer->segment, S_IFREG, size, true);
    *why = fd == -EACCES || fd == -EPERM
               ? "the peer is another user's process, or may not be inspected"
               : "the peer's /proc entry is not visible here";
    if (fd < 0) return fd;
    *why = "what the peer names is not a sealed segment";
    int rc = tine_shm_is_sealed(fd, size) ? lane_map(l, fd, offer->capacity) : -EINVAL;
    close(fd);
    if (!rc && memcmp(control_of(l)->token, offer->token, sizeof offer->token)) rc = -EINVAL;
    if (rc) tine_shm_lane_fini(l);
    return rc;
}

int tine_shm_lane_open(tine_shm_lane *l, const tine_shm_offer *offer, const char **why) {
    *l = (tine_shm_lane){.fd = -1};
    *why = "the offer's size is out of range";
    if (!capacity_is_valid(offer->capacity)) return -EINVAL;
    int rc = segment_open(l, offer, why);
    if (rc) return rc;
    uint64_t answer[TINE_SHM_TOKEN / sizeof(uint64_t)];
    memcpy(answer, offer->token, sizeof answer);
    for (size_t i = 0; i < sizeof answer / sizeof *answer; i++)
        atomic_store(&control_of(l)->answer[i], answer[i]);
    lane_set_rings(l, offer->capacity, false);
    return 0;
}

void tine_shm_lane_turn(tine_shm_lane *l) { lane_set_rings(l, l->out.capacity, true); }

/* ---- bells ---- */

int tine_shm_bell_make(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return -errno;
    int fd = tine_shm_bell_open((uint32_t)getpid(), (uint32_t)ends[0]);
    close(ends[0]);
    close(ends[1]);
    return fd;
}

int tine_shm_bell_open(uint32_t pid, uint32_t fd) {
    return tine_shm_proc_open(pid, fd, S_IFIFO, 0, true);
}

/* A full pipe has woken its reader already. */
void tine_shm_bell_ring(int fd) {
    ssize_t n = write(fd, "", 1);
    (void)n;
}

void tine_shm_bell_clear(int fd) {
    char bytes[256];
    while (read(fd, bytes, sizeof bytes) == sizeof bytes) {
    }
}

const char *tine_shm_obstacle(void) {
    tine_shm_lane made, opened = {0};
    tine_shm_offer offer = {0};
    const char *why = NULL;
    if (tine_shm_lane_make(&made, TINE_SHM_MIN_CAPACITY, &offer, &why) != 0) return why;
    bool usable = tine_shm_lane_open(&opened, &offer, &why) == 0;
    tine_shm_lane_fini(&opened);
    tine_shm_lane_fini(&made);
    if (!usable) return why;
    int bell = tine_shm_bell_make();
    if (bell < 0) return "no pipe can be made and opened through /proc";
    close(bell);
    return NULL;
}
