/* `tine worker ENDPOINT`: a worker in another shell or on another host. It runs until its
 * coordinator ends or is lost. */
#include <stdio.h>
#include <stdlib.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "runtime/tine.h"

int tine_command_worker(int argc, char **argv) {
    static const tine_option options[] = {{0}};
    static const tine_usage usage = {
        "worker",
        "ENDPOINT",
        "Joins the coordinator at ENDPOINT (tcp://HOST:PORT or ipc://PATH) and runs tasks until "
        "it\n"
        "ends. It has the built-in functions and modules. A program with functions of its own is "
        "a\n"
        "worker too: start it with TINE_WORKER=ENDPOINT in its environment.",
        options,
        1,
        1};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if (setenv("TINE_WORKER", argv[1], 1) != 0) {
        perror("tine worker");
        return 1;
    }
    if (tine_init(&argc, argv, NULL)) fprintf(stderr, "tine worker: %s\n", tine_error_message());
    return 1;
}
