/* Threads of the library, waits with a deadline, and what a process knows about itself. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/base/process.h"
#include "transport/base/thread.h"

TestSuite(thread, .timeout = 20);

typedef struct seen {
    char name[16];
    bool blocked[NSIG];
    sem_t done;
} seen;

static void *look(void *arg) {
    seen *s = arg;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (int i = 1; i < NSIG; i++) s->blocked[i] = sigismember(&mask, i) == 1;
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    sem_post(&s->done);
    return s;
}

static void check(const seen *s, const char *name) {
    static const int signals[] = {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM};
    cr_assert_str_eq(s->name, name);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        cr_assert(s->blocked[signals[i]], "signal %d", signals[i]);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        cr_assert_not(s->blocked[faults[i]], "signal %d", faults[i]);
}

Test(thread, has_a_name_and_no_signals) {
    seen s = {0};
    pthread_t thread;
    void *result;
    sigset_t mask;
    sem_init(&s.done, 0, 0);
    cr_assert_eq(tine_thread_start(&thread, "tine-test", look, &s), 0);
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_assert_eq(result, &s);
    check(&s, "tine-test");
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert_eq(sigismember(&mask, SIGTERM), 0, "the starter's own mask is as before");
}

static void crash_handled(int sig) {
    (void)sig;
    _exit(42);
}

static void *crash(void *arg) {
    *(volatile int *)arg = 1;
    return NULL;
}

/* The program's crash handler runs for a fault in a thread of the library. */
Test(thread, a_fault_reaches_the_programs_handler, .exit_code = 42) {
    pthread_t thread;
    void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    signal(SIGSEGV, crash_handled);
    cr_assert_eq(tine_thread_start(&thread, "tine-test", crash, nowhere), 0);
    pthread_join(thread, NULL);
}

Test(thread, detached) {
    static seen s;
    sem_init(&s.done, 0, 0);
    cr_assert_eq(tine_thread_start_detached("tine-watch", look, &s), 0);
    cr_assert_eq(sem_wait(&s.done), 0);
    check(&s, "tine-watch");
}

Test(thread, a_wait_ends_at_its_deadline) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c;
    tine_cond_init(&c);
    int64_t deadline = tine_clock_ns() + 20000000;
    pthread_mutex_lock(&lock);
    while (tine_cond_wait_until(&c, &lock, deadline)) {
    }
    cr_assert_geq(tine_clock_ns(), deadline);
    cr_assert_not(tine_cond_wait_until(&c, &lock, -5), "a deadline before the clock began");
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&c);
}

Test(process, knows_its_arguments) {
    char **argv = tine_process_arguments(), again[1 << 16];
    cr_assert_not_null(argv);
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t n = read(fd, again, sizeof again - 1);
    close(fd);
    cr_assert_gt(n, 0);
    size_t at = 0, count = 0;
    for (; argv[count]; count++) {
        cr_assert_str_eq(argv[count], again + at);
        at += strlen(argv[count]) + 1;
    }
    cr_assert_eq(at, (size_t)n);
    free(argv);
}

Test(process, knows_its_executable) {
    char path[PATH_MAX], little[4];
    cr_assert(tine_process_executable(path, sizeof path));
    cr_assert_eq(path[0], '/');
    cr_assert_eq(access(path, X_OK), 0);
    cr_assert_not(tine_process_executable(little, sizeof little));
}
