/* The socket file of an ipc:// endpoint. What is removed is a file that this transport made, the
 * one whose device and inode it noted after binding; and before binding one of a process that was
 * killed. Such a file has the mark of Tine: its sticky bit, which means nothing for a socket, and
 * which no other program sets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/zmq/internal.h"

const char *tine_zmq_path(const tine_zmq *t) {
    return t->tcp || t->url[6] == '@' || strcmp(t->url + 6, "*") == 0 ? NULL : t->url + 6;
}

int tine_zmq_path_make(tine_zmq *t) {
    if (t->tcp || strcmp(t->url + 6, "*") != 0) return 0;
    const char *at = getenv("TMPDIR");
    char dir[64];
    if (!at || at[0] != '/' || strlen(at) > 40) at = "/tmp";
    snprintf(dir, sizeof dir, "%s/tine-ipc-XXXXXX", at);
    if (!mkdtemp(dir)) return -1;
    snprintf(t->url, sizeof t->url, "ipc://%s/socket", dir);
    t->bound_alone = true;
    return 0;
}

/* The kernel makes the file with the mode of the socket that is bound, less the umask. */
int tine_zmq_path_mark(int fd) { return fchmod(fd, S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO); }

static bool path_is_ours(const struct stat *st) {
    return st->st_mode & S_ISVTX && st->st_uid == geteuid();
}

/* A socket may be made where there is nothing, or one that Tine has made and no process listens at;
 * the latter is removed. */
bool tine_zmq_path_in_use(const tine_zmq *t) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    const char *path = tine_zmq_path(t);
    if (!path || lstat(path, &st) != 0) return false;
    errno = EEXIST;
    if (!S_ISSOCK(st.st_mode)) return true;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool nobody = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0 &&
                  (errno == ECONNREFUSED || errno == ENOENT);
    if (fd >= 0) close(fd);
    errno = nobody ? EPERM : EADDRINUSE;
    return !nobody || !path_is_ours(&st) || (unlink(path) != 0 && errno != ENOENT);
}

void tine_zmq_path_remember(tine_zmq *t) {
    struct stat st;
    const char *path = tine_zmq_path(t);
    t->bound = path && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
    if (!t->bound) return;
    t->bound_device = st.st_dev;
    t->bound_inode = st.st_ino;
}

void tine_zmq_path_remove(tine_zmq *t) {
    struct stat st;
    const char *path = tine_zmq_path(t);
    if (!t->bound || lstat(path, &st) != 0) return;
    if (st.st_dev == t->bound_device && st.st_ino == t->bound_inode) unlink(path);
    if (t->bound_alone) {
        char *end = strrchr(t->url, '/');
        *end = 0;
        rmdir(path);
        *end = '/';
    }
    t->bound = false;
}
