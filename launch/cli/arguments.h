/* Options of the subcommands: one table per subcommand drives parsing, --help, the manual pages
 * (`--help=man`) and the completion of shells (`--help=words`).
 *
 * An option that is a setting of the library (--workers, --endpoint, --trace) becomes
 * --tine-NAME=VALUE, which tine_init checks. So it overrides TINE_NAME and is refused with the same
 * message. */
#ifndef TINE_LAUNCH_CLI_ARGUMENTS_H
#define TINE_LAUNCH_CLI_ARGUMENTS_H

#include <stdbool.h>

typedef struct tine_option {
    const char *name;  /* "--repeat" */
    const char *value; /* "R", for the help; NULL: a flag */
    const char *help;
    enum {
        TINE_OPTION_FLAG,
        TINE_OPTION_NUMBER,
        TINE_OPTION_TEXT,
        TINE_OPTION_PAIRS,
        TINE_OPTION_SETTING
    } type;
    void *target; /* bool, long, const char *, tine_option_pairs; none for a setting */
    long min, max;
} tine_option;

/* An option that is followed by a name and a value, as often as it is given. */
enum { TINE_OPTION_PAIRS_MAX = 16 };
typedef struct tine_option_pairs {
    const char *items[TINE_OPTION_PAIRS_MAX][2];
    int n;
} tine_option_pairs;

/* Rows of settings that several subcommands offer. */
#define TINE_OPTION_WORKERS                                                                        \
    {                                                                                              \
        "--workers", "N", "worker processes (default: one per core)", TINE_OPTION_SETTING, NULL,   \
            0, 0                                                                                   \
    }
#define TINE_OPTION_ENDPOINT                                                                       \
    {                                                                                              \
        "--endpoint", "URL", "ipc://PATH, tcp://HOST:PORT, inproc://NAME or mpi://",               \
            TINE_OPTION_SETTING, NULL, 0, 0                                                        \
    }
#define TINE_OPTION_TRACE                                                                          \
    { "--trace", "FILE", "write a Chrome trace of all processes", TINE_OPTION_SETTING, NULL, 0, 0 }

/* The first operand is a program: what follows is its own. Settings are not for such a command. */
enum { TINE_OPERANDS_PROGRAM = -2 };

typedef struct tine_usage {
    const char *name;               /* "ensemble" */
    const char *operands;           /* "FILE.safetensors…"; "" for none */
    const char *text;               /* what it does, a few lines */
    const tine_option *options;     /* ends with a zeroed one */
    int operands_min, operands_max; /* -1: any number; or TINE_OPERANDS_PROGRAM */
} tine_usage;

/* Parses argv[1…] and leaves argv[0], the operands, and the --tine-… arguments, which tine_init
 * removes. Returns -1 to continue, else the exit code: 0 after --help, 2 after an error message. */
int tine_arguments_parse(const tine_usage *usage, int *argc, char **argv);

/* Text in the source of a manual page: nothing in it is a command of roff. */
void tine_man_text(const char *text);

/* Under a launcher every rank runs the same command line: only the first one prints. */
bool tine_first_rank(void);
/* Prints "tine COMMAND: SENTENCE" on standard error, in a job once. Returns `code`. */
int tine_command_refuse(const char *command, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
