/* Every example of launch/examples runs and prints what its head says, with 1 worker, with 2 over
 * inproc, ipc and tcp, and as ranks over mpi. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <string.h>

#include "tests/support/mpirun.h"
#include "tests/support/program.h"

static const struct example {
    const char *name, *prints;
} examples[] = {
    {"01_fork_wait", "[tensor([-1.]), tensor([-1.])]\n"},
    {"02_loop", "tensor(-100.)\n"},
    {"03_ensemble", "4 models, output 6 x 2 x 16, the same bits when computed here: yes\n"},
    {"04_fibonacci", "fib(15) = 610\n"},
    {"05_data_dependent", "the integral of sqrt(x) from 0 to 1 is 0.666666, in 51 tasks\n"},
    {"06_errors", "halve(7): EFAILED\nquarter(7): EUNKNOWN\nhalve(odd=7): EINVAL\nhalve(8): 4\n"},
    {"07_promises", "the sum of the squares of 3, 4 and 5 is 50, twice that is 100\n"},
    {"08_cancel", "searches 1 and 2: ECANCELED, ECANCELED\nwith a deadline: ETIMEDOUT\n"
                  "search 3: found\n"},
    {"09_pool", "20 results, sum 4940\nevery worker has the factor 2\n20 tasks ended, 0 failed\n"},
    {"10_streams", "step 1: 1.5000\nstep 2: 1.4167\nstep 3: 1.4142\n"
                   "the square root of 2 is 1.414216\n3 of many steps: 1.7321\n"},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

static void run(const struct example *e, const char *options) {
    tine_program p = tine_program_run(30, "$B/%s %s", e->name, options);
    cr_expect_eq(p.code, 0, "%s %s: exit code %d: %s", e->name, options, p.code, p.error);
    cr_expect_str_eq(p.out, e->prints, "%s %s printed:\n%s%s", e->name, options, p.out, p.error);
    tine_program_fini(&p);
}

static void run_ranks(const struct example *e) {
    tine_program p = tine_program_run(
        50, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe --bind-to none -n 3 $B/%s",
        tine_mpirun_root(), e->name);
    cr_expect_eq(p.code, 0, "%s: exit code %d: %s", e->name, p.code, p.error);
    cr_expect_str_eq(p.out, e->prints, "%s printed:\n%s%s", e->name, p.out, p.error);
    tine_program_fini(&p);
}

static void run_all(const char *options) {
    for (int i = 0; i < EXAMPLES; i++) run(&examples[i], options);
}

Test(examples, with_one_worker, .timeout = 100) { run_all("--tine-workers=1"); }
Test(examples, with_two_workers, .timeout = 100) { run_all("--tine-workers=2"); }
Test(examples, over_inproc, .timeout = 100) {
    run_all("--tine-workers=2 --tine-endpoint=inproc://examples");
}
Test(examples, over_mpi, .timeout = 150) {
    tine_need_mpirun();
    tine_ranks_check_leaks_themselves();
    for (int i = 0; i < EXAMPLES; i++) run_ranks(&examples[i]);
}
Test(examples, over_tcp, .timeout = 100) {
    run_all("--tine-workers=2 --tine-endpoint=tcp://127.0.0.1:0");
}

/* No machine has the address space for the stacks of a recursion so deep. */
Test(examples, a_failure_is_in_the_exit_status, .timeout = 60) {
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    cr_skip_test("a sanitizer's shadow of these stacks takes minutes");
#endif
    tine_program p = tine_program_run(
        50, "TINE_STACK_SIZE=1T TINE_LOG_LEVEL=error exec $B/04_fibonacci 300 --tine-workers=1");
    cr_expect_eq(p.code, 1, "exit code %d: %s%s", p.code, p.out, p.error);
    cr_expect(strstr(p.error, "set TINE_STACK_SIZE to smaller stacks"), "%s", p.error);
    tine_program_fini(&p);
}

Test(examples, every_file_is_run_here, .timeout = 10) {
    DIR *d = opendir("launch/examples");
    int sources = 0;
    cr_assert(d);
    for (struct dirent *e; (e = readdir(d));) sources += strstr(e->d_name, ".c") != NULL;
    closedir(d);
    cr_expect_eq(sources, EXAMPLES);
}

Test(examples, errors_name_function_worker_and_cause, .timeout = 40) {
    tine_program p = tine_program_run(30, "$B/06_errors --tine-workers=1");
    cr_expect(strstr(p.error, "halve"), "%s", p.error);
    cr_expect(strstr(p.error, "7 is odd"), "%s", p.error);
    cr_expect(strstr(p.error, "worker"), "%s", p.error);
    cr_expect(strstr(p.error, "quarter"), "%s", p.error);
    cr_expect(strstr(p.error, "unexpected keyword argument 'odd'"), "%s", p.error);
    tine_program_fini(&p);
}
