/* Runs the cases one after the other, each in a process of its own with a time limit. The last line
 * says how many passed, failed, and were skipped. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { SKIPPED = 77 };

static struct criterion_case *cases;
static atomic_bool failed;

void criterion_add(struct criterion_case *one) {
    struct criterion_case **end = &cases;
    while (*end) end = &(*end)->next;
    *end = one;
}

void criterion_failed(bool fatal, const char *file, int line, const char *check, ...) {
    va_list args;
    va_start(args, check);
    fprintf(stderr, "%s:%d: %s", file, line, check);
    const char *format = va_arg(args, const char *);
    if (format) fputs(": ", stderr), vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    atomic_store(&failed, true);
    if (fatal) _exit(1);
}

_Noreturn void criterion_skip(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(SKIPPED);
}

/* The status that the case's process ended with. */
static int run_case(const struct criterion_case *one) {
    int status = 1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm((unsigned)one->timeout);
        one->run();
        fflush(NULL);
        _exit(atomic_load(&failed));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return 1;
    return status;
}

int main(void) {
    int count[3] = {0};
    static const char *const words[] = {"ok  ", "FAIL", "SKIP"};
    for (struct criterion_case *one = cases; one; one = one->next) {
        int status = run_case(one);
        bool as_wanted = one->signal ? WIFSIGNALED(status) && WTERMSIG(status) == one->signal
                                     : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        int which = as_wanted ? 0 : WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED ? 2 : 1;
        count[which]++;
        printf("%s %s/%s", words[which], one->suite, one->name);
        printf(WIFSIGNALED(status) && which ? ": signal %d\n" : "\n", WTERMSIG(status));
    }
    printf("%d passed, %d failed, %d skipped\n", count[0], count[1], count[2]);
    return count[1] || !count[0];
}
