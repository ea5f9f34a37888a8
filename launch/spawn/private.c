/* The private directory of the endpoint. See private.h.
 *
 * A coordinator holds a lock on a file in its directory. The kernel releases the lock when the
 * process ends, in whatever way and in whatever process namespace, so the lock says whether a
 * directory is in use. The pid in the name cannot: it is for people only. Only the user who owns a
 * directory sweeps it. */
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

#include "launch/spawn/private.h"
#include "runtime/value/error.h"

/* A directory without a lock file may be under construction. Past this age its coordinator died in
 * between. */
enum { CONSTRUCTION_SECONDS = 60 };

/* Whether a private directory may be created in `path`; `private`: nobody else may have access. */
static bool base_usable(const char *path, bool private) {
    struct stat st;
    if (!path || path[0] != '/' || strlen(path) > sizeof(((tine_private *)0)->dir) - 32)
        return false;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return false;
    return !private || (st.st_uid == geteuid() && (st.st_mode & 077) == 0);
}

static const char *base_directory(void) {
    const char *path = getenv("XDG_RUNTIME_DIR");
    if (base_usable(path, true)) return path;
    path = getenv("TMPDIR");
    return base_usable(path, false) ? path : "/tmp";
}

static bool private_is_ours(int base, const char *name, struct stat *st) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "tine-%u-", (unsigned)geteuid());
    if (strncmp(name, prefix, strlen(prefix)) != 0) return false;
    return fstatat(base, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st->st_mode) &&
           st->st_uid == geteuid();
}

/* The directory holds files only; links are removed, never followed. */
static void private_remove(int base, const char *name) {
    int fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0) close(fd);
    for (struct dirent *e; d && (e = readdir(d));) unlinkat(fd, e->d_name, 0);
    if (d) closedir(d);
    unlinkat(base, name, AT_REMOVEDIR);
}

static void private_sweep_one(int base, const char *name) {
    struct stat st;
    char path[300];
    if (!private_is_ours(base, name, &st)) return;
    snprintf(path, sizeof path, "%s/lock", name);
    int lock = openat(base, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    bool dead = lock >= 0 ? flock(lock, LOCK_EX | LOCK_NB) == 0
                          : errno == ENOENT && time(NULL) - st.st_mtime > CONSTRUCTION_SECONDS;
    if (dead) private_remove(base, name);
    if (lock >= 0) close(lock);
}

static void private_sweep(const char *base) {
    DIR *d = opendir(base);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) private_sweep_one(dirfd(d), e->d_name);
    closedir(d);
}

/* Creates and locks the lock file. -1 with errno; EAGAIN, ENOENT: another process's sweep locked
 * the new file first and removes the directory, so a new directory is needed. */
static int private_lock(const char *dir) {
    char path[96];
    struct stat st;
    snprintf(path, sizeof path, "%s/lock", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    /* Not 0, which means none, and not a standard stream that the program has closed. */
    int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
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
    private_sweep(base);
    for (int attempt = 0; attempt < 16; attempt++) {
        snprintf(made.dir, sizeof made.dir, "%s/tine-%u-%d-XXXXXX", base, (unsigned)geteuid(),
                 (int)getpid());
        if (!mkdtemp(made.dir)) break;
        made.lock = private_lock(made.dir);
        if (made.lock > 0) {
            snprintf(made.url, sizeof made.url, "ipc://%s/socket", made.dir);
            *p = made;
            return TINE_OK;
        }
        bool swept = errno == EAGAIN || errno == ENOENT;
        int saved = errno;
        private_remove(AT_FDCWD, made.dir);
        errno = saved;
        if (!swept) break;
    }
    return tine_error_set(TINE_EIO, "cannot create a private directory for the endpoint in %s: %s",
                          base, strerror(errno));
}

static bool private_lock_is_there(const tine_private *p) {
    char path[96];
    struct stat held, there;
    snprintf(path, sizeof path, "%s/lock", p->dir);
    return fstat(p->lock, &held) == 0 && lstat(path, &there) == 0 && held.st_dev == there.st_dev &&
           held.st_ino == there.st_ino;
}

int tine_private_restore(tine_private *p) {
    struct stat st;
    if (mkdir(p->dir, 0700) != 0 && errno != EEXIST) return -1;
    if (lstat(p->dir, &st) != 0) return -1;
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        errno = EPERM;
        return -1;
    }
    if (private_lock_is_there(p)) return 0;
    int lock = private_lock(p->dir);
    if (lock < 0) return -1;
    close(p->lock);
    p->lock = lock;
    return 0;
}

void tine_private_close(tine_private *p) {
    if (p->lock <= 0) return;
    private_remove(AT_FDCWD, p->dir);
    close(p->lock);
    *p = (tine_private){0};
}

void tine_private_remove_of(const char *endpoint) {
    char dir[sizeof(((tine_private *)0)->dir)];
    struct stat st;
    const char *path = strstr(endpoint, "://");
    path = path && path[3] == '/' ? path + 3 : "";
    const char *end = strrchr(path, '/');
    if (!end || end == path || (size_t)(end - path) >= sizeof dir) return;
    memcpy(dir, path, (size_t)(end - path));
    dir[end - path] = 0;
    char *name = strrchr(dir, '/');
    if (!name || name == dir) return;
    *name++ = 0;
    int base = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (base < 0) return;
    if (private_is_ours(base, name, &st)) private_remove(base, name);
    close(base);
}
