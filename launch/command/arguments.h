/* The command's options: one table a subcommand drives parsing and --help.
 *
 * An option that is a setting of the library (--workers, --endpoint, --trace) is handed on to
 * tine_init as --tine-NAME=VALUE, which checks it: so it stands over TINE_NAME, and is refused by
 * the same words. */
#ifndef TINE_LAUNCH_COMMAND_ARGUMENTS_H
#define TINE_LAUNCH_COMMAND_ARGUMENTS_H

#include <stdbool.h>

typedef struct tine_option {
    const char *name;  /* "--repeat" */
    const char *value; /* "R" in the help; NULL: a flag */
    const char *help;
    enum { TINE_OPTION_FLAG, TINE_OPTION_NUMBER, TINE_OPTION_TEXT, TINE_OPTION_SETTING } type;
    void *target; /* bool, long, const char *; none for a setting */
    long min, max;
} tine_option;

typedef struct tine_usage {
    const char *name;               /* "ensemble" */
    const char *operands;           /* "FILE.safetensors…"; "" for none */
    const char *text;               /* what it does, a few lines */
    const tine_option *options;     /* ends with a zeroed one */
    int operands_min, operands_max; /* -1: any number */
} tine_usage;

/* Parses argv[1…]. What remains in argv: argv[0], the operands, and the --tine-… arguments, which
 * tine_init removes. Returns -1 to go on, else the exit code: 0 after --help, 2 after a sentence
 * about what is wrong. */
int tine_arguments_parse(const tine_usage *usage, int *argc, char **argv);

/* Under a launcher every rank runs the same command line: only one of them should talk. */
bool tine_first_rank(void);

#endif
