/* What a job of ranks is refused is said once, and by whom it concerns. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/mpirun.h"

static int count_of(const char *text, const char *words) {
    int n = 0;
    for (; (text = strstr(text, words)); text++) n++;
    return n;
}

/* `ranks`: the arguments of mpirun. */
static void refused(const char *words, const char *variables, const char *ranks) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p = tine_program_run(60, "%s exec mpirun %s --oversubscribe %s", variables,
                                      tine_mpirun_root(), ranks);
    cr_expect_neq(p.code, 0, "%s", ranks);
    cr_expect_neq(p.code, 124, "%s: it did not end", ranks);
    cr_expect_eq(count_of(p.out, words) + count_of(p.error, words), 1, "%s %s: \"%s\" in\n%s%s",
                 variables, ranks, words, p.out, p.error);
    tine_program_fini(&p);
}

Test(ranks, a_program_that_is_refused_a_setting_says_so_once, .timeout = 180) {
    refused("TINE_HEARTBEAT=never", "TINE_HEARTBEAT=never", "-n 8 $B/01_fork_wait");
    refused("TINE_KERNEL", "TINE_KERNEL=nonsense", "-n 8 $B/01_fork_wait");
}

Test(ranks, an_endpoint_that_is_refused_is_named_once, .timeout = 180) {
    refused("other 7 ranks of this job cannot connect", "TINE_ENDPOINT=tcp://*:4747",
            "-n 8 $B/01_fork_wait");
    refused("no transport serves", "TINE_ENDPOINT=bad:", "-n 8 $B/01_fork_wait");
    refused("port that is not a number",
            "TINE_ENDPOINT=tcp://nonsense:1:2:", "-n 8 $B/01_fork_wait");
}

Test(ranks, the_command_is_refused_once, .timeout = 180) {
    refused("expected f32, bf16 or int8", "", "-n 8 $B/tine ensemble --dtype f64");
    refused("no-such-model", "", "-n 8 $B/tine predict no-such-model.safetensors --input x.npy");
}

Test(ranks, a_rank_that_alone_is_refused_says_so_itself, .timeout = 60) {
    refused("TINE_HEARTBEAT=never", "",
            "-n 2 $B/01_fork_wait : -n 1 env TINE_HEARTBEAT=never $B/01_fork_wait");
}

Test(ranks, the_command_of_a_rank_that_alone_is_refused_says_so, .timeout = 60) {
    refused("expected f32, bf16 or int8", "",
            "-n 1 $B/tine ensemble : -n 1 $B/tine ensemble --dtype f64");
}

/* What the tests above rely on. */
Test(ranks, a_program_that_ignores_its_end_is_seen_not_to_end, .timeout = 60) {
    tine_program p = tine_program_run(1, "trap '' TERM; exec sleep 60");
    cr_expect_eq(p.code, 124, "%d", p.code);
    tine_program_fini(&p);
}

/* A misspelt variable is a warning: the job runs. */
Test(ranks, a_warning_is_written_once, .timeout = 60) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    tine_program p =
        tine_program_run(60, "TINE_HARTBEAT=1 exec mpirun %s --oversubscribe -n 8 $B/01_fork_wait",
                         tine_mpirun_root());
    cr_expect_eq(p.code, 0, "%s", p.error);
    cr_expect_eq(count_of(p.error, "TINE_HARTBEAT"), 1, "%s", p.error);
    tine_program_fini(&p);
}
