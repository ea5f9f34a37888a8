/* Programs around MPI: those that a rank starts, and those that call MPI themselves. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/mpirun.h"

static void check(tine_program p, const char *expected) {
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    cr_expect(strstr(p.out, expected), "%s%s", p.out, p.error);
    tine_program_fini(&p);
}

Test(mpi_children, a_program_that_a_rank_starts_is_no_rank, .timeout = 90) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    check(tine_program_run(60,
                           "export TINE_MODULE_DIR=$B; exec mpirun %s --oversubscribe -n 2 "
                           "$B/mpi/children 'exec timeout 20 '$B'/04_fibonacci 5'",
                           tine_mpirun_root()),
          "from the program 0, from a task 0");
}

Test(mpi_children, a_shell_between_the_launcher_and_a_rank_changes_nothing, .timeout = 90) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    check(tine_program_run(60,
                           "export TINE_MODULE_DIR=$B; exec mpirun %s --oversubscribe -n 3 "
                           "sh -c '$B/mpi/own; exit $?'",
                           tine_mpirun_root()),
          "sum 3, neg -7");
}

Test(mpi_children, variables_of_a_rank_without_a_server_make_none, .timeout = 60) {
    check(tine_program_run(
              40, "OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK=1 PMIX_RANK=1 $B/04_fibonacci 9"),
          "fib(9) = 34");
}

/* Each rank was a coordinator, and the second one found the address in use. */
Test(mpi_children, ranks_share_an_endpoint_that_is_set, .timeout = 90) {
    tine_need_mpirun();
    check(tine_program_run(60,
                           "d=$(mktemp -d); TINE_LOG_LEVEL=info TINE_ENDPOINT=ipc://$d/s mpirun %s "
                           "--oversubscribe -n 3 $B/04_fibonacci 9 2>$d/log; s=$?; "
                           "grep -c 'joined$' $d/log; rm -r $d; exit $s",
                           tine_mpirun_root()),
          "fib(9) = 34\n2\n");
    tine_program p = tine_program_run(
        60, "TINE_ENDPOINT='tcp://*:4747' exec mpirun %s --oversubscribe -n 2 $B/04_fibonacci 9",
        tine_mpirun_root());
    cr_expect(strstr(p.error, "name the host of rank 0"), "%s%s", p.out, p.error);
    tine_program_fini(&p);
    check(tine_program_run(60,
                           "TINE_WORKERS=1 TINE_ENDPOINT='ipc://*' exec mpirun %s --oversubscribe "
                           "-n 2 $B/04_fibonacci 9",
                           tine_mpirun_root()),
          "fib(9) = 34\nfib(9) = 34\n");
}

Test(mpi_children, a_program_that_finalises_mpi_itself_ends_well, .timeout = 90) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p = tine_program_run(
        60, "export TINE_MODULE_DIR=$B; exec mpirun %s --oversubscribe -n 3 $B/mpi/own",
        tine_mpirun_root());
    cr_expect(strstr(p.out, "sum 3, neg -7"), "%s%s", p.out, p.error);
    check(p, "finalised");
}

/* It is held back from threads that call MPI, while they do. */
Test(mpi_children, sigpipe_is_as_the_program_has_left_it, .timeout = 90) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    check(tine_program_run(
              60, "export TINE_MODULE_DIR=$B; exec mpirun %s --oversubscribe -n 2 $B/mpi/own tine",
              tine_mpirun_root()),
          "SIGPIPE changed: 0, in tasks 0\n");
}
