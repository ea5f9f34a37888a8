/* The private directory of the endpoint. See private.h.
 *
 * A coordinator holds a lock on a file in its directory. The kernel releases the lock when the
 * process ends, in whatever way and in whatever process namespace, so the lock says whether a
 * directory is in use. The pid in the name cannot: it is for people only.
 *
 * The lock file also holds the proof that Tine made the directory: it names the directory's device
 * and inode. It is written when the lock is held, so a sweep never locks a directory that is under
 * construction. Nothing but the endpoint's socket and the lock file is removed. A directory without
 * the proof, or with anything else in it, belongs to somebody else and stays. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/spawn/private.h"
#include "runtime/value/error.h"

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

/* ---- the proof ---- */

typedef struct private_proof {
    char text[96];
} private_proof;

static bool private_proof_make(private_proof *proof, int dir) {
    struct stat st;
    if (fstat(dir, &st) != 0 || st.st_uid != geteuid()) return false;
    snprintf(proof->text, sizeof proof->text, "made by Tine: directory %llx on device %llx\n",
             (unsigned long long)st.st_ino, (unsigned long long)st.st_dev);
    return true;
}

/* The lock file of a directory that Tine made; -1: it is none. */
static int private_lock_open(int dir) {
    private_proof expected, found = {""};
    struct stat st;
    int lock = openat(dir, "lock", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (lock < 0) return -1;
    if (fstat(lock, &st) == 0 && S_ISREG(st.st_mode) && private_proof_make(&expected, dir) &&
        pread(lock, found.text, sizeof found.text - 1, 0) > 0 &&
        strcmp(found.text, expected.text) == 0)
        return lock;
    close(lock);
    return -1;
}

static int private_directory_open(int base, const char *name) {
    return openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Removes the directory if Tine made it; `dead`: and if nobody holds its lock. */
static void private_remove(int base, const char *name, bool dead) {
    struct stat st;
    int dir = private_directory_open(base, name);
    int lock = dir >= 0 ? private_lock_open(dir) : -1;
    if (lock >= 0 && (!dead || flock(lock, LOCK_EX | LOCK_NB) == 0)) {
        if (fstatat(dir, "socket", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
            unlinkat(dir, "socket", 0);
        unlinkat(dir, "lock", 0);
        unlinkat(base, name, AT_REMOVEDIR);
    }
    if (lock >= 0) close(lock);
    if (dir >= 0) close(dir);
}

/* ---- sweeping ---- */

static void private_sweep(const char *base) {
    char prefix[32];
    DIR *d = opendir(base);
    if (!d) return;
    snprintf(prefix, sizeof prefix, "tine-%u-", (unsigned)geteuid());
    for (struct dirent *e; (e = readdir(d));)
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
            private_remove(dirfd(d), e->d_name, true);
    closedir(d);
}

/* ---- listing ---- */

static bool private_is_in_use(int base, const char *name) {
    int dir = private_directory_open(base, name);
    int lock = dir >= 0 ? private_lock_open(dir) : -1;
    bool used = lock >= 0 && flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (lock >= 0) close(lock);
    if (dir >= 0) close(dir);
    return used;
}

static void private_each_in(const char *base, void (*fn)(void *ctx, int pid, const char *url),
                            void *ctx) {
    DIR *d = base ? opendir(base) : NULL;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        unsigned user;
        int pid;
        char url[108];
        if (sscanf(e->d_name, "tine-%u-%d-", &user, &pid) != 2 || user != (unsigned)geteuid() ||
            snprintf(url, sizeof url, "ipc://%s/%s/socket", base, e->d_name) >= (int)sizeof url)
            continue;
        if (private_is_in_use(dirfd(d), e->d_name)) fn(ctx, pid, url);
    }
    closedir(d);
}

/* The program may have had other variables than this process. */
void tine_private_each(void (*fn)(void *ctx, int pid, const char *url), void *ctx) {
    const char *places[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t before = 0;
        while (before < i && (!places[i] || !places[before] || strcmp(places[i], places[before])))
            before++;
        if (before == i) private_each_in(places[i], fn, ctx);
    }
}

/* ---- making ---- */

/* Creates the lock file, locks it and writes the proof. -1 with errno. */
static int private_lock_make(int dir) {
    private_proof proof;
    int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    /* Not 0, which means none, and not a standard stream that the program has closed. */
    int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    if (up >= 0 && flock(up, LOCK_EX | LOCK_NB) == 0 && private_proof_make(&proof, dir)) {
        ssize_t n = (ssize_t)strlen(proof.text), written = write(up, proof.text, (size_t)n);
        if (written == n) return up;
        if (written >= 0) errno = ENOSPC;
    }
    int saved = errno;
    if (up >= 0) close(up);
    unlinkat(dir, "lock", 0);
    errno = saved;
    return -1;
}

static int private_lock(const char *name) {
    int dir = private_directory_open(AT_FDCWD, name);
    int lock = dir >= 0 ? private_lock_make(dir) : -1;
    int saved = errno;
    if (dir >= 0) close(dir);
    errno = saved;
    return lock;
}

tine_error tine_private_open(tine_private *p) {
    const char *base = base_directory();
    tine_private made = {0};
    private_sweep(base);
    snprintf(made.dir, sizeof made.dir, "%s/tine-%u-%d-XXXXXX", base, (unsigned)geteuid(),
             (int)getpid());
    if (mkdtemp(made.dir)) {
        made.lock = private_lock(made.dir);
        if (made.lock > 0) {
            snprintf(made.url, sizeof made.url, "ipc://%s/socket", made.dir);
            *p = made;
            return TINE_OK;
        }
        int saved = errno;
        rmdir(made.dir);
        errno = saved;
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
    private_remove(AT_FDCWD, p->dir, false);
    close(p->lock);
    *p = (tine_private){0};
}

void tine_private_remove_of(const char *endpoint) {
    char dir[sizeof(((tine_private *)0)->dir)];
    size_t scheme = strlen("ipc://"), file = strlen("/socket"), n = strlen(endpoint);
    if (n < scheme + file || strncmp(endpoint, "ipc:///", scheme + 1) != 0) return;
    if (strcmp(endpoint + n - file, "/socket") != 0 || n - scheme - file >= sizeof dir) return;
    memcpy(dir, endpoint + scheme, n - scheme - file);
    dir[n - scheme - file] = 0;
    private_remove(AT_FDCWD, dir, false);
}
