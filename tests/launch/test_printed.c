/* What a task has printed when it returned is there, whatever ends its worker afterwards. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/tine.h"
#include "tests/support/cluster.h"

TINE_FUNCTION(printed_line, "i") {
    printf("line %lld\n", (long long)tine_arg_int(task, 0));
    return tine_int(1);
}

/* Standard output is a pipe, so stdio keeps what is printed in its buffer. The program dies when
 * all tasks have returned, and its worker with it. */
int test_program(void) {
    tine_options o = {.workers = 1, .log_level = "error"};
    if (tine_init(NULL, NULL, &o)) return 1;
    for (int i = 0; i < 3; i++) {
        tine_future *f = tine_fork("printed_line", i);
        if (tine_wait(f, NULL)) return 2;
        tine_release(f);
    }
    raise(SIGKILL);
    return 3;
}

Test(printed, what_a_task_printed_outlives_its_worker, .timeout = 60) {
    char dir[] = "/tmp/tine-printed-XXXXXX", text[256] = "";
    int out, status;
    cr_assert_not_null(mkdtemp(dir));
    setenv("XDG_RUNTIME_DIR", dir, 1);
    pid_t pid = cluster_program(&out);
    FILE *f = fdopen(out, "r");
    size_t n = fread(text, 1, sizeof text - 1, f); /* until the worker has ended too */
    fclose(f);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect_eq(WTERMSIG(status), SIGKILL);
    cr_expect_str_eq(text, "line 0\nline 1\nline 2\n", "%zu bytes: %s", n, text);
    cr_expect_eq(rmdir(dir), 0, "the worker removed the private directory");
}
