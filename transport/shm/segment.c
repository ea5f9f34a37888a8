/* See segment.h. */
#include "transport/shm/segment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/base/map.h"
#include "transport/shm/proc.h"

/* More than the machine's memory is of no use, and a few peers could fill the address space with
 * it. */
static bool size_is_valid(uint64_t size) {
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return size >= 2 * TINE_ARENA_PAGE && size <= memory && size % TINE_ARENA_PAGE == 0;
}

/* A file is locked once it is known to be the arena that was told. */
static int segment_map(tine_shm_segment *s, int fd, const tine_arena_place *place, bool watch) {
    struct stat st;
    if (!tine_shm_is_sealed(fd, (off_t)place->size) || fstat(fd, &st) != 0) return -EINVAL;
    if (!tine_arena_may_map(place->size)) return -ENOMEM;
    void *at = mmap(NULL, (size_t)place->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (at == MAP_FAILED) return -errno;
    *s = (tine_shm_segment){.bytes = at,
                            .size = (size_t)place->size,
                            .place = *place,
                            .device = st.st_dev,
                            .inode = st.st_ino};
    atomic_init(&s->refs, 1);
    (void)madvise(at, s->size, MADV_HUGEPAGE);
    tine_map_leave_undumped(at, s->size);
    const uint8_t *token = s->bytes + s->size - TINE_ARENA_PAGE;
    int rc = memcmp(token, place->token, sizeof place->token) ? -EINVAL : 0;
    if (!rc && watch) rc = tine_arena_watch(fd);
    if (rc) munmap(at, s->size);
    return rc;
}

int tine_shm_segment_open(tine_shm_segment **out, const tine_arena_place *place, bool watch,
                          const char **why) {
    *out = NULL;
    *why = "the size of its tensors' memory is out of range";
    if (!size_is_valid(place->size)) return -EINVAL;
    int fd = tine_shm_proc_open(place->pid, place->fd, S_IFREG, (off_t)place->size, false);
    *why = "its tensors' memory cannot be opened";
    if (fd < 0) return fd;
    tine_shm_segment *s = malloc(sizeof *s);
    int rc = s ? segment_map(s, fd, place, watch) : -ENOMEM;
    *why = rc == -ENOMEM ? "no address space for its tensors (ulimit -v)"
                         : "its tensors' memory cannot be mapped";
    close(fd);
    if (rc) {
        free(s);
        return rc;
    }
    *out = s;
    return 0;
}

tine_shm_segment *tine_shm_segment_ref(tine_shm_segment *s) {
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void tine_shm_segment_unref(tine_shm_segment *s) {
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    munmap((void *)(uintptr_t)s->bytes, s->size);
    free(s);
}

/* A dead process has no descriptors, and one that reuses its pid has others. Where the process must
 * not be inspected any more (it has changed its user, say) it counts as alive. */
bool tine_shm_segment_lives(const tine_shm_segment *s) {
    char path[TINE_SHM_PROC_PATH];
    struct stat st;
    tine_shm_proc_path(path, s->place.pid, s->place.fd);
    if (stat(path, &st) != 0) return errno != ENOENT && errno != ESRCH;
    return st.st_dev == s->device && st.st_ino == s->inode;
}
