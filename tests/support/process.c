#include "tests/support/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

int process_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

bool process_ends(int pidfd, int ms) {
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}
