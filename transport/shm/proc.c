/* See proc.h. */
#include "transport/shm/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

void tine_shm_proc_path(char path[TINE_SHM_PROC_PATH], uint32_t pid, uint32_t fd) {
    snprintf(path, TINE_SHM_PROC_PATH, "/proc/%u/fd/%u", pid, fd);
}

/* Checks before it opens: opening a device may have effects, opening a pipe may block. */
int tine_shm_proc_open(uint32_t pid, uint32_t fd, mode_t type, off_t size, bool writes) {
    char path[TINE_SHM_PROC_PATH];
    struct stat st;
    tine_shm_proc_path(path, pid, fd);
    if (stat(path, &st) != 0) return -errno;
    if ((st.st_mode & S_IFMT) != type || (size && st.st_size != size)) return -ENOENT;
    int opened = open(path, (writes ? O_RDWR : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
    return opened < 0 ? -errno : opened;
}

bool tine_shm_is_sealed(int fd, off_t size) {
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) && (seals & F_SEAL_GROW) && fstat(fd, &st) == 0 &&
           st.st_size == size;
}
