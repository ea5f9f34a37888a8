/* See arguments.h. */
#include "launch/cli/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/launcher.h"

bool tine_first_rank(void) {
    tine_launcher l;
    return !tine_launcher_rank(&l) || l.rank == 0;
}

static int usage_error(const tine_usage *u, const char *format, const char *a, const char *b) {
    if (!tine_first_rank()) return 2;
    fprintf(stderr, "tine %s: ", u->name);
    fprintf(stderr, format, a, b);
    fprintf(stderr, "; see tine %s --help\n", u->name);
    return 2;
}

static int usage_print(const tine_usage *u) {
    if (!tine_first_rank()) return 0;
    printf("usage: tine %s [options]%s%s\n\n%s\n\noptions:\n", u->name, *u->operands ? " " : "",
           u->operands, u->text);
    for (const tine_option *o = u->options; o->name; o++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", o->name, o->value ? o->value : "");
        printf("  %-20s %s\n", left, o->help);
    }
    printf("  %-20s %s\n", "--help", "print this text");
    printf("\nAll settings that tine info lists are accepted as --tine-NAME=VALUE.\n");
    return 0;
}

static const tine_option *option_find(const tine_usage *u, const char *argument,
                                      const char **value) {
    size_t n = strcspn(argument, "=");
    for (const tine_option *o = u->options; o->name; o++) {
        if (strlen(o->name) != n || strncmp(o->name, argument, n) != 0) continue;
        *value = argument[n] ? argument + n + 1 : NULL;
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
        } else if (strcmp(argv[i], "--") == 0) {
            only_operands = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return usage_print(u);
        } else if (strncmp(argv[i], "--tine-", 7) == 0) {
            keep = argv[i];
        } else {
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
