/* The listening socket, and which connections it accepts. It is this transport's own: libzmq is
 * given its number (ZMQ_USE_FD), but watches an eventfd, the gate, in its place. When a connection
 * is pending, the event loop opens the gate, libzmq accepts, and the gate is closed again. So
 * connections are accepted only while there are descriptors for them: libzmq 4.3 aborts when accept
 * fails for want of one over ipc, and does not stop trying over tcp.
 *
 * How: the number N is a copy of the eventfd when libzmq binds, so its poller watches that file.
 * Once it does, N becomes the listening socket (dup2), which its accept then finds there. Before
 * libzmq closes N it is the eventfd again.
 *
 * As long as the gate is open libzmq accepts one peer after the other. So it is opened only if
 * there are descriptors for all that may wait, which is what `listen` was told, for one call more,
 * and for as many again: they come meanwhile where this thread loses its core. Otherwise they are
 * refused: accepted here, with a descriptor of the reserve, and closed. Connectors try again, so
 * everything recovers when descriptors are free. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/base/log.h"
#include "transport/zmq/internal.h"

/* Peers that wait: a sixteenth of the descriptors, within these bounds. */
enum { BACKLOG_LEAST = 6, BACKLOG_MOST = 128 };

static const int64_t PASS_NS = 2000000;    /* for which the gate is open at most */
static const int64_t LOOK_NS = 1000000;    /* between two looks for a knock without a wait */
static const int64_t SCARCE_NS = 50000000; /* the same, while descriptors are scarce */
/* After a pass libzmq's thread may be about to call accept once more. One descriptor is left free
 * for it for this long. */
static const int64_t SETTLE_NS = 100000000;

/* ---- opening ---- */

static socklen_t path_address(const char *path, struct sockaddr_un *a) {
    size_t n = strlen(path), begin = offsetof(struct sockaddr_un, sun_path);
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(a->sun_path, path, n);
    if (path[0] == '@') a->sun_path[0] = 0;
    return (socklen_t)(begin + n + (path[0] != '@'));
}

static int backlog_of_limit(void) {
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t part = limit.rlim_cur / 16;
    return part < BACKLOG_LEAST ? BACKLOG_LEAST : part > BACKLOG_MOST ? BACKLOG_MOST : (int)part;
}

/* A port of a listener that has just ended is free. */
static int door_bind(tine_zmq *t) {
    int yes = 1, no = 0, type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(t->local.ss_family, type, 0);
    if (fd < 0) return -1;
    bool tcp = t->local.ss_family != AF_UNIX;
    if (t->local.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if ((tcp ? setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes)
             : tine_zmq_path_mark(fd)) == 0 &&
        bind(fd, (const struct sockaddr *)&t->local, t->local_size) == 0 &&
        listen(fd, t->backlog = backlog_of_limit()) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

/* The URL with the address and port that were bound. */
static void url_complete(tine_zmq *t, int fd) {
    char host[64], port[16];
    t->local_size = sizeof t->local;
    struct sockaddr *a = (struct sockaddr *)&t->local;
    if (getsockname(fd, a, &t->local_size) != 0 || !t->tcp) return;
    if (getnameinfo(a, t->local_size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(t->url, sizeof t->url, a->sa_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s",
             host, port);
}

/* Waits until libzmq's thread has carried out the earlier commands. It works in order, so it has
 * done so once it has closed a second listener. Other events of the monitor are lost. */
static int thread_sync(tine_zmq *t) {
    static atomic_uint made;
    char url[64];
    int event = 0;
    uint32_t value;
    snprintf(url, sizeof url, "ipc://@tine-%d-%u-%llx", (int)getpid(), atomic_fetch_add(&made, 1),
             (unsigned long long)tine_clock_ns());
    if (zmq_bind(t->socket, url) || zmq_unbind(t->socket, url)) return -1;
    struct pollfd p = {.fd = t->monitor_fd, .events = POLLIN};
    for (int64_t until = tine_clock_ns() + INT64_C(5000000000); event != ZMQ_EVENT_CLOSED;) {
        if (tine_clock_ns() > until) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (!tine_zmq_monitor_next(t, &event, &value)) poll(&p, 1, 1);
    }
    return 0;
}

/* A listener from now on accepts processes of this user and of root only: the kernel reports the
 * user of each connection. An abstract socket has no permissions of its own. */
static int admit_own_user(tine_zmq *t) {
    uid_t self = geteuid(), root = 0;
    return zmq_setsockopt(t->socket, ZMQ_IPC_FILTER_UID, &self, sizeof self) ||
                   zmq_setsockopt(t->socket, ZMQ_IPC_FILTER_UID, &root, sizeof root)
               ? -1
               : 0;
}

/* Gives libzmq the number, and waits until its thread watches what is there. */
static int gate_install(tine_zmq *t) {
    int none = -1;
    bool abstract = !t->tcp && t->url[6] == '@';
    if ((abstract && admit_own_user(t)) ||
        zmq_setsockopt(t->socket, ZMQ_USE_FD, &t->door_fd, sizeof t->door_fd) ||
        zmq_bind(t->socket, t->tcp ? "tcp://127.0.0.1:0" : "ipc://gate"))
        return -1;
    t->door_is_zmqs = true;
    if (zmq_setsockopt(t->socket, ZMQ_USE_FD, &none, sizeof none)) return -1;
    return (!abstract && admit_own_user(t)) || thread_sync(t) ? -1 : 0;
}

int tine_zmq_listen(tine_zmq *t) {
    if (!t->tcp) t->local_size = path_address(t->url + 6, (struct sockaddr_un *)&t->local);
    int fd = door_bind(t);
    if (fd < 0) return -1;
    tine_zmq_path_remember(t);
    url_complete(t, fd);
    t->gate_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->door_fd = t->gate_fd < 0 ? -1 : fcntl(t->gate_fd, F_DUPFD_CLOEXEC, 0);
    int rc = t->door_fd < 0 || gate_install(t) || dup3(fd, t->door_fd, O_CLOEXEC) < 0 ? -1 : 0;
    int e = errno;
    close(fd);
    errno = e;
    return rc;
}

/* Peers that wait at the removed file's socket are turned away: they connect again. */
int tine_zmq_listen_again(tine_zmq *t) {
    int fd = door_bind(t);
    if (fd < 0) return -1;
    int rc = dup3(fd, t->door_fd, O_CLOEXEC) < 0 ? -1 : 0;
    close(fd);
    if (!rc) tine_zmq_path_remember(t);
    return rc;
}

int tine_zmq_listen_failed(const tine_zmq *t, char *why, size_t why_size) {
    int e = errno;
    const char *remedy = e == EADDRINUSE ? "choose another, or end the program that uses it"
                         : e == EACCES   ? "choose a directory where this user may write"
                         : e == EEXIST   ? "it is not a socket; choose a path where no file is"
                         : e == EPERM
                             ? "Tine has not made that socket: remove it if no program needs it"
                         : e == ENODEV        ? "name an address or interface of this host"
                         : e == EADDRNOTAVAIL ? "name an address of this host"
                         : e == ENOENT        ? "make its directory first"
                                              : "check the address";
    snprintf(why, why_size, "cannot listen at %.80s: %s; %s", t->url, zmq_strerror(e), remedy);
    return e == EINVAL ? -EINVAL : -EIO;
}

static void reserve_give(tine_zmq *t, unsigned keep) {
    while (t->n_reserve > keep) close(t->reserve[--t->n_reserve]);
}

/* libzmq's thread may be about to call accept, which would fail on the eventfd. So it must first
 * have polled the gate, which is closed, once more. Two rounds: in the first one it may already be
 * past that poll. */
void tine_zmq_listen_end(tine_zmq *t) {
    reserve_give(t, 0);
    if (t->door_is_zmqs && t->settled_at && !thread_sync(t)) thread_sync(t);
    if (t->door_is_zmqs)
        dup3(t->gate_fd, t->door_fd, O_CLOEXEC);
    else if (t->door_fd >= 0)
        close(t->door_fd);
    t->door_fd = -1;
    t->door_is_zmqs = false;
}

/* ---- the reserve ---- */

/* Fills the reserve; whether there are as many descriptors as the gate needs. The kernel counts one
 * waiting peer more than it was told. */
static bool reserve_take(tine_zmq *t, int64_t now) {
    int more[2 * (BACKLOG_MOST + 2)], n = 0, need = 2 * (t->backlog + 2), fd;
    while (t->n_reserve < TINE_ZMQ_RESERVE && (fd = fcntl(t->gate_fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        t->reserve[t->n_reserve++] = fd;
    while ((int)t->n_reserve + n < need && (fd = fcntl(t->gate_fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        more[n++] = fd;
    bool enough = (int)t->n_reserve + n == need;
    if (!n && now < t->settled_at && t->n_reserve) reserve_give(t, t->n_reserve - 1);
    while (n) close(more[--n]);
    return enough;
}

int tine_zmq_descriptor_copy(tine_zmq *t, int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 || errno != EMFILE || !t->n_reserve) return copy;
    reserve_give(t, t->n_reserve - 1);
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static void scarce_tell(tine_zmq *t, bool scarce) {
    struct rlimit limit = {0};
    if (t->scarce == scarce) return;
    t->scarce = scarce;
    if (!scarce) {
        tine_log(TINE_LOG_INFO, "file descriptors are free again: workers are accepted at %s",
                 t->url);
        return;
    }
    getrlimit(RLIMIT_NOFILE, &limit);
    tine_log(TINE_LOG_WARN,
             "workers that connect to %s are refused: this process has no file descriptor left for "
             "them (its limit is %llu); close some, or raise the limit (ulimit -n)",
             t->url, (unsigned long long)limit.rlim_cur);
}

/* ---- letting in ---- */

static bool door_is_knocked(const tine_zmq *t) {
    struct pollfd p = {.fd = t->door_fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

/* Refuses the waiting peers, one after the other, with descriptors of the reserve. */
static void door_refuse(tine_zmq *t) {
    for (int n = 0; n <= t->backlog; n++) {
        if (t->n_reserve) reserve_give(t, t->n_reserve - 1);
        int fd = accept4(t->door_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) return;
        close(fd);
    }
}

/* Returns when libzmq has accepted one: it may have accepted more by then. */
static void door_pass(tine_zmq *t, int64_t now) {
    uint64_t before = t->accepted, one = 1;
    int64_t until = now + PASS_NS;
    reserve_give(t, 0);
    ssize_t n = write(t->gate_fd, &one, sizeof one);
    while (t->accepted == before && tine_clock_ns() < until) {
        tine_zmq_monitor_read(t);
        sched_yield();
    }
    n += read(t->gate_fd, &one, sizeof one);
    TINE_ASSERT(n, ==, 2 * (ssize_t)sizeof one);
    t->settled_at = tine_clock_ns() + SETTLE_NS;
}

void tine_zmq_admit(tine_zmq *t) {
    if (t->door_fd < 0 || t->closed) return;
    int64_t now = tine_clock_ns();
    if (!t->knock && now < t->look_at) return;
    t->knock = false;
    t->look_at = now + (t->scarce ? SCARCE_NS : LOOK_NS);
    bool knocked = door_is_knocked(t);
    if (!knocked && !t->scarce && t->n_reserve == TINE_ZMQ_RESERVE) return;
    bool enough = reserve_take(t, now);
    if (enough) scarce_tell(t, false);
    if (!knocked || !tine_zmq_strangers_room(t, now)) return;
    if (enough) {
        door_pass(t, now);
        t->knock = true; /* another may wait */
        return;
    }
    scarce_tell(t, true);
    t->look_at = now + SCARCE_NS;
    if (now < t->settled_at) return;
    door_refuse(t);
    reserve_take(t, now);
}

bool tine_zmq_watches_door(const tine_zmq *t) {
    return t->door_fd >= 0 && !t->closed && !t->scarce && !t->strangers_full;
}
