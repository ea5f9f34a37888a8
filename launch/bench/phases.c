/* The profile of an LSTM by phase; see phases.h.
 *
 * The share "of bound" compares the whole forward with the least time that the machine allows for
 * its products; the phases between them show what the rest is. */
#include "launch/bench/phases.h"

#include <stdio.h>

#include "kernels/gemm.h"
#include "launch/cli/report.h"

enum { PROFILES = 32 };

typedef struct profiles {
    tine_bench_profile row[PROFILES];
    int count;
} profiles;

static bool profile_add(profiles *all, tine_bench_size size, enum tine_lstm_type type, int rounds) {
    const tine_bench_subject subject = {tine_gemm_isa((enum tine_gemm_type)type), type};
    return tine_bench_profile_measure(size, subject, rounds, &all->row[all->count++]);
}

static bool profile_grid(profiles *all, long steps, enum tine_lstm_type type, int rounds) {
    static const long channels[] = {128, 256, 512, 1024}, batches[] = {1, 4, 8, 16, 50, 128};
    for (int c = 0; c < 4; c++)
        for (int b = 0; b < 6; b++)
            if (!profile_add(all, (tine_bench_size){steps, batches[b], channels[c]}, type, rounds))
                return false;
    return true;
}

/* Shares of the machine: of the peak in both products, of the read bandwidth in the recurrent. */
static double input_share(const tine_bench_profile *p) {
    return 1e-9 * p->input_flops / p->phases[TINE_LSTM_INPUT] / p->peak;
}
static double hidden_share(const tine_bench_profile *p) {
    return 1e-9 * p->hidden_flops / p->phases[TINE_LSTM_RECURRENT] / p->peak;
}
static double hidden_read_share(const tine_bench_profile *p) {
    const double bytes = p->weight_bytes * (double)p->size.steps;
    return 1e-9 * bytes / p->phases[TINE_LSTM_RECURRENT] / p->read;
}

void tine_bench_profiles_print(const tine_bench_profile *rows, int n) {
    puts("one core; shares in percent. peak: of GFLOP/s in registers, beside each forward. bound: "
         "of "
         "the least time\nthat this and, in the recurrent products, reading the matrix allow. Then "
         "the share of time of each phase,\nand in the products the share of the peak, of the read "
         "bandwidth. "
         "Besides, milliseconds: packing, once a\nmodule; touch, what its first forward takes "
         "beyond the time, for pages of the workspace and the\noutput touched for the first time "
         "and weights that are not in the caches.\n");
    printf("%-25s %3s %4s %5s %11s %5s %6s | %8s %15s %22s %6s %7s | %8s %6s\n", "kernel", "T", "B",
           "C", "time", "peak", "bound", "operands", "input  peak", "recurrent  peak  read",
           "gates", "output", "packing", "touch");
    for (int i = 0; i < n; i++) {
        const tine_bench_profile *p = &rows[i];
        const double percent = 100 / p->timed;
        printf("%-25s %3ld %4ld %5ld %8.3f ms %5.1f %6.1f | %8.1f %8.1f %6.1f %10.1f %5.1f %5.1f "
               "%6.1f %7.1f | %8.2f %6.2f\n",
               p->kernel, p->size.steps, p->size.batch, p->size.channels, p->seconds * 1e3,
               100 * p->share, 100 * p->bound, percent * p->phases[TINE_LSTM_OPERANDS],
               percent * p->phases[TINE_LSTM_INPUT], 100 * input_share(p),
               percent * p->phases[TINE_LSTM_RECURRENT], 100 * hidden_share(p),
               100 * hidden_read_share(p), percent * p->phases[TINE_LSTM_GATES],
               percent * p->phases[TINE_LSTM_OUTPUT], 1e3 * p->packing,
               1e3 * (p->first - p->seconds));
    }
}

static json_object *profile_json(const tine_bench_profile *p) {
    static const char *const names[TINE_LSTM_PHASES] = {[TINE_LSTM_OPERANDS] = "operands",
                                                        [TINE_LSTM_INPUT] = "input",
                                                        [TINE_LSTM_RECURRENT] = "recurrent",
                                                        [TINE_LSTM_GATES] = "gates",
                                                        [TINE_LSTM_OUTPUT] = "output"};
    json_object *o = json_object_new_object(), *phases = json_object_new_object();
    json_object_object_add(o, "kernel", json_object_new_string(p->kernel));
    json_object_object_add(o, "T", json_object_new_int64(p->size.steps));
    json_object_object_add(o, "B", json_object_new_int64(p->size.batch));
    json_object_object_add(o, "C", json_object_new_int64(p->size.channels));
    json_object_object_add(o, "seconds", tine_json_number(p->seconds, 5));
    json_object_object_add(o, "seconds_timed", tine_json_number(p->timed, 5));
    json_object_object_add(o, "packing_seconds", tine_json_number(p->packing, 5));
    json_object_object_add(o, "first_seconds", tine_json_number(p->first, 5));
    json_object_object_add(o, "share_of_peak", tine_json_number(p->share, 4));
    json_object_object_add(o, "share_of_bound", tine_json_number(p->bound, 4));
    json_object_object_add(o, "peak_gflops", tine_json_number(p->peak, 5));
    json_object_object_add(o, "read_gbs", tine_json_number(p->read, 5));
    for (int i = 0; i < TINE_LSTM_PHASES; i++)
        json_object_object_add(phases, names[i], tine_json_number(p->phases[i], 5));
    json_object_object_add(o, "phase_seconds", phases);
    return o;
}

json_object *tine_bench_profiles_json(const tine_bench_profile *rows, int n) {
    json_object *o = json_object_new_array();
    for (int i = 0; i < n; i++) json_object_array_add(o, profile_json(&rows[i]));
    return o;
}

int tine_bench_phases(tine_bench_size size, const enum tine_lstm_type *types, int n, int rounds,
                      bool quick, bool json) {
    static profiles all;
    for (int i = 0; i < n; i++)
        if (!profile_add(&all, size, types[i], rounds)) return 1;
    if (!quick && !profile_grid(&all, size.steps, types[0], rounds)) return 1;
    if (!json) {
        tine_bench_profiles_print(all.row, all.count);
        return 0;
    }
    json_object *o = json_object_new_object();
    json_object_object_add(o, "profiles", tine_bench_profiles_json(all.row, all.count));
    tine_json_print(o);
    return 0;
}
