/* tine_options.worker_command: what starts a worker instead of this process's own command line. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/cluster.h"

TINE_FUNCTION(command_line, "") {
    char text[4096] = "";
    FILE *f = fopen("/proc/self/cmdline", "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    for (size_t i = 0; i + 1 < n; i++)
        if (!text[i]) text[i] = '|';
    return task ? tine_string(text) : NULL;
}

static const char *this_program(void) {
    static char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    cr_assert_gt(n, 0);
    path[n] = 0;
    return path;
}

Test(worker_command, starts_a_worker, .timeout = 20) {
    const char *command[] = {this_program(), "two words", "", NULL};
    cluster_start_with(&(tine_options){.workers = 1, .worker_command = command});
    command[1] = "read during tine_init alone";
    char expected[PATH_MAX + 16];
    snprintf(expected, sizeof expected, "%s|two words|", command[0]);
    tine_value *line = cluster_take(tine_fork("command_line"));
    cr_assert_str_eq(tine_as_string(line), expected);
    tine_release(line);
    cluster_stop();
}

Test(worker_command, that_is_missing_is_named, .timeout = 20) {
    const char *command[] = {"/nowhere/python3", NULL};
    tine_error e = tine_init(NULL, NULL, &(tine_options){.workers = 1, .worker_command = command});
    cr_assert_eq(e, TINE_EIO);
    cr_assert(strstr(tine_error_message(), "/nowhere/python3"), "%s", tine_error_message());
}
