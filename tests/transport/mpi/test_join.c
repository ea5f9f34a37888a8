/* Ranks other than 0 that are connected to each other: tests/mpi/join.c and reach.c; and messages
 * that are broken: tests/mpi/packed.c. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/mpirun.h"

static tine_program ranks(const char *program, int n) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    return tine_program_run(60, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n %d $B/mpi/%s",
                            tine_mpirun_root(), n, program);
}

Test(mpi_join, ranks_pass_frames_to_each_other_and_end_that_alone, .timeout = 90) {
    tine_program p = ranks("join", 4);
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    tine_program_fini(&p);
}

/* The coordinator alone moved 272 MB for this. */
Test(mpi_join, large_results_do_not_pass_the_coordinator, .timeout = 90) {
    enum { SMALL = 1 << 20 };
    char dir[] = "/tmp/tine-test-XXXXXX", command[80];
    unsigned long long bytes = 0;
    cr_assert_not_null(mkdtemp(dir));
    snprintf(command, sizeof command, "reach %s reduce", dir);
    tine_program p = ranks(command, 4);
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    cr_expect_eq(sscanf(p.out, "right, %llu bytes", &bytes), 1, "%s%s", p.out, p.error);
    cr_expect(bytes > 0 && bytes < SMALL, "%s", p.out);
    tine_program_fini(&p);
    cr_expect_eq(rmdir(dir), 0);
}

Test(mpi_join, a_message_of_several_frames_that_is_broken_loses_its_sender_alone, .timeout = 90) {
    tine_program p = ranks("packed 100", 3);
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    tine_program_fini(&p);
}
