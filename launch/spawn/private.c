/* The private directory of the endpoint. See spawn.h.
 *
 * Whether the holder of such a directory lives is asked of the kernel: it holds a lock on a file
 * inside, which ends with it, whichever way it ends and whichever process namespace it was in (a
 * pid in the name would mean nothing there; it is for people). A directory is swept only by the
 * user who owns it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launch/spawn/spawn.h"
#include "launch/spawn/internal.h"
#include "runtime/value/state.h"

/* One that has no lock file yet may be in the making; past this age its maker died at that
 * moment. */
enum { IN_THE_MAKING_SECONDS = 60 };

static bool is_base(const char *path, bool private) {
    struct stat st;
    if (!path || path[0] != '/' || strlen(path) > sizeof(((tine_private *)0)->dir) - 32)
        return false;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return false;
    return !private || (st.st_uid == geteuid() && (st.st_mode & 077) == 0);
}

static const char *base_directory(void) {
    const char *path = getenv("XDG_RUNTIME_DIR");
    if (is_base(path, true)) return path;
    path = getenv("TMPDIR");
    return is_base(path, false) ? path : "/tmp";
}

static bool is_ours(int base, const char *name, struct stat *st) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "tine-%u-", (unsigned)geteuid());
    if (strncmp(name, prefix, strlen(prefix)) != 0) return false;
    return fstatat(base, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st->st_mode) &&
           st->st_uid == geteuid();
}

/* The directory holds files only; links are removed, never followed. */
static void remove_directory(int base, const char *name) {
    int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0) close(fd);
    for (struct dirent *e; d && (e = readdir(d));) unlinkat(fd, e->d_name, 0);
    if (d) closedir(d);
    unlinkat(base, name, AT_REMOVEDIR);
}

static void sweep_one(int base, const char *name) {
    struct stat st;
    char path[300];
    if (!is_ours(base, name, &st)) return;
    snprintf(path, sizeof path, "%s/lock", name);
    int lock = openat(base, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    bool dead = lock >= 0 ? flock(lock, LOCK_EX | LOCK_NB) == 0
                          : errno == ENOENT && time(NULL) - st.st_mtime > IN_THE_MAKING_SECONDS;
    if (dead) remove_directory(base, name);
    if (lock >= 0) close(lock);
}

static void sweep(const char *base) {
    DIR *d = opendir(base);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) sweep_one(dirfd(d), e->d_name);
    closedir(d);
}

/* A sweeper may lock the new file before its maker does, and remove all of it: then the maker
 * starts again. */
static int lock_new(const char *dir) {
    char path[96];
    struct stat st;
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    int up = fcntl(fd, F_DUPFD_CLOEXEC,
                   3); /* not 0, which means none, nor a standard stream that was closed */
    close(fd);
    if (up < 0) return -1;
    if (flock(up, LOCK_EX | LOCK_NB) == 0 && fstat(up, &st) == 0 && st.st_nlink > 0) return up;
    close(up);
    errno = EAGAIN;
    return -1;
}

tine_error tine_private_open(tine_private *p) {
    const char *base = base_directory();
    tine_private made = {0};
    sweep(base);
    for (int attempt = 0; attempt < 16; attempt++) {
        snprintf(made.dir, sizeof made.dir, "%s/tine-%u-%d-XXXXXX", base, (unsigned)geteuid(),
                 (int)getpid());
        if (!mkdtemp(made.dir)) break;
        made.lock = lock_new(made.dir);
        if (made.lock > 0) {
            snprintf(made.url, sizeof made.url, "ipc://%s/hub", made.dir);
            *p = made;
            return TINE_OK;
        }
        bool swept = errno == EAGAIN || errno == ENOENT;
        int saved = errno;
        remove_directory(AT_FDCWD, made.dir);
        errno = saved;
        if (!swept) break;
    }
    return tine_error_set(TINE_EIO, "cannot make a private directory for the endpoint in %s: %s",
                          base, strerror(errno));
}

void tine_private_close(tine_private *p) {
    if (p->lock <= 0) return;
    remove_directory(AT_FDCWD, p->dir);
    close(p->lock);
    *p = (tine_private){0};
}

void tine_private_remove_of(const char *endpoint) {
    char dir[sizeof(((tine_private *)0)->dir)];
    struct stat st;
    const char *path = strncmp(endpoint, "ipc://", 6) == 0 ? endpoint + 6 : "";
    const char *end = strrchr(path, '/');
    if (!end || end == path || (size_t)(end - path) >= sizeof dir) return;
    memcpy(dir, path, (size_t)(end - path));
    dir[end - path] = 0;
    char *name = strrchr(dir, '/');
    if (!name || name == dir) return;
    *name++ = 0;
    int base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) return;
    if (is_ours(base, name, &st)) remove_directory(base, name);
    close(base);
}
