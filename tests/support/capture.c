/* See capture.h. */
#include "tests/support/capture.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *capture_standard_error(void (*fn)(void)) {
    char path[] = "/tmp/tine-test-log-XXXXXX";
    int fd = mkstemp(path), before = dup(STDERR_FILENO);
    cr_assert(fd >= 0 && before >= 0);
    unlink(path);
    dup2(fd, STDERR_FILENO);
    fn();
    dup2(before, STDERR_FILENO);
    close(before);
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);
    cr_assert_eq(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    return text;
}

size_t capture_count(const char *text, const char *part) {
    size_t n = 0;
    for (; (text = strstr(text, part)); text++) n++;
    return n;
}

int capture_pipe(void) {
    int p[2];
    cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
    cr_assert_eq(dup2(p[1], STDERR_FILENO), STDERR_FILENO);
    close(p[1]);
    return p[0];
}
