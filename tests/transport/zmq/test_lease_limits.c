/* Where buffers cannot be lent: all is copied, no frame is lost, and the log says why in one line;
 * and what is no arena of the process that names it is not mapped. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/actors.h"
#include "tests/support/capture.h"
#include "tests/support/leftovers.h"
#include "tests/support/lease_ends.h"
#include "transport/base/log.h"

/* ---- limits of a process ---- */

static struct rlimit limit_lower(int resource, rlim_t most) {
    struct rlimit before, lower;
    cr_assert_eq(getrlimit((__rlimit_resource_t)resource, &before), 0);
    lower = (struct rlimit){most, before.rlim_max};
    cr_assert_eq(setrlimit((__rlimit_resource_t)resource, &lower), 0);
    return before;
}

/* A large frame to a connector, which cannot be lent. */
static void expect_copy(end *l, end *c) {
    tine_event ev = {0};
    while (ev.kind != TINE_EVENT_FRAME) {
        l->ops->recv(l->t, &ev);
        if (ev.kind == TINE_EVENT_UP) l->peer = ev.peer;
        if (ev.kind == TINE_EVENT_UP) cr_assert(end_send(l, 2 * MI, 4));
        c->ops->recv(c->t, &ev);
        if (ev.kind == TINE_EVENT_UP) c->peer = ev.peer;
    }
    cr_expect(tine_conf_check(ev.frame, 8, 2 * MI, 4) && !ev.frame->buffers[0]->foreign);
    cr_expect_neq(c->ops->uses_lane(c->t, c->peer), TINE_LANE_BUFFERS);
    tine_frame_free(ev.frame);
}

/* Two connectors, one after the other, to a listener that made its transport below a limit. */
static void exchange_below(int resource, rlim_t most) {
    end l, c;
    tine_log_level_set(TINE_LOG_INFO);
    struct rlimit before = limit_lower(resource, most);
    end_listen(&l);
    setrlimit((__rlimit_resource_t)resource, &before);
    for (int i = 0; i < 2; i++) {
        cr_assert(end_connect(&c, l.url));
        expect_copy(&l, &c);
        end_fini(&c);
    }
    tine_log_flush();
    tine_log_level_set(TINE_LOG_WARN);
    end_fini(&l);
}

static void below_size_of_files(void) { exchange_below(RLIMIT_FSIZE, ARENA - 1); }

Test(lease_limits, without_an_arena_all_is_copied, .timeout = 60) {
    char *text = capture_standard_error(below_size_of_files);
    cr_expect_eq(capture_count(text, "large tensors are copied to peers on this host"), 1, "%s",
                 text);
    cr_expect_eq(capture_count(text, "ulimit -f"), 1, "%s", text);
    free(text);
}

/* Sanitizers map more than any limit allows. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKIP_WITHOUT_LIMIT() cr_skip_test("a sanitizer maps more than a limit allows")
#else
#define SKIP_WITHOUT_LIMIT() (void)0
#endif

static rlim_t address_space(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    cr_assert(f && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* Half of it does not hold the arena beside what is mapped. */
static void below_address_space(void) {
    exchange_below(RLIMIT_AS, 2 * (address_space() + ARENA - MI));
}

Test(lease_limits, half_of_a_limited_address_space_is_left, .timeout = 60) {
    SKIP_WITHOUT_LIMIT();
    char *text = capture_standard_error(below_address_space);
    cr_expect_eq(capture_count(text, "large tensors are copied to peers on this host"), 1, "%s",
                 text);
    cr_expect_eq(capture_count(text, "ulimit -v"), 1, "%s", text);
    free(text);
}

static void relay(end *from, end *to, size_t size) {
    tine_event ev = {0}, none;
    cr_assert(end_send(from, size, 5));
    while (ev.kind != TINE_EVENT_FRAME) {
        from->ops->recv(from->t, &none);
        to->ops->recv(to->t, &ev);
    }
    cr_expect(tine_conf_check(ev.frame, 8, size, 5) && !ev.frame->buffers[0]->foreign);
    tine_frame_free(ev.frame);
}

/* The connector finds no room for the listener's arena, and says so. */
static void refuse_for_address_space(void) {
    end l, c;
    tine_log_level_set(TINE_LOG_INFO);
    end_listen(&l);
    cr_assert(end_connect(&c, l.url));
    struct rlimit before = limit_lower(RLIMIT_AS, 2 * (address_space() + ARENA - MI));
    expect_copy(&l, &c);
    relay(&c, &l, 10); /* so the lane is in use, and the listener has told of its arena */
    relay(&l, &c, 2 * MI);
    relay(&c, &l, 2 * MI); /* and the refusal has arrived before this */
    cr_expect_neq(l.ops->uses_lane(l.t, l.peer), TINE_LANE_BUFFERS);
    setrlimit(RLIMIT_AS, &before);
    tine_log_flush();
    tine_log_level_set(TINE_LOG_WARN);
    end_fini(&c);
    end_fini(&l);
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
}

Test(lease_limits, a_peer_without_address_space_is_sent_copies, .timeout = 60) {
    SKIP_WITHOUT_LIMIT();
    char *text = capture_standard_error(refuse_for_address_space);
    cr_expect_eq(capture_count(text, "large tensors are copied to peers on this host"), 2,
                 "one of each side: %s", text);
    cr_expect_eq(capture_count(text, "no address space for its tensors"), 2, "%s", text);
    free(text);
}

Test(lease_limits, without_descriptors_there_is_no_arena_and_no_segment, .timeout = 20) {
    const char *why = "";
    tine_shm_segment *s;
    tine_arena_place place;
    struct rlimit before = limit_lower(RLIMIT_NOFILE, 0);
    int made = tine_arena_open(ARENA, &why);
    setrlimit(RLIMIT_NOFILE, &before);
    cr_expect_eq(made, -EMFILE);
    cr_expect_str_eq(why, "no memfd can be made");
    cr_assert_eq(tine_arena_open(ARENA, &why), 0);
    cr_assert(tine_arena_get(&place));
    limit_lower(RLIMIT_NOFILE, 0);
    int opened = tine_shm_segment_open(&s, &place, false, &why);
    setrlimit(RLIMIT_NOFILE, &before);
    cr_expect_eq(opened, -EMFILE);
    cr_expect_str_eq(why, "its tensors' memory cannot be opened");
    cr_expect_null(s);
}

/* ---- containers ---- */

enum { NO_MEMFD, NO_SEALS, SMALL_SHM, NO_SHM_WRITES };

static void forbid(long call, int error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &program)) _exit(9);
}

static void mount_shm(unsigned long flags, const char *options) {
    if (unshare(CLONE_NEWNS)) _exit(77);
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) _exit(77);
    if (mount("tmpfs", "/dev/shm", "tmpfs", flags, options)) _exit(77);
}

/* A connector that echoes until its listener goes. */
static void contained(const order *o) {
    end e;
    bool lends = o->kind == SMALL_SHM || o->kind == NO_SHM_WRITES;
    tine_log_level_set(lends ? TINE_LOG_ERROR : TINE_LOG_INFO);
    if (o->kind == NO_MEMFD) forbid(SYS_memfd_create, ENOSYS);
    if (o->kind == NO_SEALS) forbid(SYS_ftruncate, EPERM);
    if (o->kind == SMALL_SHM) mount_shm(0, "size=64k");
    if (o->kind == NO_SHM_WRITES) mount_shm(MS_RDONLY, NULL);
    if (!end_connect(&e, o->url) || (lends && !end_ready(&e))) _exit(1);
    for (;;) {
        tine_event ev = end_next(&e);
        if (ev.kind == TINE_EVENT_LOST) _exit(0);
        if (ev.kind != TINE_EVENT_FRAME) continue;
        bool lent = e.ops->uses_lane(e.t, e.peer) == TINE_LANE_BUFFERS;
        if (lent && !lends) _exit(3);
        e.ops->send(e.t, e.peer, ev.frame);
    }
}

static void expect_echoes(int kind, bool lends) {
    actors a = actors_new(contained);
    end l;
    end_listen(&l);
    actors_order(&a, l.url, kind, 0);
    while (!l.peer) cr_assert_eq(end_next(&l).kind, TINE_EVENT_UP);
    for (uint32_t i = 0; i < 3; i++) {
        if (lends) cr_assert(end_ready(&l));
        cr_assert(end_send(&l, 2 * MI, i));
        tine_event ev = end_next(&l);
        cr_assert(ev.kind == TINE_EVENT_FRAME && tine_conf_check(ev.frame, 8, 2 * MI, i));
        cr_expect_eq(ev.frame->buffers[0]->foreign, lends);
        tine_frame_free(ev.frame);
    }
    end_fini(&l);
    cr_expect_eq(actors_status(&a), 0);
    actors_fini(&a);
}

/* It says so in one line. */
static void expect_copies(void (*echoes)(void), const char *why) {
    char *text = capture_standard_error(echoes);
    cr_expect_eq(capture_count(text, "large tensors are copied to peers on this host"), 1, "%s",
                 text);
    cr_expect_eq(capture_count(text, why), 1, "%s", text);
    free(text);
}

static void without_memfd(void) { expect_echoes(NO_MEMFD, false); }
static void without_seals(void) { expect_echoes(NO_SEALS, false); }

Test(lease_limits, a_peer_without_memfd_is_sent_copies, .timeout = 60) {
    expect_copies(without_memfd, "no memfd can be made");
}

Test(lease_limits, a_peer_that_cannot_seal_is_sent_copies, .timeout = 60) {
    expect_copies(without_seals, "a memfd cannot be sized and sealed");
}

Test(lease_limits, a_small_dev_shm_is_enough, .timeout = 60) {
    if (getuid() != 0) cr_skip_test("only root can mount");
    expect_echoes(SMALL_SHM, true);
}

Test(lease_limits, a_dev_shm_that_is_read_only_is_enough, .timeout = 60) {
    if (getuid() != 0) cr_skip_test("only root can mount");
    expect_echoes(NO_SHM_WRITES, true);
}

/* ---- core dumps ---- */

/* Mappings of this process that processes share, and those of them that a core dump would have. */
static unsigned shared_mappings(unsigned *dumped) {
    char line[512];
    unsigned n = 0;
    bool shared = false;
    FILE *f = fopen("/proc/self/smaps", "re");
    cr_assert(f);
    *dumped = 0;
    while (fgets(line, sizeof line, f)) {
        if (strstr(line, "/memfd:")) n += shared = strstr(line, "tine-") != NULL;
        if (strncmp(line, "VmFlags:", 8)) continue;
        *dumped += shared && !strstr(line, " dd");
        shared = false;
    }
    fclose(f);
    return n;
}

Test(lease_limits, what_processes_share_is_in_no_core_dump, .timeout = 20) {
    end l, c;
    unsigned dumped;
    pair_open(&l, &c);
    cr_expect_geq(shared_mappings(&dumped), 1 + 2 + 2, "an arena, segments, lanes");
    cr_expect_eq(dumped, 0, "%u are dumped", dumped);
    end_fini(&c);
    end_fini(&l);
}

/* ---- another process's arena ---- */

Test(lease_limits, segment_refuses_what_is_not_the_arena_that_was_told, .timeout = 20) {
    tine_arena_place place, wrong;
    tine_shm_segment *s;
    const char *why = "";
    cr_assert_eq(tine_arena_open(ARENA, &why), 0);
    cr_assert(tine_arena_get(&place));
    cr_assert_eq(tine_shm_segment_open(&s, &place, false, &why), 0, "%s", why);
    cr_expect(tine_shm_segment_lives(s));
    tine_shm_segment_unref(s);
    wrong = place;
    wrong.token[15] ^= 1;
    cr_expect_lt(tine_shm_segment_open(&s, &wrong, false, &why), 0);
    wrong = place;
    wrong.size /= 2;
    cr_expect_lt(tine_shm_segment_open(&s, &wrong, false, &why), 0);
    wrong.size = UINT64_MAX & ~UINT64_C(4095);
    cr_expect_lt(tine_shm_segment_open(&s, &wrong, false, &why), 0);
    wrong.size = (UINT64_C(1) << 47) - 4096;
    cr_expect_lt(tine_shm_segment_open(&s, &wrong, false, &why), 0);
    cr_expect(strstr(why, "out of range"), "more than the machine has");
    wrong = place;
    wrong.fd = 0;
    cr_expect_lt(tine_shm_segment_open(&s, &wrong, false, &why), 0);
    FILE *file = tmpfile();
    cr_assert(file && ftruncate(fileno(file), (off_t)place.size) == 0);
    wrong.fd = (uint32_t)fileno(file); /* a reader would get SIGBUS when it is truncated */
    cr_expect_lt(tine_shm_segment_open(&s, &wrong, false, &why), 0);
    cr_expect_null(s);
    fclose(file);
    cr_expect_eq(leftover_mappings("tine-tensors"), 1);
}

/* Its user has changed, so that it cannot be looked at: it may still read what it has borrowed. */
Test(lease_limits, a_process_that_cannot_be_seen_may_live, .timeout = 20) {
    if (getuid() != 0) cr_skip_test("only root can become another user");
    tine_arena_place place;
    tine_shm_segment *s;
    const char *why = "";
    cr_assert_eq(tine_arena_open(ARENA, &why), 0);
    cr_assert(tine_arena_get(&place));
    pid_t child = fork();
    if (!child) {
        if (tine_shm_segment_open(&s, &place, false, &why)) _exit(1);
        if (!tine_shm_segment_lives(s)) _exit(2);
        if (setresuid(65534, 65534, 65534)) _exit(3);
        if (access("/proc/1/fd/0", F_OK) == 0 || errno != EACCES) _exit(77);
        _exit(tine_shm_segment_lives(s) ? 0 : 4);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) cr_skip_test("/proc hides nothing");
    cr_expect_eq(status, 0);
}
