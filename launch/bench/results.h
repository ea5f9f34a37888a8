/* What a benchmark has measured: a table whose rows are points, such as "ipc, 2 workers", with
 * several measures each. All benchmarks with several points write it in the same forms: JSON, which
 * is read back, CSV, an SVG plot. */
#ifndef TINE_LAUNCH_BENCH_RESULTS_H
#define TINE_LAUNCH_BENCH_RESULTS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

#include "launch/bench/estimate.h"

enum {
    TINE_RESULT_KEYS = 5,
    TINE_RESULT_MEASURES = 9,
    TINE_RESULT_KEY_MAX = 32,
    TINE_RESULT_NAME_MAX = 256 /* of all keys, with their names */
};

typedef struct tine_result_key {
    const char *name;
    bool number;
    bool aside; /* points of one curve may differ in it */
} tine_result_key;

typedef struct tine_result_measure {
    const char *name;  /* "round_trip_p50_us", in JSON and CSV */
    const char *label; /* "round trip, median (us)", in the plot */
    bool more_is_better;
    bool plotted;
} tine_result_measure;

/* The form of a benchmark's table. Keys and measures end with a NULL name. */
typedef struct tine_result_form {
    const char *bench; /* "ensemble" */
    const char *title; /* of the plot */
    tine_result_key keys[TINE_RESULT_KEYS + 1];
    tine_result_measure measures[TINE_RESULT_MEASURES + 1];
    int x;            /* the key along the x axis: numbers on a line, or names side by side */
    int panel;        /* the key that has panels of its own; -1: none. All others make the curves */
    int ideal;        /* the measure whose ideal is x itself; -1: none */
    bool logarithmic; /* the y axes */
} tine_result_form;

typedef struct tine_result {
    char keys[TINE_RESULT_KEYS][TINE_RESULT_KEY_MAX];
    tine_estimate figures[TINE_RESULT_MEASURES];
} tine_result;

typedef struct tine_results {
    const tine_result_form *form;
    tine_result *rows;
    size_t n, room;
    char date[32];         /* "2026-11-26T15:00:00Z" */
    json_object *machine;  /* see machine.h */
    json_object *warnings; /* sentences: why the figures may be worse than they should */
} tine_results;

void tine_results_init(tine_results *r, const tine_result_form *form);
void tine_results_fini(tine_results *r); /* accepts a zeroed one */
/* A new row, without keys and figures, valid until the next one. Running out of memory ends the
 * process. */
tine_result *tine_results_add(tine_results *r);
/* Sets a key; a text that is too long is cut, and what cannot be printed in it becomes '?'. */
void tine_result_key_set(tine_result *row, int key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void tine_results_warn(tine_results *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "strong ipc 50x50x512 workers=2" into `out`, which it returns. Without the key `but`. */
const char *tine_result_name(const tine_result_form *form, const tine_result *row, int but,
                             char out[static TINE_RESULT_NAME_MAX]);

/* A new object. */
json_object *tine_results_json(const tine_results *r);
/* From the file of an earlier run of the same benchmark. False: `why` has a sentence that names the
 * file. */
bool tine_results_read(tine_results *r, const tine_result_form *form, const char *path, char *why,
                       size_t size);
/* From the text of one. `from`: what the sentence names. */
bool tine_results_parse(tine_results *r, const tine_result_form *form, const char *text,
                        const char *from, char *why, size_t size);
void tine_results_csv(FILE *f, const tine_results *r);
void tine_results_plot(FILE *f, const tine_results *r);

/* Prints which figures have changed beyond noise since `old`: both confidence intervals have at
 * least 90 %, and do not overlap. Returns the same as a new object. `f` may be NULL. */
json_object *tine_results_compare(FILE *f, const tine_results *r, const tine_results *old,
                                  const char *old_name);

#endif
