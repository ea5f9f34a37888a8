/* 6 results of 10 MB, two from each of the workers labelled h1, h2 and h3, are reduced at h2
 * (tests/check_hosts, which counts what goes over the network). */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/tine.h"

enum { HOSTS = 3, EACH = 2, N = HOSTS * EACH, BYTES = 10000000 };

TINE_FUNCTION(begin, "") {
    (void)task;
    return tine_int(1);
}

/* A byte in the FIFO says that all tasks are forked. */
TINE_FUNCTION(gate, "fifo") {
    char byte = 0;
    int fd = open(tine_arg_string(task, 0), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1) return tine_fail(task, "the gate does not open");
    close(fd);
    return tine_int(byte);
}

TINE_FUNCTION(make, "gate, byte") {
    int64_t n = BYTES;
    void *data;
    tine_value *v = tine_tensor_new(TINE_U8, 1, &n, &data);
    if (v) memset(data, (int)tine_arg_int(task, 1), BYTES);
    return v;
}

TINE_FUNCTION(reduce, "a, b, c, d, e, f") {
    int64_t sum = 0;
    for (size_t i = 0; i < N; i++) {
        const uint8_t *data = tine_data(tine_arg(task, i));
        for (int64_t k = 0; data && k < BYTES; k++) sum += data[k];
    }
    return tine_int(sum);
}

static const char *const hosts[HOSTS] = {"h1", "h2", "h3"};

#define AT(host, ...) tine_fork_with(TINE_FORK_OPTIONS(.label = hosts[host]), __VA_ARGS__)

int main(int argc, char **argv) {
    tine_future *ready, *gate, *made[N], *sum;
    tine_value *v = NULL;
    if (tine_init(&argc, argv, NULL)) return 1;
    for (int h = 0; h < HOSTS; h++) { /* each has said where it can be reached */
        ready = AT(h, "begin");
        if (tine_wait(ready, NULL)) return 1;
        tine_release(ready);
    }
    if (argc < 2 || mkfifo(argv[1], 0600)) return 1;
    gate = AT(0, "gate", argv[1]);
    for (int i = 0; i < N; i++) made[i] = AT(i % HOSTS, "make", gate, i + 1);
    sum = AT(1, "reduce", made[0], made[1], made[2], made[3], made[4], made[5]);
    int fd = open(argv[1], O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "x", 1) != 1) return 1;
    close(fd);
    unlink(argv[1]);
    if (tine_wait(sum, &v)) fprintf(stderr, "%s\n", tine_error_message());
    if (v) printf("sum %lld\n", (long long)tine_as_int(v));
    for (int i = 0; i < N; i++) tine_release(made[i]);
    tine_release(v);
    tine_release(sum);
    tine_release(gate);
    return tine_shutdown() != TINE_OK;
}
