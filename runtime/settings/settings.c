/* Settings. See settings.h.
 *
 * Everything is read from one table: a row says where the field lies in tine_settings and in
 * tine_options, what may stand in it, and whether spawned workers are told. Sources are applied in
 * order, each over the last; only what was checked is stored. */
#include "runtime/settings/settings.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/log.h"
#include "runtime/value/state.h"

extern char **environ;

typedef enum setting_type { TYPE_TEXT, TYPE_INT, TYPE_SIZE, TYPE_SECONDS, TYPE_LEVEL } setting_type;

typedef struct setting {
    const char *name, *variable, *help;
    setting_type type;
    bool forwarded;
    size_t in_settings, in_options;
    double least, most, standard; /* exact: all are below 2^53 */
} setting;

#define FIELD(f) offsetof(tine_settings, f), offsetof(tine_options, f)
#define KIB 1024.0
#define GIB (1024.0 * 1024 * 1024)
#define TIB (1024.0 * GIB)
#define LONGEST_VALUE 4096
#define WORKERS_AT_ALL 4096

/* `workers` and `await_workers` have no standard of their own: see fill_in. */
static const setting settings[] = {
    {"endpoint", "TINE_ENDPOINT",
     "where workers join: ipc://PATH, tcp://HOST:PORT, inproc://NAME or mpi://", TYPE_TEXT, false,
     FIELD(endpoint), 0, 0, 0},
    {"workers", "TINE_WORKERS", "workers to start here; 0: none, they join by themselves", TYPE_INT,
     false, FIELD(workers), 0, WORKERS_AT_ALL, 0},
    {"await-workers", "TINE_AWAIT_WORKERS", "wait at start until so many have joined", TYPE_INT,
     false, FIELD(await_workers), 0, WORKERS_AT_ALL, 0},
    {"threads", "TINE_THREADS", "BLAS threads of one worker", TYPE_INT, true, FIELD(threads), 1,
     1024, 1},
    {"stack-size", "TINE_STACK_SIZE", "bytes of a task's stack", TYPE_SIZE, true, FIELD(stack_size),
     16 * KIB, TIB, 256 * KIB},
    {"max-pending", "TINE_MAX_PENDING", "tasks not yet started past which fork waits", TYPE_SIZE,
     true, FIELD(max_pending), 1, TIB, 65536},
    {"max-pending-bytes", "TINE_MAX_PENDING_BYTES",
     "bytes of their arguments past which fork waits", TYPE_SIZE, true, FIELD(max_pending_bytes), 1,
     1024 * TIB, GIB},
    {"max-frame", "TINE_MAX_FRAME", "bytes of one message past which a peer is dropped", TYPE_SIZE,
     true, FIELD(max_frame), 64 * KIB, 1024 * TIB, 64 * GIB},
    {"retries", "TINE_RETRIES", "further attempts of a task that is safe to repeat", TYPE_INT, true,
     FIELD(retries), 0, 1000, 3},
    {"connect-timeout", "TINE_CONNECT_TIMEOUT", "seconds to wait for workers at start",
     TYPE_SECONDS, true, FIELD(connect_timeout), 0.001, 86400, 30},
    {"heartbeat", "TINE_HEARTBEAT", "seconds between signs of life of remote workers", TYPE_SECONDS,
     true, FIELD(heartbeat), 0.01, 3600, 1},
    {"log-level", "TINE_LOG_LEVEL", "error, warn, info or debug", TYPE_LEVEL, true,
     FIELD(log_level), TINE_LOG_ERROR, TINE_LOG_DEBUG, TINE_LOG_WARN},
    {"trace", "TINE_TRACE", "write a Chrome trace here at shutdown", TYPE_TEXT, false, FIELD(trace),
     0, 0, 0},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };
_Static_assert((int)N_SETTINGS <= (int)TINE_SETTINGS_MAX,
               "tine_settings.origin has a place for every row");

/* TINE_ variables that are not settings. */
static const char *const internal_variables[] = {"TINE_WORKER", "TINE_TOKEN", "TINE_LIFELINE",
                                                 "TINE_KERNEL"};

static void *field(const tine_settings *s, const setting *row) {
    return (char *)s + row->in_settings;
}

/* ---- text to numbers, strictly ---- */

static bool parse_digits(const char **p, uint64_t *out) {
    uint64_t x = 0;
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        if (x > (UINT64_MAX - 9) / 10) return false;
        x = x * 10 + (uint64_t)(**p - '0');
    }
    *out = x;
    return *p > start;
}

static bool parse_size(const char *text, double *out) {
    static const char suffixes[] = "KMGT";
    uint64_t x;
    if (!parse_digits(&text, &x)) return false;
    const char *suffix = *text ? strchr(suffixes, *text & ~0x20) : NULL;
    unsigned shift = suffix ? (unsigned)(suffix - suffixes + 1) * 10 : 0;
    if (suffix) text++;
    if (*text || x > (UINT64_C(1) << 52) >> shift) return false;
    *out = (double)(x << shift);
    return true;
}

/* Digits, perhaps a point and digits: strtod would follow the program's locale, and take
 * hexadecimal and "nan". */
static bool parse_seconds(const char *text, double *out) {
    uint64_t whole, fraction = 0;
    if (!parse_digits(&text, &whole)) return false;
    double x = (double)whole;
    if (*text == '.') {
        const char *start = ++text;
        if (!parse_digits(&text, &fraction)) return false;
        double scale = 1;
        for (const char *p = start; p < text; p++) scale *= 10;
        x += (double)fraction / scale;
    }
    *out = x;
    return *text == 0;
}

static bool parse_number(const setting *row, const char *text, double *out) {
    uint64_t whole;
    switch (row->type) {
    case TYPE_SIZE: return parse_size(text, out);
    case TYPE_SECONDS: return parse_seconds(text, out);
    case TYPE_LEVEL: *out = tine_log_level_parse(text); return *out >= 0;
    default:
        if (!parse_digits(&text, &whole) || *text || whole > INT32_MAX) return false;
        *out = (double)whole;
        return true;
    }
}

/* ---- numbers to text ---- */

static void size_text(double x, char *out, size_t room) {
    static const char suffixes[] = "TGMK";
    uint64_t n = (uint64_t)x;
    for (int i = 0; i < 4; i++) {
        unsigned shift = (unsigned)(4 - i) * 10;
        if (n >> shift && !(n & ((UINT64_C(1) << shift) - 1))) {
            snprintf(out, room, "%llu%c", (unsigned long long)(n >> shift), suffixes[i]);
            return;
        }
    }
    snprintf(out, room, "%llu", (unsigned long long)n);
}

static void seconds_text(double x, char *out, size_t room) {
    unsigned long long micros = (unsigned long long)(x * 1e6 + 0.5);
    int n = snprintf(out, room, "%llu.%06llu", micros / 1000000, micros % 1000000);
    while (n > 0 && out[n - 1] == '0') out[--n] = 0;
    if (n > 0 && out[n - 1] == '.') out[--n] = 0;
}

static void number_text(const setting *row, double x, char *out, size_t room) {
    switch (row->type) {
    case TYPE_SIZE: size_text(x, out, room); break;
    case TYPE_SECONDS: seconds_text(x, out, room); break;
    case TYPE_LEVEL: snprintf(out, room, "%s", tine_log_level_name((int)x)); break;
    default: snprintf(out, room, "%d", (int)x); break;
    }
}

static double number_get(const tine_settings *s, const setting *row) {
    const void *p = field(s, row);
    switch (row->type) {
    case TYPE_SIZE: return (double)*(const size_t *)p;
    case TYPE_SECONDS: return *(const double *)p;
    default: return *(const int *)p;
    }
}

static void number_put(tine_settings *s, const setting *row, double x) {
    void *p = field(s, row);
    switch (row->type) {
    case TYPE_SIZE: *(size_t *)p = (size_t)x; break;
    case TYPE_SECONDS: *(double *)p = x; break;
    default: *(int *)p = (int)x; break;
    }
}

/* ---- one value from one source ---- */

static tine_error refuse(const setting *row, const char *source, const char *text) {
    char least[32], most[32];
    number_text(row, row->least, least, sizeof least);
    number_text(row, row->most, most, sizeof most);
    switch (row->type) {
    case TYPE_TEXT:
        return tine_error_set(TINE_EINVAL, "%s: a text of %zu bytes; expected fewer than %d",
                              source, strlen(text), LONGEST_VALUE);
    case TYPE_LEVEL:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected error, warn, info or debug", source,
                              text);
    case TYPE_SIZE:
        return tine_error_set(TINE_EINVAL,
                              "%s=%s: expected a whole number from %s to %s (K, M, G, T: 1024s)",
                              source, text, least, most);
    case TYPE_SECONDS:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected seconds from %s to %s", source, text,
                              least, most);
    default:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected a whole number from %s to %s", source,
                              text, least, most);
    }
}

static tine_error put_string(tine_settings *s, const setting *row, const char *text,
                             const char *source) {
    if (strlen(text) >= LONGEST_VALUE) return refuse(row, source, text);
    char **to = field(s, row), *copy = NULL;
    if (*text && !(copy = strdup(text)))
        return tine_error_set(TINE_ENOMEM, "no memory for %s", source);
    free(*to);
    *to = copy;
    return TINE_OK;
}

/* `source` is what the user wrote to the left of "=". */
static tine_error put_text(tine_settings *s, const setting *row, const char *text,
                           const char *source, const char *origin) {
    double x;
    if (row->type == TYPE_TEXT) {
        tine_error e = put_string(s, row, text, source);
        if (e) return e;
    } else if (!parse_number(row, text, &x) || x < row->least || x > row->most) {
        return refuse(row, source, text);
    } else {
        number_put(s, row, x);
    }
    s->origin[row - settings] = origin;
    return TINE_OK;
}

/* In the struct zero means the default; of a number that may be zero, -1 means zero. */
static tine_error put_option(tine_settings *s, const setting *row, const tine_options *options) {
    const void *p = (const char *)options + row->in_options;
    char source[64], text[64];
    snprintf(source, sizeof source, "tine_options.%s", row->variable + strlen("TINE_"));
    for (char *c = source + strlen("tine_options."); *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c | 0x20);
    if (row->type == TYPE_TEXT || row->type == TYPE_LEVEL) {
        const char *given = *(const char *const *)p;
        return given && *given ? put_text(s, row, given, source, "program") : TINE_OK;
    }
    double x = row->type == TYPE_SIZE      ? (double)*(const size_t *)p
               : row->type == TYPE_SECONDS ? *(const double *)p
                                           : *(const int *)p;
    if (x == 0) return TINE_OK;
    if (x == -1 && row->type == TYPE_INT && row->least == 0) x = 0;
    if (!(x >= row->least && x <= row->most)) {
        snprintf(text, sizeof text, "%.15g", x);
        return refuse(row, source, text);
    }
    number_put(s, row, x);
    s->origin[row - settings] = "program";
    return TINE_OK;
}

/* ---- the sources ---- */

static tine_error from_environment(tine_settings *s) {
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        const char *text = getenv(row->variable);
        if (!text || !*text) continue;
        tine_error e = put_text(s, row, text, row->variable, "environment");
        if (e) return e;
    }
    const char *worker = getenv("TINE_WORKER"), *token = getenv("TINE_TOKEN");
    if (worker && !(s->worker = strdup(worker)))
        return tine_error_set(TINE_ENOMEM, "no memory for TINE_WORKER");
    if (!(s->token = strdup(token ? token : "")))
        return tine_error_set(TINE_ENOMEM, "no memory for TINE_TOKEN");
    return TINE_OK;
}

/* How many letters to change, insert or drop to get from a to b; only the first 31 of each
 * count. */
static unsigned distance(const char *a, size_t n, const char *b) {
    unsigned row[32];
    size_t m = strnlen(b, 31);
    if (n > 31) n = 31;
    for (unsigned j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            unsigned least = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < least ? change : least;
        }
    }
    return row[m];
}

static tine_error unknown_argument(const char *argument, const char *name, size_t n) {
    const setting *nearest = &settings[0];
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        if (n > 0 && strncmp(name, row->name, n) == 0) { /* cut short */
            nearest = row;
            break;
        }
        if (distance(name, n, row->name) < distance(name, n, nearest->name)) nearest = row;
    }
    return tine_error_set(TINE_EINVAL, "%s: no such setting; the nearest is --tine-%s=VALUE",
                          argument, nearest->name);
}

static tine_error from_argument(tine_settings *s, const char *argument) {
    const char *name = argument + strlen("--tine-");
    size_t n = strcspn(name, "=");
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        if (strlen(row->name) != n || memcmp(row->name, name, n) != 0) continue;
        char source[64];
        snprintf(source, sizeof source, "--tine-%s", row->name);
        if (name[n] != '=')
            return tine_error_set(TINE_EINVAL, "%s: expected %s=VALUE", argument, source);
        return put_text(s, row, name + n + 1, source, "command line");
    }
    return unknown_argument(argument, name, n);
}

static bool is_ours(const char *argument) {
    return strncmp(argument, "--tine-", strlen("--tine-")) == 0;
}

static tine_error from_arguments(tine_settings *s, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        tine_error e = is_ours(argv[i]) ? from_argument(s, argv[i]) : TINE_OK;
        if (e) return e;
    }
    return TINE_OK;
}

static void remove_arguments(int *argc, char **argv) {
    int kept = 1, i = 1;
    for (; i < *argc && strcmp(argv[i], "--") != 0; i++)
        if (!is_ours(argv[i])) argv[kept++] = argv[i];
    while (i < *argc) argv[kept++] = argv[i++];
    argv[kept] = NULL;
    *argc = kept;
}

static void fill_in(tine_settings *s) {
    const char **workers = NULL, **await = NULL;
    for (size_t i = 0; i < N_SETTINGS; i++) {
        if (settings[i].in_settings == offsetof(tine_settings, workers)) workers = &s->origin[i];
        if (settings[i].in_settings == offsetof(tine_settings, await_workers))
            await = &s->origin[i];
    }
    if (!*workers) {
        int n = tine_cores_available() / s->threads;
        s->workers = n < 1 ? 1 : n > WORKERS_AT_ALL ? WORKERS_AT_ALL : n;
    }
    if (!*await) s->await_workers = s->workers;
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (!s->origin[i]) s->origin[i] = "default";
}

tine_error tine_settings_resolve(tine_settings *out, const tine_options *options, int *argc,
                                 char **argv) {
    tine_settings s = {0};
    tine_error e = TINE_OK;
    for (const setting *row = settings; row < settings + N_SETTINGS; row++)
        if (row->type != TYPE_TEXT) number_put(&s, row, row->standard);
    for (const setting *row = settings; options && !e && row < settings + N_SETTINGS; row++)
        e = put_option(&s, row, options);
    if (!e) e = from_environment(&s);
    if (!e && argc && argv) e = from_arguments(&s, *argc, argv);
    if (e) {
        tine_settings_fini(&s);
        return e;
    }
    fill_in(&s);
    if (argc && argv && *argc > 0) remove_arguments(argc, argv);
    *out = s;
    return TINE_OK;
}

void tine_settings_fini(tine_settings *s) {
    free(s->endpoint);
    free(s->trace);
    free(s->worker);
    free(s->token);
    *s = (tine_settings){0};
}

/* ---- telling ---- */

static bool is_known_variable(const char *variable, size_t n) {
    for (const setting *row = settings; row < settings + N_SETTINGS; row++)
        if (strlen(row->variable) == n && memcmp(row->variable, variable, n) == 0) return true;
    for (size_t i = 0; i < sizeof internal_variables / sizeof *internal_variables; i++)
        if (strlen(internal_variables[i]) == n && memcmp(internal_variables[i], variable, n) == 0)
            return true;
    return false;
}

void tine_settings_warn_unknown(void) {
    for (char **v = environ; v && *v; v++) {
        size_t n = strcspn(*v, "=");
        if (strncmp(*v, "TINE_", strlen("TINE_")) == 0 && !is_known_variable(*v, n))
            tine_log(TINE_LOG_INFO, "the variable %.*s is none of Tine's", (int)n, *v);
    }
}

size_t tine_settings_rows(const tine_settings *s, tine_setting_row *out, size_t room) {
    for (size_t i = 0; i < N_SETTINGS && i < room; i++) {
        const setting *row = &settings[i];
        out[i] = (tine_setting_row){.name = row->name,
                                    .variable = row->variable,
                                    .help = row->help,
                                    .origin = s->origin[i] ? s->origin[i] : "default"};
        if (row->type != TYPE_TEXT) {
            number_text(row, number_get(s, row), out[i].value, sizeof out[i].value);
        } else {
            char *const *text = field(s, row);
            snprintf(out[i].value, sizeof out[i].value, "%s", *text ? *text : "");
        }
    }
    return N_SETTINGS;
}

char **tine_settings_forward(const tine_settings *s) {
    char **list = calloc(N_SETTINGS + 1, sizeof *list);
    if (!list) return NULL;
    size_t n = 0;
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        if (!row->forwarded) continue;
        char value[64];
        number_text(row, number_get(s, row), value, sizeof value);
        if (asprintf(&list[n], "%s=%s", row->variable, value) < 0) {
            list[n] = NULL;
            tine_settings_forward_free(list);
            return NULL;
        }
        n++;
    }
    return list;
}

void tine_settings_forward_free(char **environment) {
    if (!environment) return;
    for (char **v = environment; *v; v++) free(*v);
    free(environment);
}
