/* The `tine` command: finds the subcommand and hands over.
 *
 * Workers on this host are copies of this very executable. So the first thing is to ask the library
 * whether this process was started as one, before any argument is looked at; tine_init does not
 * return then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/command/arguments.h"
#include "launch/command/bench_lstm.h"
#include "launch/command/commands.h"
#include "runtime/tine.h"
typedef struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} command;

static int bench(int argc, char **argv);
static int version(int argc, char **argv);

static const command commands[] = {
    {"ensemble", "the tutorial's ensemble of LSTMs: sequential, directions, models",
     tine_command_ensemble},
    {"verify", "compute exported PyTorch cases on workers and compare", tine_command_verify},
    {"worker", "join a coordinator, from another shell or host", tine_command_worker},
    {"run", "start a program under mpirun, with the right options", tine_command_run},
    {"bench", "measure: `tine bench fork`, `tine bench lstm`", bench},
    {"info", "CPU, kernels, BLAS, transports, settings in force", tine_command_info},
    {"version", "print the version", version},
    {0},
};
static const command benches[] = {
    {"fork", "round trip, task rate and throughput beside the bare transport's",
     tine_command_bench_fork},
    {"lstm", "LSTM kernels beside the machine's peak and OpenBLAS", tine_bench_lstm},
    {0},
};

static int version(int argc, char **argv) {
    (void)argc, (void)argv;
    puts("tine " TINE_VERSION);
    return 0;
}

static int list(const char *prefix, const command *table, FILE *to, int code) {
    if (!tine_first_rank()) return code;
    fprintf(to, "usage: tine %s[command] [options]\n\n", prefix);
    for (const command *c = table; c->name; c++)
        fprintf(to, "  tine %s%-10s %s\n", prefix, c->name, c->summary);
    fprintf(to, "\ntine %s[command] --help tells the options.\n", prefix);
    return code;
}

static int dispatch(const char *prefix, const command *table, int argc, char **argv) {
    if (argc < 2) return list(prefix, table, stderr, 2);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0)
        return list(prefix, table, stdout, 0);
    if (strcmp(argv[1], "--version") == 0) return version(argc, argv);
    for (const command *c = table; c->name; c++) {
        if (strcmp(c->name, argv[1]) != 0) continue;
        argv[1] = argv[0];
        return c->run(argc - 1, argv + 1);
    }
    if (tine_first_rank())
        fprintf(stderr, "tine: there is no command `%s%s`; see tine %s--help\n", prefix, argv[1],
                prefix);
    return 2;
}

static int bench(int argc, char **argv) { return dispatch("bench ", benches, argc, argv); }

int main(int argc, char **argv) {
    if (getenv("TINE_WORKER")) {
        if (tine_init(&argc, argv, NULL)) fprintf(stderr, "tine: %s\n", tine_error_message());
        return 1;
    }
    return dispatch("", commands, argc, argv);
}
