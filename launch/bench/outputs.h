/* The options with which `tine bench` writes, reads and compares its results, and what they do. */
#ifndef TINE_LAUNCH_BENCH_OUTPUTS_H
#define TINE_LAUNCH_BENCH_OUTPUTS_H

#include "launch/bench/results.h"
#include "launch/cli/arguments.h"

typedef struct tine_outputs {
    bool json;
    const char *output, *csv, *svg, *compare, *from;
    tine_results old; /* what to compare with */
} tine_outputs;

#define TINE_OPTIONS_OUTPUTS(o)                                                                    \
    {"--json", NULL, "print one JSON object", TINE_OPTION_FLAG, &(o).json, 0, 0},                  \
        {"--output", "FILE", "write the JSON object to a file", TINE_OPTION_TEXT, &(o).output,     \
         0,          0},                                                                           \
        {"--csv", "FILE", "write a table as CSV", TINE_OPTION_TEXT, &(o).csv, 0, 0},               \
        {"--svg", "FILE", "write a plot", TINE_OPTION_TEXT, &(o).svg, 0, 0},                       \
        {"--compare",                                                                              \
         "OLD.json",                                                                               \
         "say what changed beyond noise since this --output",                                      \
         TINE_OPTION_TEXT,                                                                         \
         &(o).compare,                                                                             \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "--from", "FILE.json", "measure nothing: take the results of this --output",               \
            TINE_OPTION_TEXT, &(o).from, 0, 0                                                      \
    }

/* Before anything is measured: reads the files of --compare and --from, and tests that the others
 * can be written. With --from, `r` has the results. -1: go on; else the exit code, and the sentence
 * is on standard error. `r` is to be released in any case. Of several ranks only the first one does
 * anything here. */
int tine_outputs_begin(tine_outputs *o, tine_results *r, const tine_result_form *form);
/* Prints the results with `table` and the warnings, or both as JSON; writes the files. Returns the
 * exit code. */
int tine_outputs_end(tine_outputs *o, const tine_results *r, void (*table)(const tine_results *r));
void tine_outputs_fini(tine_outputs *o); /* accepts a zeroed one */

/* A table: a row per point, a column per key and measure. */
void tine_results_print(const tine_results *r);

#endif
