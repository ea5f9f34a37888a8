/* Stack overflow: recognised by the address of the fault, reported, then left to the signal. See
 * fiber.h.
 *
 * The handler runs on an alternate stack, because the fiber's is full, and calls only functions
 * that POSIX allows in a handler. It resets the signal to its default action and returns: the
 * fault repeats in the same frame, which a core dump then shows. */
#include "workers/fiber/overflow.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

_Thread_local tine_fiber_spot *tine_fiber_spot_running;

static _Thread_local struct {
    void *memory;
    size_t size;
    unsigned users;
} alternate;

static atomic_int report_fd = -1;
static struct sigaction previous_segv, previous_bus;

void tine_fiber_report_to(int fd) { atomic_store(&report_fd, fd); }

/* ---- text without stdio ---- */

typedef struct words {
    char text[256];
    size_t n;
} words;

static void words_add(words *w, const char *s) {
    while (*s && w->n < sizeof w->text - 1) w->text[w->n++] = *s++;
}

static void words_add_number(words *w, size_t x) {
    char digits[24], *p = digits + sizeof digits - 1;
    *p = 0;
    do *--p = (char)('0' + x % 10);
    while (x /= 10);
    words_add(w, p);
}

static void overflow_report(const tine_fiber_spot *spot) {
    words w = {.n = 0};
    words_add(&w, "tine: ");
    size_t prefix = w.n;
    words_add(&w, "stack overflow in task ");
    words_add(&w, spot->name);
    words_add(&w, " (stack of ");
    words_add_number(&w, spot->stack_kib);
    words_add(&w, " KiB; set TINE_STACK_SIZE)");
    int fd = atomic_load(&report_fd);
    if (fd >= 0) {
        const char *text = w.text + prefix;
        ssize_t sent = send(fd, text, w.n - prefix, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == ENOTSOCK) sent = write(fd, text, w.n - prefix);
        (void)sent;
    }
    words_add(&w, "\n");
    ssize_t written = write(STDERR_FILENO, w.text, w.n);
    (void)written;
}

static void die_by(int sig, const siginfo_t *info) {
    signal(sig, SIG_DFL);
    if (info->si_code <= 0) raise(sig); /* sent by a process: it does not repeat by itself */
}

static void on_fault(int sig, siginfo_t *info, void *context) {
    const tine_fiber_spot *spot = tine_fiber_spot_running;
    char *at = info->si_addr;
    if (spot && info->si_code > 0 && at >= spot->guard && at < spot->low) {
        overflow_report(spot);
        die_by(sig, info);
        return;
    }
    const struct sigaction *previous = sig == SIGSEGV ? &previous_segv : &previous_bus;
    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(sig, info, context);
    else if (previous->sa_handler == SIG_DFL || previous->sa_handler == SIG_IGN)
        die_by(sig, info);
    else
        previous->sa_handler(sig);
}

static void install_handler(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
}

static bool alternate_make(void) {
    stack_t now;
    if (sigaltstack(NULL, &now) != 0) return false;
    if (!(now.ss_flags & SS_DISABLE)) return true; /* the program or a sanitizer has made one */
    long least = sysconf(_SC_SIGSTKSZ);
    size_t size = least > 32 << 10 ? (size_t)least * 2 : 64 << 10;
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) return false;
    stack_t stack = {.ss_sp = memory, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0) {
        munmap(memory, size);
        return false;
    }
    alternate.memory = memory;
    alternate.size = size;
    return true;
}

bool tine_fiber_overflow_arm(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (alternate.users == 0 && !alternate_make()) return false;
    alternate.users++;
    pthread_once(&once, install_handler);
    return true;
}

void tine_fiber_overflow_disarm(void) {
    if (--alternate.users > 0 || !alternate.memory) return;
    stack_t off = {.ss_flags = SS_DISABLE};
    sigaltstack(&off, NULL);
    munmap(alternate.memory, alternate.size);
    alternate.memory = NULL;
}
