/* What "of peak" refers to is measured on the workers, and on all of them. */
#include <criterion/criterion.h>
#include <json-c/json.h>

#include "tests/support/program.h"
#include "tests/support/traces.h"

#define SMALL "--models 2 --time 2 --batch 2 --channels 16 --repeat 1"

/* On each worker, while the other does the same. */
Test(peak, is_measured_on_all_workers_at_once, .timeout = 120) {
    char path[] = "/tmp/tine-peak-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    tine_program p =
        tine_program_run(100, "$B/tine ensemble --workers 2 " SMALL " --trace %s", path);
    cr_assert_eq(p.code, 0, "%s%s", p.out, p.error);
    cr_expect(strstr(p.out, "in registers on 2 workers at once"), "%s", p.out);
    tine_program_fini(&p);
    trace t = trace_read(path);
    int pids[2], n_pids = 0, n = 0, beside = 0;
    for (size_t i = 0; i < t.n_slices; i++) {
        const slice *s = &t.slices[i];
        if (strcmp(s->name, "bench_peak") != 0) continue;
        int known = 0;
        while (known < n_pids && pids[known] != s->pid) known++;
        cr_assert_lt(known, 2);
        if (known == n_pids) pids[n_pids++] = s->pid;
        for (size_t k = 0; k < t.n_slices; k++)
            beside += k != i && !strcmp(t.slices[k].name, s->name) && t.slices[k].begin < s->end &&
                      s->begin < t.slices[k].end;
        n++;
    }
    cr_expect_eq(n, 2 * 4, "before and after each of three runs");
    cr_expect_eq(n_pids, 2);
    cr_expect_gt(beside, 0, "they do not run at once");
    trace_close(&t);
    unlink(path);
}

/* A worker that is another program computes, and has no peak. */
Test(peak, is_not_known_where_a_worker_is_another_program, .timeout = 120) {
    tine_program p = tine_program_run(
        100,
        "d=$(mktemp -d); TINE_WORKER=ipc://$d/s $B/01_fork_wait & $B/tine ensemble " SMALL
        " --workers 0 --tine-await-workers=1 --endpoint ipc://$d/s; c=$?; wait; rm -r $d; exit $c");
    cr_expect_eq(p.code, 0, "%s%s", p.out, p.error);
    cr_expect(strstr(p.out, "peak           not known: "), "%s", p.out);
    cr_expect(strstr(p.out, "bench_peak"), "%s", p.out);
    tine_program_fini(&p);
}
