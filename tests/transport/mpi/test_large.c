/* A tensor past 2^31 bytes over mpi://, in an executable of its own for the time it takes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/mpirun.h"

static long available_gib(void) {
    char line[128];
    long kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %ld kB", &kib) == 1) break;
    if (f) fclose(f);
    return kib >> 20;
}

Test(mpi_large, three_gib_there_and_back, .timeout = 110) {
    tine_need_mpirun();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("a sanitizer's shadow of 9 GiB does not fit");
#endif
    if (available_gib() < 12)
        cr_skip_test("needs 12 GiB of memory, %ld are available", available_gib());
    tine_program p = tine_program_run(
        100, "TINE_MODULE_DIR=$B exec mpirun %s --oversubscribe --bind-to none -n 2 $B/mpi/large 3",
        tine_mpirun_root());
    cr_expect_eq(p.code, 0, "exit code %d: %s%s", p.code, p.out, p.error);
    const char *said = strstr(p.out, "3221225472 bytes there and back, 0 words wrong, ");
    cr_assert(said, "%s%s", p.out, p.error);
    long at_once = strtol(strrchr(said, ',') + 1, NULL, 10);
    cr_expect(at_once > 0 && at_once <= 2 << 20, "one turn could move %ld bytes", at_once);
    tine_program_fini(&p);
}
