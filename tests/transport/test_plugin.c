/* Where a transport module is loaded from: never from the current directory, however the program
 * was found. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/program.h"
#include "transport/base/process.h"

#define IN_NEW_DIRECTORY                                                                           \
    "B=$(realpath $B); d=$(mktemp -d); trap 'rm -rf $d' EXIT; cd $d; unset TINE_MODULE_DIR; "

Test(plugin, the_current_directory_is_not_searched, .timeout = 60) {
    static const char *const ways[] = {
        /* found through PATH: the program knows itself by a bare name */
        "touch tine; PATH=$B:$PATH tine info",
        "ln -s $B/tine nice; ./nice info",
        "mkdir in; cp libtine-mpi.so in; cd in; touch tine; PATH=$B:$PATH tine info",
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        tine_program p =
            tine_program_run(20, IN_NEW_DIRECTORY "echo > libtine-mpi.so; echo $d; %s", ways[i]);
        cr_expect_eq(p.code, 0, "%s", p.error);
        char *end = strchr(p.out, '\n');
        cr_assert_not_null(end);
        *end = 0;
        cr_expect_null(strstr(end + 1, p.out), "%s: it was tried:\n%s", ways[i], end + 1);
        cr_expect_null(strstr(end + 1, "cannot be loaded"), "%s: %s", ways[i], end + 1);
        cr_expect_not_null(strstr(end + 1, "mpi://"), "%s: %s", ways[i], end + 1);
        tine_program_fini(&p);
    }
}

Test(plugin, the_file_of_an_address_is_absolute, .timeout = 20) {
    char path[PATH_MAX], executable[PATH_MAX];
    cr_assert(tine_process_file_of((const void *)tine_process_file_of, path, sizeof path));
    cr_assert(tine_process_executable(executable, sizeof executable));
    cr_expect_str_eq(path, executable, "the library is a part of this program");
    cr_expect(tine_process_file_of((const void *)abort, path, sizeof path) && path[0] == '/');
    cr_expect_neq(strcmp(path, executable), 0, "of the C library");
    cr_expect_not(tine_process_file_of(&(int){0}, path, sizeof path), "the stack has no file");
    cr_expect_not(tine_process_file_of((const void *)abort, path, 3));
}
