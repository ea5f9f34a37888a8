/* Messages travel while tasks compute (workers/progress.h), over every transport. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"
#include "tests/support/mpirun.h"
#include "tests/support/progress.h"

static void play(const char *endpoint, int workers, const char *(*scene)(void)) {
    cluster_start(endpoint, workers);
    const char *wrong = scene();
    cr_expect_null(wrong, "%s", wrong);
    cluster_stop();
}

TRANSPORT_TEST(progress, a_nested_forks_large_argument_leaves_while_its_task_computes, 40) {
    play(endpoint, 2, progress_of_an_argument);
}

TRANSPORT_TEST(progress, a_large_argument_leaves_while_1500_small_results_come, 60) {
    play(endpoint, 2, progress_while_small_results_come);
}

TRANSPORT_TEST(progress, arguments_past_the_transports_queue_leave_while_their_task_computes, 60) {
    play(endpoint, 2, progress_past_what_a_transport_queues);
}

TRANSPORT_TEST(progress, forks_that_are_queued_at_a_worker_leave_while_their_task_computes, 60) {
    play(endpoint, 2, progress_of_queued_forks);
}

TRANSPORT_TEST(progress, a_release_may_want_a_lock_that_the_task_holds_while_it_forks, 60) {
    play(endpoint, 2, progress_with_a_lock_held);
}

TRANSPORT_TEST(progress, a_release_may_want_a_lock_that_the_program_holds_while_it_forks, 60) {
    play(endpoint, 2, progress_with_a_lock_held_by_the_program);
}

TRANSPORT_TEST_REMOTE(progress, what_was_sent_is_released_though_nobody_calls, 100) {
    play(endpoint, 1, progress_of_a_release);
}

TRANSPORT_TEST(progress, a_large_result_leaves_while_its_worker_runs_the_next_task, 40) {
    setenv("TINE_ARENA", "0", 1); /* a result that is lent leaves at once */
    play(endpoint, 1, progress_of_a_result);
}

TRANSPORT_TEST(progress, short_results_leave_while_their_worker_runs_the_next_task, 60) {
    play(endpoint, 1, progress_of_short_results);
}

static void under_mpirun(int ranks, const char *scene) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p = tine_program_run(
        60, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe -n %d $B/mpi/progress %s",
        tine_mpirun_root(), ranks, scene);
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    tine_program_fini(&p);
}

Test(progress, a_nested_forks_large_argument_leaves_while_its_task_computes_mpi, .timeout = 90) {
    under_mpirun(3, "argument");
}

Test(progress, a_large_argument_leaves_while_1500_small_results_come_mpi, .timeout = 90) {
    under_mpirun(3, "small");
}

Test(progress, arguments_past_the_transports_queue_leave_while_their_task_computes_mpi,
     .timeout = 90) {
    under_mpirun(3, "past");
}

Test(progress, forks_that_are_queued_at_a_worker_leave_while_their_task_computes_mpi,
     .timeout = 90) {
    under_mpirun(3, "queued");
}

Test(progress, a_release_may_want_a_lock_that_the_task_holds_while_it_forks_mpi, .timeout = 90) {
    under_mpirun(3, "lock");
}

Test(progress, a_release_may_want_a_lock_that_the_program_holds_while_it_forks_mpi, .timeout = 90) {
    under_mpirun(3, "program");
}

Test(progress, what_was_sent_is_released_though_nobody_calls_mpi, .timeout = 90) {
    under_mpirun(2, "release");
}

Test(progress, a_large_result_leaves_while_its_worker_runs_the_next_task_mpi, .timeout = 90) {
    under_mpirun(2, "result");
}

Test(progress, short_results_leave_while_their_worker_runs_the_next_task_mpi, .timeout = 90) {
    under_mpirun(2, "short");
}
