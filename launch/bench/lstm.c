/* `tine bench lstm`: measures the LSTM kernels. */
#include "launch/cli/commands.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/peak.h"
#include "launch/cli/arguments.h"
#include "launch/bench/openblas.h"
#include "launch/bench/phases.h"
#include "launch/bench/verdicts.h"
#include "launch/cli/report.h"

typedef struct request {
    bool json, quick, probe, phases;
    long steps, batch, channels, rounds;
    const char *dtype;
    enum tine_lstm_type types[3]; /* to measure */
    int n_types;
} request;

/* ---- measuring ---- */

static bool kernel_profile(tine_bench_lstm_results *r, tine_bench_size size,
                           tine_bench_subject subject, int rounds) {
    return tine_bench_profile_measure(size, subject, rounds, &r->profile[r->n_profiles++]);
}

static bool measure_grid(tine_bench_lstm_results *r, int rounds) {
    static const long channels[] = {128, 256, 512, 1024}, batches[] = {1, 8, 16, 50, 128};
    const tine_bench_subject pair[] = {{tine_kernel_choice()->f32, TINE_LSTM_F32},
                                       {TINE_ISA_OPENBLAS, TINE_LSTM_F32}};
    r->grid_from = r->rows.count;
    for (int c = 0; c < 4; c++)
        for (int b = 0; b < 5; b++)
            if (!tine_bench_measure((tine_bench_size){50, batches[b], channels[c]}, pair, 2, true,
                                    rounds, &r->rows))
                return false;
    r->grid_to = r->rows.count;
    const tine_bench_row *worst = tine_bench_grid_worst(r, true);
    return !worst || kernel_profile(r, worst->size, pair[0], rounds);
}

/* Small batches: their bound is the peak in the input product, and in the recurrent products the
 * peak or the read bandwidth. */
static bool measure_few(const request *q, tine_bench_lstm_results *r) {
    static const long channels[] = {128, 256}, batches[] = {1, 2, 4};
    const tine_bench_subject chosen = {tine_kernel_choice()->f32, TINE_LSTM_F32};
    bool ok =
        kernel_profile(r, (tine_bench_size){q->steps, 1, q->channels}, chosen, (int)q->rounds);
    for (int c = 0; c < 2 && !q->quick; c++)
        for (int b = 0; ok && b < 3; b++)
            ok = kernel_profile(r, (tine_bench_size){50, batches[b], channels[c]}, chosen,
                                (int)q->rounds);
    r->n_few = r->n_profiles;
    return ok;
}

/* The tutorial's size in the kernels of the verdicts. */
static bool measure_profiles(const request *q, tine_bench_lstm_results *r) {
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    const tine_bench_subject subjects[] = {{choice->f32, TINE_LSTM_F32},
                                           {choice->bf16, TINE_LSTM_BF16},
                                           {TINE_ISA_AVX2, TINE_LSTM_F32}};
    const int count =
        choice->f32 == TINE_ISA_AVX2 || tine_isa_obstacle(tine_cpu(), TINE_ISA_AVX2) ? 2 : 3;
    bool ok = true;
    for (int i = 0; ok && i < count; i++)
        ok = kernel_profile(r, (tine_bench_size){q->steps, q->batch, q->channels}, subjects[i],
                            (int)q->rounds);
    return ok;
}

/* The GEMM kernels of the table but the portable ones, type by type, the newest first. */
static int list_subjects(const request *q, tine_bench_subject all[TINE_BENCH_SUBJECTS]) {
    int count = 0;
    for (int i = 0; i < q->n_types; i++)
        for (int isa = TINE_ISA_COUNT - 1; isa > TINE_ISA_PORTABLE; isa--)
            if (count < TINE_BENCH_SUBJECTS && tine_gemm_of_row(tine_isa_row((enum tine_isa)isa),
                                                                (enum tine_gemm_type)q->types[i]))
                all[count++] = (tine_bench_subject){(enum tine_isa)isa, q->types[i]};
    return count;
}

static bool is_measured(const request *q, enum tine_lstm_type type) {
    return !q->dtype || q->types[0] == type;
}

static bool bench_lstm_measure(const request *q, tine_bench_lstm_results *r) {
    tine_bench_subject all[TINE_BENCH_SUBJECTS];
    const int count = list_subjects(q, all);
    static const tine_bench_subject portable = {TINE_ISA_PORTABLE, TINE_LSTM_F32};
    const tine_bench_size size = {q->steps, q->batch, q->channels};
    /* the portable kernel is slow */
    const tine_bench_size part = {(q->steps + 9) / 10, q->batch, q->channels};
    if (!tine_bench_measure(size, all, count, false, (int)q->rounds, &r->rows)) return false;
    if (is_measured(q, TINE_LSTM_F32) &&
        !tine_bench_measure(part, &portable, 1, false, 2, &r->rows))
        return false;
    r->main_rows = r->grid_from = r->grid_to = r->rows.count;
    for (int i = 0; i < r->main_rows; i++) {
        const tine_bench_row *row = &r->rows.row[i];
        if (strcmp(row->dtype, "f32") == 0 && !strcmp(row->kernel, "avx2"))
            r->peak_avx2 = row->best_peak;
        if (tine_bench_is_chosen(row)) r->peak_f32 = row->best_peak;
        if (!strcmp(row->dtype, "bf16") && !strcmp(row->kernel, "avx512_bf16"))
            r->peak_bf16 = row->best_peak;
        if (!strcmp(row->dtype, "int8")) r->peak_int8 = fmax(r->peak_int8, row->best_peak);
    }
    if (r->peak_f32 <= 0) r->peak_f32 = tine_peak_gflops(TINE_ISA_AUTO, TINE_GEMM_F32, 0.05).best;
    r->bf16_error = r->int8_error = -1;
    if (is_measured(q, TINE_LSTM_BF16))
        r->bf16_error = tine_bench_rounding_error(size, TINE_LSTM_BF16);
    if (is_measured(q, TINE_LSTM_INT8))
        r->int8_error = tine_bench_rounding_error(size, TINE_LSTM_INT8);
    if (q->dtype) return true;
    if (!tine_bench_batch1(q->steps, q->channels, (int)q->rounds, &r->batch1)) return false;
    return measure_few(q, r) && measure_profiles(q, r) &&
           (q->quick || measure_grid(r, (int)q->rounds));
}

/* ---- printing ---- */

static double row_share_of_best(const tine_bench_row *row) {
    return row->best_peak > 0 ? row->gflops / row->best_peak : 0;
}

static void print_rows(const tine_bench_lstm_results *r, int from, int to) {
    for (int i = from; i < to; i++) {
        const tine_bench_row *row = &r->rows.row[i];
        printf("%-18s %-5s %4ld %4ld %5ld %10.3f ms %8.1f %7.1f %% %7.1f %%", row->kernel,
               row->dtype, row->size.steps, row->size.batch, row->size.channels, row->seconds * 1e3,
               row->gflops, 100 * row->share, 100 * row_share_of_best(row));
        if (row->vs_openblas > 0) printf(" %8.2f x", row->vs_openblas);
        if (row->bound > 0) printf("  %5.1f %% of its bound", 100 * row->bound);
        puts("");
    }
}

static void print_bandwidth(const char *what, const tine_bench_bandwidth *b, const char *note) {
    printf("  %-36s %6.1f of %6.1f  %5.1f %%  %5.1f %%%s\n", what, b->weights, b->read,
           100 * b->share, 100 * b->weights / b->read, note);
}

static void print_batch1(const tine_bench_lstm_results *r, const request *q) {
    char forward[48];
    snprintf(forward, sizeof forward, "whole forward of %ld steps", q->steps);
    printf("\nbatch 1, C %ld: GB/s of weights, and of one core reading a buffer of the same size; "
           "of the reading\nbeside it, of the best of both\n",
           q->channels);
    print_bandwidth("one step alone, both matrices once", &r->batch1.step, "");
    print_bandwidth("recurrent steps of a forward", &r->batch1.recurrent, "");
    print_bandwidth(forward, &r->batch1.forward, "  (its input product is bound by arithmetic)");
}

static void print_kernels(void) {
    const struct tine_gemm_kernel *kernel;
    for (size_t i = 0; (kernel = tine_gemm_at(i)); i++) {
        const char *why = tine_isa_obstacle(tine_cpu(), kernel->isa);
        printf("  %-26s %s%s\n", kernel->name, why ? "cannot run: " : "runs", why ? why : "");
    }
}

static void bench_lstm_print(const tine_bench_lstm_results *r, const request *q) {
    printf("%s, one core: peak in the best millisecond %.1f GFLOP/s f32", tine_cpu()->brand,
           r->peak_f32);
    if (r->peak_avx2 > 0) printf(", %.1f AVX2", r->peak_avx2);
    if (r->peak_bf16 > 0) printf(", %.1f bf16 dot products", r->peak_bf16);
    if (r->peak_int8 > 0) printf(", %.1f int8", r->peak_int8);
    printf("\nOpenBLAS with its kernels for %s\n", tine_bench_openblas_core());
    print_kernels();
    puts("\ntime, GFLOP/s, best: the fastest forward, and its share of the best millisecond of the "
         "peak's loop. peak:\nthe median share of the loop that runs before and after each forward "
         "for as long, at the same frequency\nand under the same load. bound: of the least time "
         "that this loop, and reading beside it, allow");
    printf("\n%-18s %-5s %4s %4s %5s %13s %8s %9s %9s %10s\n", "kernel", "type", "T", "B", "C",
           "time", "GFLOP/s", "of peak", "of best", "OpenBLAS");
    print_rows(r, 0, r->main_rows);
    if (r->bf16_error >= 0)
        printf("\nlargest difference of the bf16 output from the f32 output: %.2e", r->bf16_error);
    if (r->int8_error >= 0)
        printf("\nlargest difference of the int8 output from the f32 output: %.2e", r->int8_error);
    puts("");
    if (q->dtype) return;
    print_batch1(r, q);
    puts("");
    tine_bench_profiles_print(r->profile, r->n_profiles);
    if (r->grid_to > r->grid_from) puts("");
    print_rows(r, r->grid_from, r->grid_to);
    tine_bench_verdicts_print(r);
}

static void add_number(json_object *o, const char *key, double value) {
    json_object_object_add(o, key, tine_json_number(value, 5));
}

static json_object *json_row(const tine_bench_row *row) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "kernel", json_object_new_string(row->kernel));
    json_object_object_add(o, "dtype", json_object_new_string(row->dtype));
    json_object_object_add(o, "T", json_object_new_int64(row->size.steps));
    json_object_object_add(o, "B", json_object_new_int64(row->size.batch));
    json_object_object_add(o, "C", json_object_new_int64(row->size.channels));
    add_number(o, "seconds", row->seconds);
    add_number(o, "gflops", row->gflops);
    json_object_object_add(o, "share_of_peak", tine_json_number(row->share, 4));
    json_object_object_add(o, "share_of_best_peak", tine_json_number(row_share_of_best(row), 4));
    if (row->bound > 0)
        json_object_object_add(o, "share_of_bound", tine_json_number(row->bound, 4));
    json_object_object_add(o, "vs_openblas",
                           row->vs_openblas > 0 ? tine_json_number(row->vs_openblas, 4) : NULL);
    return o;
}

static json_object *json_bandwidth(const tine_bench_bandwidth *b) {
    json_object *o = json_object_new_object();
    add_number(o, "weights_gbs", b->weights);
    add_number(o, "read_gbs", b->read);
    add_number(o, "share_of_read", b->share);
    return o;
}

static json_object *json_batch1(const tine_bench_batch1_rates *b) {
    json_object *o = json_object_new_object();
    json_object_object_add(o, "step", json_bandwidth(&b->step));
    json_object_object_add(o, "recurrent", json_bandwidth(&b->recurrent));
    json_object_object_add(o, "forward", json_bandwidth(&b->forward));
    return o;
}

static void bench_lstm_print_json(const tine_bench_lstm_results *r, const request *q) {
    json_object *o = json_object_new_object(), *rows = json_object_new_array();
    json_object_object_add(o, "cpu", json_object_new_string(tine_cpu()->brand));
    json_object_object_add(o, "openblas_core", json_object_new_string(tine_bench_openblas_core()));
    add_number(o, "peak_gflops", r->peak_f32);
    add_number(o, "peak_gflops_avx2", r->peak_avx2);
    add_number(o, "peak_gflops_bf16", r->peak_bf16);
    add_number(o, "peak_gflops_int8", r->peak_int8);
    add_number(o, "bf16_error", r->bf16_error);
    add_number(o, "int8_error", r->int8_error);
    for (int i = 0; i < r->rows.count; i++) json_object_array_add(rows, json_row(&r->rows.row[i]));
    json_object_object_add(o, "rows", rows);
    if (!q->dtype) {
        json_object_object_add(o, "batch1", json_batch1(&r->batch1));
        json_object_object_add(o, "profiles", tine_bench_profiles_json(r->profile, r->n_profiles));
    }
    tine_json_print(o);
}

static bool types_parse(request *q) {
    enum tine_gemm_type type;
    while (!q->dtype && q->n_types < 3) {
        q->types[q->n_types] = (enum tine_lstm_type)q->n_types;
        q->n_types++;
    }
    if (!q->dtype) return true;
    if (!tine_gemm_type_parse(q->dtype, &type)) {
        tine_command_refuse("bench lstm", 2, "--dtype=%s: expected f32, bf16 or int8", q->dtype);
        return false;
    }
    q->types[q->n_types++] = (enum tine_lstm_type)type;
    return true;
}

int tine_command_bench_lstm(int argc, char **argv) {
    static request q = {.steps = 50, .batch = 50, .channels = 1024, .rounds = 5};
    static tine_bench_lstm_results r;
    static const tine_option options[] = {
        {"--time", "T", "steps (50)", TINE_OPTION_NUMBER, &q.steps, 1, 100000},
        {"--batch", "B", "rows of the batch (50)", TINE_OPTION_NUMBER, &q.batch, 1, 100000},
        {"--channels", "C", "input and hidden size (1024)", TINE_OPTION_NUMBER, &q.channels, 1,
         16384},
        {"--rounds", "R", "measure until R rounds improve nothing (5)", TINE_OPTION_NUMBER,
         &q.rounds, 1, 1000},
        {"--dtype", "TYPE", "f32, bf16 or int8: only this type, without batch 1 and the grid",
         TINE_OPTION_TEXT, &q.dtype, 0, 0},
        {"--quick", NULL, "without the grid of sizes", TINE_OPTION_FLAG, &q.quick, 0, 0},
        {"--phases", NULL, "what the time consists of, size by size", TINE_OPTION_FLAG, &q.phases,
         0, 0},
        {"--json", NULL, "one JSON object on standard output", TINE_OPTION_FLAG, &q.json, 0, 0},
        {"--probe", NULL, "print the seconds of a short LSTM with OpenBLAS", TINE_OPTION_FLAG,
         &q.probe, 0, 0},
        {0},
    };
    static const tine_usage usage = {
        "bench lstm",
        "",
        "Measures the LSTM kernels on one core beside the machine's peak and the same LSTM on\n"
        "OpenBLAS at its best. All in one process, in turns. Times are those of the best round.\n"
        "A share of the peak, or of the read bandwidth, is the median over the rounds of each\n"
        "forward beside the loop that runs right before and after it, together for as long; the\n"
        "share of the best millisecond of that loop is given, too.",
        options,
        0,
        0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if (q.probe) return tine_bench_openblas_probe();
    if (!types_parse(&q)) return 2;
    if (*tine_kernel_choice()->error)
        return tine_command_refuse("bench lstm", 2, "%s", tine_kernel_choice()->error);
    if (q.phases)
        return tine_bench_phases((tine_bench_size){q.steps, q.batch, q.channels}, q.types,
                                 q.n_types, (int)q.rounds, q.quick, q.json);
    if (is_measured(&q, TINE_LSTM_F32)) tine_bench_openblas_best();
    if (!bench_lstm_measure(&q, &r)) return 1;
    if (q.json)
        bench_lstm_print_json(&r, &q);
    else
        bench_lstm_print(&r, &q);
    return 0;
}
