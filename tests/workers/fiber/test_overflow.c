/* A stack that overflows is named, on any thread; other faults remain the program's. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fibers.h"
#include "tests/support/sanitizer.h"

static void *overflow_thread(void *arg) {
    (void)arg;
    tine_fiber_pool *p = pool_of(64 << 10, 0);
    tine_fiber *f = tine_fiber_new(p, overflow_stack, NULL, "bottomless");
    tine_fiber_resume(f);
    return NULL;
}

/* Runs fn in a forked child, whose stderr and last words come back; returns its wait status. */
static int in_child(void (*fn)(void), char *said, size_t said_size, char *words,
                    size_t words_size) {
    int err[2], last[2];
    cr_assert_eq(pipe(err), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, last), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(err[1], STDERR_FILENO);
        close(last[0]);
        tine_fiber_report_to(last[1]);
        fn();
        _exit(99);
    }
    close(err[1]);
    close(last[1]);
    int status;
    ssize_t n, total = 0;
    while ((n = read(err[0], said + total, said_size - 1 - (size_t)total)) > 0) total += n;
    said[total] = 0;
    n = read(last[0], words, words_size - 1);
    words[n > 0 ? n : 0] = 0;
    close(err[0]);
    close(last[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void overflow_here(void) { overflow_thread(NULL); }

static void check_overflow(void (*fn)(void)) {
    char said[4096], words[256];
    int status = in_child(fn, said, sizeof said, words, sizeof words);
    cr_expect(WIFSIGNALED(status), "died of the signal: status %x, said %s", status, said);
    cr_expect(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
    /* qemu-user adds a line about the signal. */
    const char *line =
        "tine: stack overflow in task bottomless (stack of 64 KiB; set TINE_STACK_SIZE)\n";
    cr_expect(!strncmp(said, line, strlen(line)), "said %s", said);
    cr_expect_str_eq(words,
                     "stack overflow in task bottomless (stack of 64 KiB; set TINE_STACK_SIZE)");
}

Test(fiber, an_overflow_is_named, .timeout = 60) { check_overflow(overflow_here); }

#ifndef TSAN /* its forked child may not start threads */
static void overflow_in_thread(void) {
    pthread_t t;
    pthread_create(&t, NULL, overflow_thread, NULL);
    pthread_join(t, NULL);
}

Test(fiber, an_overflow_on_another_thread_is_named, .timeout = 60) {
    check_overflow(overflow_in_thread);
}
#endif

/* Steps over the guard, if nothing makes the compiler touch each page on the way
 * (-fstack-clash-protection). */
static void use_large_frame(void *arg) {
    volatile char frame[256 << 10];
    frame[0] = *(volatile char *)arg;
    for (size_t i = 0; i < sizeof frame; i += 4096) frame[i] = frame[0];
}

static void overflow_at_once(void) {
    static char one = 1;
    tine_fiber_pool *p = pool_of(64 << 10, 0);
    tine_fiber_resume(tine_fiber_new(p, use_large_frame, &one, "bottomless"));
}

Test(fiber, a_frame_larger_than_the_guard_is_named_too, .timeout = 60) {
    check_overflow(overflow_at_once);
}

static void on_fault(int sig) {
    (void)sig;
    static const char text[] = "the program's handler\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) > 0) _exit(7);
    _exit(8);
}

static void wild_pointer(void *arg) { *(volatile char *)arg = 1; }

static void fault_with_handler(void) {
    signal(SIGSEGV, on_fault);
    tine_fiber_pool *p = pool_of(0, 0);
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tine_fiber_resume(tine_fiber_new(p, wild_pointer, page, "wild"));
}

Test(fiber, other_faults_go_to_the_programs_handler, .timeout = 60) {
    char said[4096], words[256];
    int status = in_child(fault_with_handler, said, sizeof said, words, sizeof words);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %x, said %s", status, said);
    cr_expect_str_eq(said, "the program's handler\n");
    cr_expect_str_eq(words, "");
}

static void fault_without_handler(void) {
    signal(SIGSEGV, SIG_DFL);
    tine_fiber_pool *p = pool_of(0, 0);
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    tine_fiber_resume(tine_fiber_new(p, wild_pointer, page, "wild"));
}

Test(fiber, other_faults_kill_as_ever, .timeout = 60) {
    char said[4096], words[256];
    int status = in_child(fault_without_handler, said, sizeof said, words, sizeof words);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x, said %s", status,
              said);
    cr_expect_str_eq(words, "");
}

static void sent_by_someone(void) {
    signal(SIGSEGV, SIG_DFL);
    pool_of(0, 0);
    raise(SIGSEGV);
}

Test(fiber, a_fault_signal_that_was_sent_kills_as_ever, .timeout = 60) {
    char said[4096], words[256];
    int status = in_child(sent_by_someone, said, sizeof said, words, sizeof words);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x, said %s", status,
              said);
}
