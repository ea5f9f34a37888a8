/* See map.h. */
#include "transport/base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_opened(int fd, void **out, size_t *size, char *why, size_t why_size) {
    struct stat st;
    int rc = fd < 0 || fstat(fd, &st) != 0 ? -errno : 0;
    if (rc) {
        snprintf(why, why_size, "cannot be opened: %s", strerror(-rc));
        return rc;
    }
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, why_size, "it is not a regular file");
        return -EINVAL;
    }
    if (st.st_size == 0) return 0;
    void *mapping = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
        rc = -errno;
        snprintf(why, why_size, "cannot be mapped: %s", strerror(-rc));
        return rc;
    }
    *out = mapping;
    *size = (size_t)st.st_size;
    return 0;
}

int tine_map_file(const char *path, void **out, size_t *size, char *why, size_t why_size) {
    *out = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = map_opened(fd, out, size, why, why_size);
    if (fd >= 0) close(fd);
    return rc;
}

int tine_map_segment(const char *name, uint64_t size, const char **why) {
    struct rlimit most;
    *why = "its size is more than a file may have (ulimit -f)";
    /* otherwise ftruncate would raise SIGXFSZ */
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur < size) return -EFBIG;
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    *why = "no memfd can be made";
    if (fd < 0) return -errno;
    *why = "a memfd cannot be sized and sealed";
    if (ftruncate(fd, (off_t)size) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

void tine_map_leave_undumped(void *at, size_t size) { (void)madvise(at, size, MADV_DONTDUMP); }
