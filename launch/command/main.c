/* The `tine` command: finds the subcommand and runs it.
 *
 * Local workers are copies of this executable. So main first asks whether this process was started
 * as a worker, before it reads any argument; tine_init does not return then. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "runtime/tine.h"

typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

static int command_bench(int argc, char **argv);
static int command_version(int argc, char **argv);

static const command commands[] = {
    {"ensemble", "time the tutorial's ensemble of LSTMs: sequential, directions, models",
     tine_command_ensemble},
    {"predict", "compute a model exported from PyTorch on workers", tine_command_predict},
    {"verify", "compute models exported from PyTorch on workers and compare", tine_command_verify},
    {"worker", "join a coordinator from another shell or host", tine_command_worker},
    {"supervise", "keep several workers running on this host", tine_command_supervise},
    {"key", "make the key that a coordinator and its workers share over tcp://", tine_command_key},
    {"run", "start a program under mpirun with the right options", tine_command_run},
    {"bench", "measure scaling, fork and wait, small tasks, or the LSTM kernels", command_bench},
    {"top", "show a running job: workers, tasks, queues, functions, failures", tine_command_top},
    {"trace", "say what a trace file shows: functions, workers, the critical path",
     tine_command_trace},
    {"info", "show CPU, kernels, BLAS, transports and settings", tine_command_info},
    {"version", "print the version", command_version},
    {0},
};
static const command benches[] = {
    {"ensemble", "strong and weak scaling of the ensemble over each transport",
     tine_command_bench_ensemble},
    {"fork", "fork and wait: latency, rate and throughput beside the bare transport",
     tine_command_bench_fork},
    {"grain", "the smallest efficient tasks, chains of tasks, nested forks",
     tine_command_bench_grain},
    {"lstm", "LSTM kernels beside the machine's peak and OpenBLAS", tine_command_bench_lstm},
    {0},
};

static int command_version(int argc, char **argv) {
    (void)argc, (void)argv;
    puts("tine " TINE_VERSION);
    return 0;
}

static int commands_list(const char *prefix, const command *table, FILE *to, int code) {
    if (!tine_first_rank()) return code;
    fprintf(to, "usage: tine %sCOMMAND [OPTION...]\n\n", prefix);
    for (const command *c = table; c->name; c++)
        fprintf(to, "  tine %s%-10s %s\n", prefix, c->name, c->summary);
    fprintf(to, "\n`tine %sCOMMAND --help` lists the options of a command.\n", prefix);
    return code;
}

static int commands_words(const command *table) {
    for (const command *c = table; c->name; c++) puts(c->name);
    return 0;
}

/* The first lines of a manual page: "tine-bench-fork - fork and wait: …". */
static void man_name(const char *prefix, const char *name, const char *summary) {
    char page[64];
    snprintf(page, sizeof page, "tine%s%s%s", *prefix || *name ? "-" : "", prefix, name);
    for (char *c = page; *c; c++)
        if (*c == ' ') *c = '-';
    if (!*name && *prefix) page[strlen(page) - 1] = 0;
    printf(".TH %s 1 \"\" \"tine " TINE_VERSION "\" \"Tine\"\n.SH NAME\n", page);
    tine_man_text(page);
    printf(" \\- ");
    tine_man_text(summary);
    putchar('\n');
}

static int commands_man(const char *prefix, const command *table, const char *summary) {
    man_name(prefix, "", summary);
    printf(".SH SYNOPSIS\n.B tine %sCOMMAND\n[options]\n.SH COMMANDS\n", prefix);
    for (const command *c = table; c->name; c++) {
        printf(".TP\n.B %s\n", c->name);
        tine_man_text(c->summary);
        putchar('\n');
    }
    printf(".SH SEE ALSO\n");
    for (const command *c = table; c->name; c++)
        if (c->run != command_version)
            printf(".BR tine\\-%.*s%s%s (1)%s\n", (int)strcspn(prefix, " "), prefix,
                   *prefix ? "\\-" : "", c->name,
                   c[1].name && c[1].run != command_version ? "," : "");
    return 0;
}

static int command_dispatch(const char *prefix, const char *summary, const command *table, int argc,
                            char **argv) {
    if (argc < 2) return commands_list(prefix, table, stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return commands_list(prefix, table, stdout, 0);
    if (strcmp(argv[1], "--help=words") == 0) return commands_words(table);
    if (strcmp(argv[1], "--help=man") == 0) return commands_man(prefix, table, summary);
    if (strcmp(argv[1], "--version") == 0) return command_version(argc, argv);
    for (const command *c = table; c->name; c++) {
        if (strcmp(c->name, argv[1]) != 0) continue;
        bool page = argc > 2 && strcmp(argv[2], "--help=man") == 0 && c->run != command_bench;
        if (page) man_name(prefix, c->name, c->summary);
        argv[1] = argv[0];
        return c->run(argc - 1, argv + 1);
    }
    if (tine_first_rank())
        fprintf(stderr, "tine: there is no command `%s%s`; see tine %s--help\n", prefix, argv[1],
                prefix);
    return 2;
}

static int command_bench(int argc, char **argv) {
    return command_dispatch("bench ",
                            "measure scaling, fork and wait, small tasks, or the LSTM kernels",
                            benches, argc, argv);
}

/* What the command has printed is its result: without it the command has failed. */
static int output_close(int code) {
    bool failed = ferror(stdout);
    if (fflush(stdout) != 0) failed = true;
    if (!failed || code != 0) return code;
    fprintf(stderr, "tine: standard output could not be written: %s\n", strerror(errno));
    return 1;
}

int main(int argc, char **argv) {
    if (getenv("TINE_WORKER")) {
        if (tine_init(&argc, argv, NULL)) fprintf(stderr, "tine: %s\n", tine_error_message());
        return 1;
    }
    int code = command_dispatch("", "fork and wait across processes", commands, argc, argv);
    return output_close(code);
}
