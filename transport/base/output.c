/* See output.h.
 *
 * A path that names nothing, or a regular file of this user with no other name, gets the whole
 * output or stays as it was: the output goes to a new file beside it, which is renamed at the end.
 * Everything else is written in place, because a rename would replace it: a device, a pipe, a
 * symbolic link, a file with several names or of another user, a file in a directory that takes no
 * new one. */
#include "transport/base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "transport/base/text.h"

static bool output_replaceable(const struct stat *st) {
    return S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_uid == geteuid();
}

/* Makes the new file beside `path`, exclusively and under a random name: -1 with errno. */
static int output_create(tine_output *f, const char *path) {
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) return -1;
    f->temporary = tine_text_format("%s.%016llx.part", path, (unsigned long long)random);
    if (!f->temporary) return -1;
    int fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        int saved = errno;
        free(f->temporary);
        f->temporary = NULL;
        errno = saved;
    }
    return fd;
}

/* `fd` is a regular file, opened again through a name like /dev/stdout: continue behind what the
 * program has written there. */
static int output_standard(const struct stat *st) {
    struct stat stream;
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &stream) || stream.st_dev != st->st_dev || stream.st_ino != st->st_ino)
            continue;
        fflush(fd == STDOUT_FILENO ? stdout : stderr);
        return fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    return -1;
}

/* Opens what stands at `path`. O_NONBLOCK: a pipe without a reader is an error (ENXIO), where an
 * open would wait for one. */
static int output_in_place(const char *path) {
    struct stat st;
    int fd = open(path, O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0) return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        int standard = output_standard(&st);
        if (standard >= 0) {
            close(fd);
            return standard;
        }
        if (ftruncate(fd, 0)) goto fail;
    }
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0) return fd;
fail:;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int output_descriptor(tine_output *f, const char *path) {
    struct stat st;
    bool there = lstat(path, &st) == 0;
    if (there && !output_replaceable(&st)) return output_in_place(path);
    int fd = output_create(f, path);
    if (fd < 0 && there) return output_in_place(path);
    if (fd >= 0 && there) fchmod(fd, st.st_mode & 07777);
    return fd;
}

/* ---- the reader of a pipe that ends must not end this program ---- */

static bool broken_pipe_pending(void) {
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

static void broken_pipe_block(tine_output *f) {
    sigset_t broken;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    f->was_pending = broken_pipe_pending();
    pthread_sigmask(SIG_BLOCK, &broken, &f->before);
}

static void broken_pipe_unblock(tine_output *f) {
    static const struct timespec now = {0};
    sigset_t broken;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    if (!f->was_pending && broken_pipe_pending()) sigtimedwait(&broken, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &f->before, NULL);
}

bool tine_output_open(tine_output *f, const char *path) {
    *f = (tine_output){0};
    int fd = output_descriptor(f, path);
    f->stream = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f->stream) {
        broken_pipe_block(f);
        errno = 0;
        return true;
    }
    int saved = errno;
    if (fd >= 0) close(fd);
    if (f->temporary) unlink(f->temporary);
    free(f->temporary);
    errno = saved;
    return false;
}

bool tine_output_close(tine_output *f, const char *path) {
    int saved = ferror(f->stream) && errno ? errno : EIO; /* of the write that failed first */
    bool good = !ferror(f->stream);
    if (good && fflush(f->stream)) {
        saved = errno;
        good = false;
    }
    good = fclose(f->stream) == 0 && good;
    if (good && f->temporary && rename(f->temporary, path)) {
        good = false;
        saved = errno;
    }
    broken_pipe_unblock(f);
    if (!good && f->temporary) unlink(f->temporary);
    free(f->temporary);
    errno = saved;
    return good;
}
