/* `tine bench lstm --phases`: what the time of a forward consists of, size by size. */
#ifndef TINE_LAUNCH_BENCH_PHASES_H
#define TINE_LAUNCH_BENCH_PHASES_H

#include <json-c/json.h>
#include <stdbool.h>

#include "launch/bench/rows.h"

/* Measures the size in the types and, unless quick, a grid of sizes in the first; prints a table,
 * or one JSON object. The exit code. */
int tine_bench_phases(tine_bench_size size, const enum tine_lstm_type *types, int n, int rounds,
                      bool quick, bool json);
void tine_bench_profiles_print(const tine_bench_profile *rows, int n);
json_object *tine_bench_profiles_json(const tine_bench_profile *rows, int n);

#endif
