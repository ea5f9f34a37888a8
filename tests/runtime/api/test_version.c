/* The version is the same in the header, in the library and in what `make` names files by. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "runtime/tine.h"
#include "tests/support/program.h"

Test(version, header_and_library_agree, .timeout = 10) {
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", TINE_VERSION_MAJOR, TINE_VERSION_MINOR,
             TINE_VERSION_PATCH);
    cr_expect_str_eq(TINE_VERSION, text);
    cr_expect_str_eq(tine_version(), text);
}

Test(version, the_build_and_the_command_agree, .timeout = 30) {
    tine_program make = tine_program_run(20, "make -pn help 2>/dev/null | grep '^VERSION :='");
    cr_expect_str_eq(make.out, "VERSION := " TINE_VERSION "\n");
    tine_program_fini(&make);
    tine_program command = tine_program_run(10, "$B/tine --version");
    cr_expect_str_eq(command.out, "tine " TINE_VERSION "\n");
    tine_program_fini(&command);
}
