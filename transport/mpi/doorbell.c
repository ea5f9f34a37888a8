/* How an idle rank sleeps. MPI can only be polled, and a rank that polls takes a core from one that
 * computes. So a rank polls for a while, then sleeps on a word in a page that its peers on the same
 * host have mapped; a peer that sends to a sleeping rank changes the word and wakes it through the
 * kernel. The page is a memfd that peers open through /proc: it has no name in the file system, and
 * nothing is left behind when a rank is killed. For a peer whose page cannot be opened (another
 * host, another container) the rank polls between short sleeps. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "transport/base/hash.h"
#include "transport/mpi/internal.h"

enum { PAGE = 4096 };
#define MAGIC 0x54494e4542454c4cu /* "TINEBELL" */

/* Ranks with equal ids see each other's /proc and share a clock. The network namespace counts
 * because Open MPI treats two of them as two hosts. */
static uint64_t host_id(void) {
    uint64_t h = TINE_HASH_START;
    char text[256];
    if (gethostname(text, sizeof text) == 0) h = tine_hash(h, text, strnlen(text, sizeof text));
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (n > 0) h = tine_hash(h, text, (size_t)n);
    if (fd >= 0) close(fd);
    static const char *const spaces[] = {"/proc/self/ns/pid", "/proc/self/ns/net"};
    for (int i = 0; i < 2; i++)
        if ((n = readlink(spaces[i], text, sizeof text)) > 0) h = tine_hash(h, text, (size_t)n);
    return h;
}

int tine_mpi_doorbell_open(tine_mpi_identity *identity, tine_mpi_doorbell **out) {
    int fd = memfd_create("tine-doorbell", MFD_CLOEXEC);
    if (fd < 0) return -errno;
    void *page = ftruncate(fd, PAGE) ? MAP_FAILED
                                     : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        int err = -errno;
        close(fd);
        return err;
    }
    tine_mpi_doorbell *b = page;
    if (getrandom(&b->token, sizeof b->token, 0) != sizeof b->token)
        b->token = (uint64_t)tine_clock_ns();
    memset(identity, 0, sizeof *identity);
    *identity = (tine_mpi_identity){
        .magic = MAGIC, .host = host_id(), .token = b->token, .pid = getpid(), .fd = fd};
    sched_getaffinity(0, sizeof identity->cores, &identity->cores);
    *out = b;
    return 0;
}

tine_mpi_doorbell *tine_mpi_doorbell_of(const tine_mpi_identity *mine,
                                        const tine_mpi_identity *peer) {
    if (peer->magic != MAGIC || peer->host != mine->host) return NULL;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", peer->pid, peer->fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return NULL;
    off_t size = lseek(fd, 0, SEEK_END);
    void *page =
        size != PAGE ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) return NULL;
    tine_mpi_doorbell *b = page;
    if (b->token == peer->token) return b;
    munmap(page, PAGE);
    return NULL;
}

void tine_mpi_doorbell_close(tine_mpi_doorbell *b, int fd) {
    if (b) munmap(b, PAGE);
    if (fd >= 0) close(fd);
}

/* Ringing and going to sleep both exchange `asleep`, so one comes after the other: either this sees
 * that the peer sleeps, or the peer, which polls after its exchange, sees everything sent
 * before. */
bool tine_mpi_doorbell_ring(tine_mpi_doorbell *b) {
    if (!atomic_exchange(&b->asleep, 0)) return false;
    int saved = errno;
    atomic_fetch_add(&b->word, 1);
    syscall(SYS_futex, &b->word, FUTEX_WAKE, 1, NULL, NULL, 0);
    errno = saved;
    return true;
}

void tine_mpi_doorbell_sleep(tine_mpi_doorbell *b, uint32_t word, int64_t ns) {
    struct timespec ts = tine_timespec(ns);
    syscall(SYS_futex, &b->word, FUTEX_WAIT, word, &ts, NULL, 0);
}

static bool cpus_within(const cpu_set_t *a, const cpu_set_t *b) {
    cpu_set_t both;
    CPU_AND(&both, a, b);
    return CPU_EQUAL(&both, a);
}

bool tine_mpi_oversubscribed(const tine_mpi_identity *ranks, size_t n) {
    cpu_set_t all;
    CPU_ZERO(&all);
    for (size_t i = 0; i < n; i++) CPU_OR(&all, &all, &ranks[i].cores);
    if ((size_t)CPU_COUNT(&all) < n) return true;
    for (size_t i = 0; i < n; i++) {
        size_t inside = 0;
        for (size_t k = 0; k < n; k++) inside += cpus_within(&ranks[k].cores, &ranks[i].cores);
        if (inside > (size_t)CPU_COUNT(&ranks[i].cores)) return true;
    }
    return false;
}
