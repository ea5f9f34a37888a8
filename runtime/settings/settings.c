/* Settings. See settings.h.
 *
 * One table drives everything: a row says where the field lies in tine_settings and tine_options,
 * which values are valid, and whether spawned workers inherit it. The sources are applied in order,
 * each overriding the one before; only valid values are stored. */
#include "runtime/settings/settings.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/settings/cores.h"
#include "runtime/settings/memory.h"
#include "runtime/settings/number.h"
#include "runtime/value/error.h"
#include "runtime/wire/resources.h"
#include "transport/base/log.h"
#include "transport/base/text.h"

extern char **environ;

typedef struct setting {
    const char *name, *variable, *help;
    tine_setting_type type;
    bool forwarded;
    size_t in_settings, in_options;
    double least, most, standard; /* exact: all are below 2^53 */
} setting;

#define FIELD(f) offsetof(tine_settings, f), offsetof(tine_options, f)
#define KIB 1024.0
#define GIB (1024.0 * 1024 * 1024)
#define TIB (1024.0 * GIB)
#define MAX_TEXT 4096
#define MAX_WORKERS 4096

/* The defaults of `workers`, `await_workers`, `max_memory` and `arena` follow: see
 * settings_complete. */
static const setting settings[] = {
    {"endpoint", "TINE_ENDPOINT",
     "where workers join: ipc://PATH, tcp://HOST:PORT, inproc://NAME or mpi://", TINE_SETTING_TEXT,
     false, FIELD(endpoint), 0, 0, 0},
    {"workers", "TINE_WORKERS", "workers to start here; 0: none, they join by themselves",
     TINE_SETTING_INT, false, FIELD(workers), 0, MAX_WORKERS, 0},
    {"await-workers", "TINE_AWAIT_WORKERS", "wait at start until so many have joined",
     TINE_SETTING_INT, false, FIELD(await_workers), 0, MAX_WORKERS, 0},
    {"threads", "TINE_THREADS", "BLAS threads of one worker", TINE_SETTING_INT, true,
     FIELD(threads), 1, 1024, 1},
    {"stack-size", "TINE_STACK_SIZE", "bytes of a task's stack", TINE_SETTING_SIZE, true,
     FIELD(stack_size), 16 * KIB, TIB, 256 * KIB},
    {"max-pending", "TINE_MAX_PENDING", "tasks not yet started past which fork waits",
     TINE_SETTING_SIZE, true, FIELD(max_pending), 1, TIB, 131072},
    {"max-pending-bytes", "TINE_MAX_PENDING_BYTES",
     "bytes of their arguments past which fork waits", TINE_SETTING_SIZE, true,
     FIELD(max_pending_bytes), 1, 1024 * TIB, GIB},
    {"max-frame", "TINE_MAX_FRAME", "bytes of one message past which a peer is dropped",
     TINE_SETTING_SIZE, true, FIELD(max_frame), 64 * KIB, 1024 * TIB, 64 * GIB},
    {"max-memory", "TINE_MAX_MEMORY", "bytes of a worker's process past which it is ended; 0: none",
     TINE_SETTING_SIZE, false, FIELD(max_memory), 0, 1024 * TIB, 0},
    {"retries", "TINE_RETRIES", "further attempts of a task that is safe to repeat",
     TINE_SETTING_INT, true, FIELD(retries), 0, 1000, 3},
    {"connect-timeout", "TINE_CONNECT_TIMEOUT", "seconds to wait for workers at start",
     TINE_SETTING_SECONDS, true, FIELD(connect_timeout), 0.001, 86400, 30},
    {"heartbeat", "TINE_HEARTBEAT", "seconds between signs of life of remote workers",
     TINE_SETTING_SECONDS, true, FIELD(heartbeat), 0.01, 3600, 1},
    {"grace", "TINE_GRACE", "seconds that running tasks have when their worker is told to leave",
     TINE_SETTING_SECONDS, false, FIELD(grace), 0, 1e6, 25},
    {"rejoin", "TINE_REJOIN",
     "whether a worker started by hand comes back after the loss of its coordinator: on or off",
     TINE_SETTING_SWITCH, false, FIELD(rejoin), 0, 1, 0},
    {"lane", "TINE_LANE", "shared memory with workers on this host: on or off", TINE_SETTING_SWITCH,
     true, FIELD(lane), 0, 1, 1},
    {"arena", "TINE_ARENA", "bytes of tensors that a process shares instead of copying; 0: none",
     TINE_SETTING_SIZE, true, FIELD(arena), 0, 64 * TIB, 0},
    {"stay-bytes", "TINE_STAY_BYTES",
     "bytes of a result past which it stays at a remote worker if tasks take it", TINE_SETTING_SIZE,
     true, FIELD(stay_bytes), 1, 1024 * TIB, 64 * KIB},
    {"security", "TINE_SECURITY",
     "auto: over tcp:// that other hosts can reach a key is needed; curve: over all; none",
     TINE_SETTING_TEXT, false, FIELD(security), 0, 0, 0},
    {"key-file", "TINE_KEY_FILE", "the job's key, as `tine key FILE` makes it", TINE_SETTING_TEXT,
     false, FIELD(key_file), 0, 0, 0},
    {"labels", "TINE_LABELS", "labels of a worker, by which forks choose it: big,left",
     TINE_SETTING_TEXT, true, FIELD(labels), 0, 0, 0},
    {"slots", "TINE_SLOTS", "resources that a worker offers to its tasks: gpu=2,disk=1",
     TINE_SETTING_SLOTS, true, FIELD(slots), 0, 0, 0},
    {"log-level", "TINE_LOG_LEVEL", "error, warn, info or debug", TINE_SETTING_LEVEL, true,
     FIELD(log_level), TINE_LOG_ERROR, TINE_LOG_DEBUG, TINE_LOG_WARN},
    {"trace", "TINE_TRACE", "write a trace here at shutdown", TINE_SETTING_TEXT, false,
     FIELD(trace), 0, 0, 0},
    {"trace-events", "TINE_TRACE_EVENTS", "newest events that a process keeps for the trace",
     TINE_SETTING_SIZE, true, FIELD(trace_events), 1024, 64 * GIB, 256 * KIB},
    {"metrics", "TINE_METRICS", "serve metrics for Prometheus at HOST:PORT; :PORT is loopback",
     TINE_SETTING_TEXT, false, FIELD(metrics), 0, 0, 0},
    {"trace-seconds", "TINE_TRACE_SECONDS", "seconds before its end that a trace shows; 0: all",
     TINE_SETTING_SECONDS, false, FIELD(trace_seconds), 0, 1e9, 0},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };
_Static_assert((int)N_SETTINGS <= (int)TINE_SETTINGS_MAX,
               "tine_settings.origin has a place for every row");

/* TINE_ variables that are not settings. */
static const char *const internal_variables[] = {
    "TINE_WORKER",     "TINE_TOKEN",      "TINE_KEY",   "TINE_LIFELINE",
    "TINE_STARTED_BY", "TINE_MODULE_DIR", "TINE_KERNEL"};

static bool setting_is_text(const setting *row) {
    return row->type == TINE_SETTING_TEXT || row->type == TINE_SETTING_SLOTS;
}

static void *setting_field(const tine_settings *s, const setting *row) {
    return (char *)s + row->in_settings;
}

static double setting_number_get(const tine_settings *s, const setting *row) {
    const void *p = setting_field(s, row);
    switch (row->type) {
    case TINE_SETTING_SIZE: return (double)*(const size_t *)p;
    case TINE_SETTING_SECONDS: return *(const double *)p;
    default: return *(const int *)p;
    }
}

static void setting_number_put(tine_settings *s, const setting *row, double x) {
    void *p = setting_field(s, row);
    switch (row->type) {
    case TINE_SETTING_SIZE: *(size_t *)p = (size_t)x; break;
    case TINE_SETTING_SECONDS: *(double *)p = x; break;
    default: *(int *)p = (int)x; break;
    }
}

/* ---- one value from one source ---- */

static tine_error setting_refuse(const setting *row, const char *source, const char *text) {
    char least[32], most[32];
    tine_setting_number_format(row->type, row->least, least, sizeof least);
    tine_setting_number_format(row->type, row->most, most, sizeof most);
    switch (row->type) {
    case TINE_SETTING_TEXT:
    case TINE_SETTING_SLOTS:
        return tine_error_set(TINE_EINVAL, "%s: the value has %zu bytes; expected fewer than %d",
                              source, strlen(text), MAX_TEXT);
    case TINE_SETTING_SWITCH:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected on or off", source, text);
    case TINE_SETTING_LEVEL:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected error, warn, info or debug", source,
                              text);
    case TINE_SETTING_SIZE:
        return tine_error_set(TINE_EINVAL,
                              "%s=%s: expected a whole number from %s to %s (K, M, G, T: 1024s)",
                              source, text, least, most);
    case TINE_SETTING_SECONDS:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected seconds from %s to %s", source, text,
                              least, most);
    default:
        return tine_error_set(TINE_EINVAL, "%s=%s: expected a whole number from %s to %s", source,
                              text, least, most);
    }
}

static tine_error setting_put_string(tine_settings *s, const setting *row, const char *text,
                                     const char *source) {
    tine_resources slots;
    if (strlen(text) >= MAX_TEXT) return setting_refuse(row, source, text);
    const char *wrong = row->type == TINE_SETTING_SLOTS ? tine_resources_parse(text, &slots) : NULL;
    if (wrong) return tine_error_set(TINE_EINVAL, "%s=%s: %s", source, text, wrong);
    char **to = setting_field(s, row), *copy = NULL;
    if (*text && !(copy = strdup(text)))
        return tine_error_set(TINE_ENOMEM, "no memory for %s", source);
    free(*to);
    *to = copy;
    return TINE_OK;
}

/* `source` names the setting as the user gave it: TINE_WORKERS, --tine-workers. */
static tine_error setting_put_text(tine_settings *s, const setting *row, const char *text,
                                   const char *source, const char *origin) {
    double x;
    if (setting_is_text(row)) {
        tine_error e = setting_put_string(s, row, text, source);
        if (e) return e;
    } else if (!tine_setting_number_parse(row->type, text, &x) || x < row->least || x > row->most) {
        return setting_refuse(row, source, text);
    } else {
        setting_number_put(s, row, x);
    }
    s->origin[row - settings] = origin;
    return TINE_OK;
}

static double option_size(const size_t *n) { return *n == SIZE_MAX ? -1 : (double)*n; }

/* In tine_options zero means the default; for a number that may be zero, -1 means zero. */
static tine_error setting_put_option(tine_settings *s, const setting *row,
                                     const tine_options *options) {
    const void *p = (const char *)options + row->in_options;
    char source[64], text[64];
    snprintf(source, sizeof source, "tine_options.%s", row->variable + strlen("TINE_"));
    for (char *c = source + strlen("tine_options."); *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c | 0x20);
    if (setting_is_text(row) || row->type == TINE_SETTING_SWITCH ||
        row->type == TINE_SETTING_LEVEL) {
        const char *given = *(const char *const *)p;
        return given && *given ? setting_put_text(s, row, given, source, "program") : TINE_OK;
    }
    double x = row->type == TINE_SETTING_SIZE      ? option_size(p)
               : row->type == TINE_SETTING_SECONDS ? *(const double *)p
                                                   : *(const int *)p;
    if (x == 0) return TINE_OK;
    if (x == -1 && row->least == 0) x = 0;
    if (!(x >= row->least && x <= row->most)) {
        locale_t before = tine_text_locale_enter();
        snprintf(text, sizeof text, "%.15g", x);
        tine_text_locale_leave(before);
        return setting_refuse(row, source, text);
    }
    setting_number_put(s, row, x);
    s->origin[row - settings] = "program";
    return TINE_OK;
}

/* ---- the sources ---- */

static tine_error settings_from_environment(tine_settings *s) {
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        const char *text = getenv(row->variable);
        if (!text || !*text) continue;
        tine_error e = setting_put_text(s, row, text, row->variable, "environment");
        if (e) return e;
    }
    const char *worker = getenv("TINE_WORKER"), *token = getenv("TINE_TOKEN"),
               *key = getenv("TINE_KEY");
    if (key && *key && !(s->key = strdup(key)))
        return tine_error_set(TINE_ENOMEM, "no memory for TINE_KEY");
    if (worker && !(s->worker = strdup(worker)))
        return tine_error_set(TINE_ENOMEM, "no memory for TINE_WORKER");
    if (!(s->token = strdup(token ? token : "")))
        return tine_error_set(TINE_ENOMEM, "no memory for TINE_TOKEN");
    return TINE_OK;
}

static tine_error argument_refuse_unknown(const char *argument, const char *name, size_t n) {
    tine_nearest nearest = {.name = name, .size = n, .limit = SIZE_MAX};
    const char *abbreviated = NULL;
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        tine_nearest_try(&nearest, row->name);
        if (n > 0 && !abbreviated && strncmp(name, row->name, n) == 0) abbreviated = row->name;
    }
    return tine_error_set(TINE_EINVAL, "%s: no such setting; the nearest is --tine-%s=VALUE",
                          argument, abbreviated ? abbreviated : nearest.found);
}

static tine_error settings_from_argument(tine_settings *s, const char *argument) {
    const char *name = argument + strlen("--tine-");
    size_t n = strcspn(name, "=");
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        if (strlen(row->name) != n || memcmp(row->name, name, n) != 0) continue;
        char source[64];
        snprintf(source, sizeof source, "--tine-%s", row->name);
        if (name[n] != '=')
            return tine_error_set(TINE_EINVAL, "%s: expected %s=VALUE", argument, source);
        return setting_put_text(s, row, name + n + 1, source, "command line");
    }
    return argument_refuse_unknown(argument, name, n);
}

static bool argument_is_setting(const char *argument) {
    return strncmp(argument, "--tine-", strlen("--tine-")) == 0;
}

static tine_error settings_from_arguments(tine_settings *s, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        tine_error e = argument_is_setting(argv[i]) ? settings_from_argument(s, argv[i]) : TINE_OK;
        if (e) return e;
    }
    return TINE_OK;
}

static void arguments_remove(int *argc, char **argv) {
    int kept = 1, i = 1;
    for (; i < *argc && strcmp(argv[i], "--") != 0; i++)
        if (!argument_is_setting(argv[i])) argv[kept++] = argv[i];
    while (i < *argc) argv[kept++] = argv[i++];
    argv[kept] = NULL;
    *argc = kept;
}

static const char **setting_origin(tine_settings *s, size_t in_settings) {
    size_t i = 0;
    while (settings[i].in_settings != in_settings) i++;
    return &s->origin[i];
}

static void settings_complete(tine_settings *s) {
    if (!*setting_origin(s, offsetof(tine_settings, workers))) {
        int n = s->worker ? 1 : tine_cores_available() / s->threads; /* a worker starts none */
        s->workers = n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : n;
    }
    if (!*setting_origin(s, offsetof(tine_settings, await_workers))) s->await_workers = s->workers;
    if (!*setting_origin(s, offsetof(tine_settings, max_memory)))
        s->max_memory = (size_t)(tine_memory_available() / 10 * 9);
    if (!*setting_origin(s, offsetof(tine_settings, arena)))
        s->arena = (size_t)(tine_memory_available() / 2);
    for (size_t i = 0; i < N_SETTINGS; i++)
        if (!s->origin[i]) s->origin[i] = "default";
}

tine_error tine_settings_resolve(tine_settings *out, const tine_options *options, int *argc,
                                 char **argv) {
    tine_settings s = {0};
    tine_error e = TINE_OK;
    for (const setting *row = settings; row < settings + N_SETTINGS; row++)
        if (!setting_is_text(row)) setting_number_put(&s, row, row->standard);
    for (const setting *row = settings; options && !e && row < settings + N_SETTINGS; row++)
        e = setting_put_option(&s, row, options);
    if (!e) e = settings_from_environment(&s);
    if (!e && argc && argv) e = settings_from_arguments(&s, *argc, argv);
    if (e) {
        tine_settings_fini(&s);
        return e;
    }
    settings_complete(&s);
    if (argc && argv && *argc > 0) arguments_remove(argc, argv);
    *out = s;
    return TINE_OK;
}

void tine_settings_fini(tine_settings *s) {
    free(s->endpoint);
    free(s->trace);
    free(s->metrics);
    free(s->worker);
    free(s->token);
    free(s->security);
    free(s->key_file);
    free(s->labels);
    free(s->slots);
    free(s->key);
    *s = (tine_settings){0};
}

/* ---- listing and forwarding ---- */

static bool variable_is_known(const char *variable, size_t n) {
    for (const setting *row = settings; row < settings + N_SETTINGS; row++)
        if (strlen(row->variable) == n && memcmp(row->variable, variable, n) == 0) return true;
    for (size_t i = 0; i < sizeof internal_variables / sizeof *internal_variables; i++)
        if (strlen(internal_variables[i]) == n && memcmp(internal_variables[i], variable, n) == 0)
            return true;
    return false;
}

/* The most edits that make a misspelt setting; other names may be variables of the program. */
enum { MISSPELT = 3 };

static void variable_warn(const char *variable, size_t n) {
    tine_nearest nearest = {.name = variable, .size = n, .limit = SIZE_MAX};
    for (const setting *row = settings; row < settings + N_SETTINGS; row++)
        tine_nearest_try(&nearest, row->variable);
    tine_log(nearest.limit <= MISSPELT ? TINE_LOG_WARN : TINE_LOG_INFO,
             "environment variable %.*s: no such setting; it is ignored; the nearest is %s", (int)n,
             variable, nearest.found);
}

void tine_settings_warn_unknown(void) {
    for (char **v = environ; v && *v; v++) {
        size_t n = strcspn(*v, "=");
        if (strncmp(*v, "TINE_", strlen("TINE_")) == 0 && !variable_is_known(*v, n))
            variable_warn(*v, n);
    }
}

/* As it is given in text; `room` is that of numbers. */
static const char *setting_text(const tine_settings *s, const setting *row, char *room,
                                size_t size) {
    char *const *text = setting_field(s, row);
    if (setting_is_text(row)) return *text ? *text : "";
    tine_setting_number_format(row->type, setting_number_get(s, row), room, size);
    return room;
}

size_t tine_settings_rows(const tine_settings *s, tine_setting_row *out, size_t room) {
    for (size_t i = 0; i < N_SETTINGS && i < room; i++) {
        const setting *row = &settings[i];
        out[i] = (tine_setting_row){.name = row->name,
                                    .variable = row->variable,
                                    .help = row->help,
                                    .origin = s->origin[i] ? s->origin[i] : "default"};
        char number[64];
        snprintf(out[i].value, sizeof out[i].value, "%s",
                 setting_text(s, row, number, sizeof number));
    }
    return N_SETTINGS;
}

char **tine_settings_forward(const tine_settings *s) {
    char **list = calloc(N_SETTINGS + 2, sizeof *list);
    if (!list) return NULL;
    size_t n = 0;
    for (const setting *row = settings; row < settings + N_SETTINGS; row++) {
        if (!row->forwarded) continue;
        char number[64];
        const char *value = setting_text(s, row, number, sizeof number);
        if (!(list[n++] = tine_text_format("%s=%s", row->variable, value))) {
            tine_settings_forward_free(list);
            return NULL;
        }
    }
    if (s->key && !(list[n] = tine_text_format("TINE_KEY=%s", s->key))) {
        tine_settings_forward_free(list);
        return NULL;
    }
    return list;
}

void tine_settings_forward_free(char **environment) {
    if (!environment) return;
    for (char **v = environment; *v; v++) free(*v);
    free(environment);
}
