/* Large messages travel while tasks compute (workers/progress.h), over every transport. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/program.h"
#include "tests/support/progress.h"

TRANSPORT_TEST(progress, a_nested_forks_large_argument_leaves_while_its_task_computes, 40) {
    cluster_start(endpoint, 2);
    const char *wrong = progress_of_an_argument();
    cr_expect_null(wrong, "%s", wrong);
    cluster_stop();
}

TRANSPORT_TEST(progress, a_large_result_leaves_while_its_worker_runs_the_next_task, 40) {
    cluster_start(endpoint, 1);
    const char *wrong = progress_of_a_result();
    cr_expect_null(wrong, "%s", wrong);
    cluster_stop();
}

static void under_mpirun(int ranks, const char *scene) {
    tine_program p = tine_program_run(20, "mpirun --version && test -e $B/libtine-mpi.so");
    bool usable = p.code == 0 && strstr(p.out, "Open MPI");
    tine_program_fini(&p);
    if (!usable) cr_skip_test("no mpirun of Open MPI here");
    p = tine_program_run(60, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n %d $B/mpi/progress %s",
                         geteuid() == 0 ? "--allow-run-as-root" : "", ranks, scene);
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    tine_program_fini(&p);
}

Test(progress, a_nested_forks_large_argument_leaves_while_its_task_computes_mpi, .timeout = 90) {
    under_mpirun(3, "argument");
}

Test(progress, a_large_result_leaves_while_its_worker_runs_the_next_task_mpi, .timeout = 90) {
    under_mpirun(2, "result");
}
