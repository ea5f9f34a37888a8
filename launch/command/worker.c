/* `tine worker ENDPOINT`: a worker in another shell or on another host. It runs until its
 * coordinator ends or is lost, or until SIGTERM or Ctrl-C has it leave. With --python it becomes an
 * interpreter that serves the functions of a module (launch/python/tine/__main__.py). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "runtime/tine.h"

/* Replaces this process; returns where there is no interpreter. --tine-… arguments go along. */
static int worker_become_python(const char *modules, int argc, char **argv) {
    const char **command = calloc((size_t)argc + 6, sizeof *command);
    int n = 0;
    if (!command) {
        perror("tine worker");
        return 1;
    }
    const char *first[] = {"python3", "-m", "tine", "worker", argv[1], modules};
    for (; n < 6; n++) command[n] = first[n];
    for (int i = 2; i < argc; i++) command[n++] = argv[i];
    execvp(command[0], (char **)command);
    fprintf(stderr, "tine worker: cannot start python3: %s\n", strerror(errno));
    free(command);
    return 1;
}

int tine_command_worker(int argc, char **argv) {
    const char *modules = NULL, *key = NULL;
    bool rejoin = false;
    const tine_option options[] = {
        {"--python", "MODULE", "serve the functions of a Python module too; several: A,B",
         TINE_OPTION_TEXT, &modules, 0, 0},
        {"--key", "FILE", "the job's key (`tine key FILE`), where the coordinator needs one",
         TINE_OPTION_TEXT, &key, 0, 0},
        {"--rejoin", NULL,
         "come back after the coordinator, or the connection to it, was lost (TINE_REJOIN=on)",
         TINE_OPTION_FLAG, &rejoin, 0, 0},
        {0}};
    const tine_usage usage = {
        "worker",
        "ENDPOINT",
        "Joins the coordinator at ENDPOINT (tcp://HOST:PORT or ipc://PATH) and runs tasks until "
        "it\n"
        "ends. It has the built-in functions and modules. A program with functions of its own is "
        "a\n"
        "worker too: start it with TINE_WORKER=ENDPOINT in its environment.\n"
        "SIGTERM or Ctrl-C has it leave: it gives back tasks that have not begun, and ends when "
        "the\n"
        "others have, or after TINE_GRACE seconds (25). A second Ctrl-C ends it at once.\n"
        "With --rejoin it does not end when the coordinator, or the connection to it, is lost: it\n"
        "joins again, as a new worker, once it reaches a coordinator at ENDPOINT. It tries at "
        "once,\n"
        "then after a wait that grows to 5 s.",
        options,
        1,
        1};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if ((key && setenv("TINE_KEY_FILE", key, 1) != 0) ||
        (rejoin && setenv("TINE_REJOIN", "on", 1) != 0)) {
        perror("tine worker");
        return 1;
    }
    if (modules) return worker_become_python(modules, argc, argv);
    if (setenv("TINE_WORKER", argv[1], 1) != 0) {
        perror("tine worker");
        return 1;
    }
    if (tine_init(&argc, argv, NULL)) fprintf(stderr, "tine worker: %s\n", tine_error_message());
    return 1;
}
