/* See arguments.h. */
#include "launch/cli/arguments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/launcher.h"

bool tine_first_rank(void) {
    tine_launcher l;
    return !tine_launcher_rank(&l) || l.rank == 0;
}

/* Whether this process says why the command is refused. */
static bool rank_says_why(void) {
    tine_launcher l;
    return !tine_launcher_rank(&l) || tine_launcher_speaks(&l, false);
}

int tine_command_refuse(const char *command, int code, const char *format, ...) {
    va_list args;
    if (!rank_says_why()) return code;
    fprintf(stderr, "tine %s: ", command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return code;
}

static int usage_error(const tine_usage *u, const char *format, const char *a, const char *b) {
    if (!rank_says_why()) return 2;
    fprintf(stderr, "tine %s: ", u->name);
    fprintf(stderr, format, a, b);
    fprintf(stderr, "; see tine %s --help\n", u->name);
    return 2;
}

static bool usage_of_program(const tine_usage *u) {
    return u->operands_max == TINE_OPERANDS_PROGRAM;
}

/* The help is wrapped beside the option. */
static void option_print(const char *option, const char *help) {
    enum { INDENT = 23, COLUMNS = 79 - INDENT };
    printf("  %-*s ", INDENT - 3, option);
    while (strlen(help) > COLUMNS) {
        int n = COLUMNS;
        while (n > 0 && help[n] != ' ') n--;
        if (n == 0) break;
        printf("%.*s\n%*s", n, help, INDENT, "");
        help += n + 1;
    }
    puts(help);
}

static int usage_print(const tine_usage *u) {
    printf("usage: tine %s [options]%s%s\n\n%s\n\noptions:\n", u->name, *u->operands ? " " : "",
           u->operands, u->text);
    for (const tine_option *o = u->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", o->name, o->value ? o->value : "");
        option_print(left, o->help);
    }
    option_print("--help", "print this text");
    if (!usage_of_program(u))
        printf("\nAll settings that tine info lists are accepted as --tine-NAME=VALUE.\n");
    return 0;
}

/* What follows the name in a page of man(1). */
static int usage_man(const tine_usage *u) {
    printf(".SH SYNOPSIS\n.B tine %s\n[options]", u->name);
    printf(*u->operands ? "\n.I " : "");
    tine_man_text(u->operands);
    printf("\n.SH DESCRIPTION\n");
    tine_man_text(u->text);
    printf("\n.SH OPTIONS\n");
    for (const tine_option *o = u->options; o->name; o++) {
        printf(".TP\n.B ");
        tine_man_text(o->name);
        if (o->value) {
            printf(" \\fI");
            tine_man_text(o->value);
            printf("\\fR");
        }
        putchar('\n');
        tine_man_text(o->help);
        putchar('\n');
    }
    printf(".TP\n.B \\-\\-help\nprint a short help\n");
    if (!usage_of_program(u))
        printf(".PP\nAll settings that\n.BR tine-info (1)\nlists are accepted as\n"
               ".BR \\-\\-tine\\-NAME=VALUE .\n");
    return 0;
}

void tine_man_text(const char *text) {
    bool begins = true; /* a line; a dot or an apostrophe there would be a command */
    for (; *text; text++) {
        if (begins && strchr(".'", *text)) fputs("\\&", stdout);
        begins = *text == '\n';
        if (*text == '-')
            fputs("\\-", stdout);
        else if (*text == '\\')
            fputs("\\e", stdout);
        else
            putchar(*text);
    }
}

static int usage_words(const tine_usage *u) {
    for (const tine_option *o = u->options; o->name; o++) puts(o->name);
    puts("--help");
    return 0;
}

/* -1: this argument does not ask for help. */
static int usage_help(const tine_usage *u, const char *argument) {
    int (*form)(const tine_usage *) = strcmp(argument, "--help") == 0         ? usage_print
                                      : strcmp(argument, "-h") == 0           ? usage_print
                                      : strcmp(argument, "--help=man") == 0   ? usage_man
                                      : strcmp(argument, "--help=words") == 0 ? usage_words
                                                                              : NULL;
    if (!form) return -1;
    return tine_first_rank() ? form(u) : 0;
}

/* The value: behind `=`, or behind the letter of a short option ("-n4"); NULL: not in this
 * argument. */
static const tine_option *option_find(const tine_usage *u, const char *argument,
                                      const char **value) {
    bool brief = argument[1] != '-';
    size_t n = brief ? 2 : strcspn(argument, "=");
    for (const tine_option *o = u->options; o->name; o++) {
        if (strlen(o->name) != n || strncmp(o->name, argument, n) != 0) continue;
        *value = argument[n] ? argument + n + !brief : NULL;
        return o;
    }
    return NULL;
}

/* The --tine-… arguments that options became. argv refers to them for the life of the process; the
 * list keeps them reachable, for leak checkers, after tine_init has removed them from argv. */
struct kept {
    struct kept *next;
    char text[];
};
static struct kept *kept_settings;

static char *option_setting_keep(const tine_option *o, const char *value) {
    size_t n = strlen(o->name) + strlen(value) + 16;
    struct kept *k = malloc(sizeof *k + n);
    if (!k) return NULL;
    snprintf(k->text, n, "--tine-%s=%s", o->name + 2, value);
    k->next = kept_settings;
    kept_settings = k;
    return k->text;
}

static int option_assign(const tine_usage *u, const tine_option *o, const char *value) {
    if (o->type == TINE_OPTION_TEXT) {
        *(const char **)o->target = value;
        return -1;
    }
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < o->min || number > o->max) {
        char expected[80];
        snprintf(expected, sizeof expected, "%s: expected a whole number from %ld to %ld", value,
                 o->min, o->max);
        return usage_error(u, "%s=%s", o->name, expected);
    }
    *(long *)o->target = number;
    return -1;
}

static int option_pair_take(const tine_usage *u, const tine_option *o, int argc, char **argv,
                            int *i) {
    tine_option_pairs *pairs = o->target;
    if (*i + 2 >= argc || pairs->n == TINE_OPTION_PAIRS_MAX)
        return usage_error(u, "%s: expected %s, at most 16 times", o->name, o->value);
    pairs->items[pairs->n][0] = argv[*i + 1];
    pairs->items[pairs->n++][1] = argv[*i + 2];
    *i += 2;
    return -1;
}

/* Parses the option at argv[*i] and its value; *keep becomes a setting's --tine-… argument. */
static int option_take(const tine_usage *u, int argc, char **argv, int *i, char **keep) {
    const char *value = NULL;
    const tine_option *o = option_find(u, argv[*i], &value);
    if (!o) return usage_error(u, "unknown option %s%s", argv[*i], "");
    if (o->type == TINE_OPTION_FLAG) {
        if (value) return usage_error(u, "%s takes no value%s", o->name, "");
        *(bool *)o->target = true;
        return -1;
    }
    if (o->type == TINE_OPTION_PAIRS && !value) return option_pair_take(u, o, argc, argv, i);
    if (o->type == TINE_OPTION_PAIRS) return usage_error(u, "%s: expected %s", o->name, o->value);
    if (!value && *i + 1 < argc) value = argv[++*i];
    if (!value) return usage_error(u, "%s needs a value: %s", o->name, o->value);
    if (o->type != TINE_OPTION_SETTING) return option_assign(u, o, value);
    *keep = option_setting_keep(o, value);
    return *keep ? -1 : usage_error(u, "no memory%s%s", "", "");
}

int tine_arguments_parse(const tine_usage *u, int *argc, char **argv) {
    int kept = 1, operands = 0;
    bool only_operands = false;
    for (int i = 1; i < *argc; i++) {
        char *keep = NULL;
        int code = -1;
        if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0') {
            keep = argv[i];
            operands++;
            only_operands = only_operands || usage_of_program(u);
        } else if (strcmp(argv[i], "--") == 0) {
            only_operands = true;
        } else if (strncmp(argv[i], "--tine-", 7) == 0 && !usage_of_program(u)) {
            keep = argv[i];
        } else if ((code = usage_help(u, argv[i])) < 0) {
            code = option_take(u, *argc, argv, &i, &keep);
        }
        if (code >= 0) return code;
        if (keep) argv[kept++] = keep;
    }
    argv[kept] = NULL;
    *argc = kept;
    if (operands < u->operands_min) return usage_error(u, "expected %s%s", u->operands, "");
    if (u->operands_max >= 0 && operands > u->operands_max)
        return usage_error(u, "unexpected argument %s%s", argv[1 + u->operands_max], "");
    return -1;
}
