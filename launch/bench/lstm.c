/* `tine bench lstm`: measures the LSTM kernels. */
#include "launch/cli/commands.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/peak.h"
#include "launch/cli/arguments.h"
#include "launch/bench/openblas.h"
#include "launch/bench/phases.h"
#include "launch/bench/rows.h"
#include "launch/cli/report.h"

typedef struct request {
    bool json, quick, probe, phases;
    long steps, batch, channels, rounds;
    const char *dtype;
    enum tine_lstm_type types[3]; /* to measure */
    int n_types;
} request;

enum { FEW_ROWS = 7 };

typedef struct results {
    tine_bench_rows rows;
    /* rows [0, main_rows) are the tutorial's size, [grid_from, grid_to) the grid */
    int main_rows, grid_from, grid_to;
    tine_bench_bandwidth batch1;
    tine_bench_profile few[FEW_ROWS]; /* of small batches; the first is batch 1 of all channels */
    int n_few;
    double peak_f32, peak_bf16, peak_int8, peak_avx2;
    double bf16_error, int8_error; /* negative: not measured */
} results;

/* ---- measuring ---- */

static bool measure_grid(results *r, int rounds) {
    static const long channels[] = {128, 256, 512, 1024}, batches[] = {1, 8, 16, 50, 128};
    const tine_bench_subject pair[] = {{tine_kernel_choice()->f32, TINE_LSTM_F32},
                                       {TINE_ISA_OPENBLAS, TINE_LSTM_F32}};
    r->grid_from = r->rows.count;
    for (int c = 0; c < 4; c++) {
        const size_t matrix = 4 * sizeof(float) * (size_t)channels[c] * (size_t)channels[c];
        double read = 0;
        int from = r->rows.count;
        for (int b = 0; b < 5; b++) {
            if (!tine_bench_measure((tine_bench_size){50, batches[b], channels[c]}, pair, 2, rounds,
                                    &r->rows))
                return false;
            read = fmax(read, tine_peak_read_gbs(matrix, 0.02));
        }
        for (; from < r->rows.count; from++) r->rows.row[from].read = read;
    }
    r->grid_to = r->rows.count;
    return true;
}

static bool few_add(results *r, tine_bench_size size, int rounds) {
    const tine_bench_subject chosen = {tine_kernel_choice()->f32, TINE_LSTM_F32};
    return tine_bench_profile_measure(size, chosen, rounds, &r->few[r->n_few++]);
}

/* Small batches: their bound is the peak in the input product, and in the recurrent products the
 * peak or the read bandwidth. */
static bool measure_few(const request *q, results *r) {
    static const long channels[] = {128, 256}, batches[] = {1, 2, 4};
    if (!few_add(r, (tine_bench_size){q->steps, 1, q->channels}, (int)q->rounds)) return false;
    for (int c = 0; c < 2 && !q->quick; c++)
        for (int b = 0; b < 3; b++)
            if (!few_add(r, (tine_bench_size){50, batches[b], channels[c]}, (int)q->rounds))
                return false;
    return true;
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

static bool bench_lstm_measure(const request *q, results *r) {
    tine_bench_subject all[TINE_BENCH_SUBJECTS];
    const int count = list_subjects(q, all);
    static const tine_bench_subject portable = {TINE_ISA_PORTABLE, TINE_LSTM_F32};
    const tine_bench_size size = {q->steps, q->batch, q->channels};
    /* the portable kernel is slow */
    const tine_bench_size part = {(q->steps + 9) / 10, q->batch, q->channels};
    if (!tine_bench_measure(size, all, count, (int)q->rounds, &r->rows)) return false;
    if (is_measured(q, TINE_LSTM_F32) && !tine_bench_measure(part, &portable, 1, 2, &r->rows))
        return false;
    r->main_rows = r->grid_from = r->grid_to = r->rows.count;
    for (int i = 0; i < r->main_rows; i++) {
        const tine_bench_row *row = &r->rows.row[i];
        if (strcmp(row->dtype, "f32") == 0 && !strcmp(row->kernel, "avx2"))
            r->peak_avx2 = row->peak;
        if (!strcmp(row->kernel, tine_isa_name(tine_kernel_choice()->f32))) r->peak_f32 = row->peak;
        if (!strcmp(row->dtype, "bf16") && !strcmp(row->kernel, "avx512_bf16"))
            r->peak_bf16 = row->peak;
        if (!strcmp(row->dtype, "int8")) r->peak_int8 = fmax(r->peak_int8, row->peak);
    }
    if (r->peak_f32 <= 0) r->peak_f32 = tine_peak_gflops(TINE_ISA_AUTO, TINE_GEMM_F32, 0.05);
    r->bf16_error = r->int8_error = -1;
    if (is_measured(q, TINE_LSTM_BF16))
        r->bf16_error = tine_bench_rounding_error(size, TINE_LSTM_BF16);
    if (is_measured(q, TINE_LSTM_INT8))
        r->int8_error = tine_bench_rounding_error(size, TINE_LSTM_INT8);
    if (q->dtype) return true;
    if (!tine_bench_batch1(q->steps, q->channels, (int)q->rounds, &r->batch1)) return false;
    if (!measure_few(q, r)) return false;
    if (!q->quick && !measure_grid(r, (int)q->rounds)) return false;
    return true;
}

/* ---- printing ---- */

static double row_share(const tine_bench_row *row) {
    return row->peak > 0 ? row->gflops / row->peak : 0;
}

/* As tine_bench_profile_bound has it: half of the operations are those of the input product. */
static double row_share_of_bound(const tine_bench_row *row) {
    if (row->peak <= 0 || row->read <= 0) return 0;
    const double half = 0.5 * row->gflops * row->seconds / row->peak,
                 channels = (double)row->size.channels;
    const double reading = 16e-9 * channels * channels * (double)row->size.steps / row->read;
    return (half + fmax(half, reading)) / row->seconds;
}

static void print_rows(const results *r, int from, int to) {
    for (int i = from; i < to; i++) {
        const tine_bench_row *row = &r->rows.row[i];
        printf("%-18s %-5s %4ld %4ld %5ld %10.3f ms %8.1f ", row->kernel, row->dtype,
               row->size.steps, row->size.batch, row->size.channels, row->seconds * 1e3,
               row->gflops);
        if (row->peak > 0)
            printf("%7.1f %%", 100 * row_share(row));
        else
            printf("%9s", "-");
        if (row->vs_openblas > 0) printf(" %8.2f x", row->vs_openblas);
        if (row->read > 0) printf("  %5.1f %% of its bound", 100 * row_share_of_bound(row));
        puts("");
    }
}

static const tine_bench_row *row_find(const results *r, const char *kernel, const char *dtype) {
    for (int i = 0; i < r->main_rows; i++)
        if (!strcmp(r->rows.row[i].kernel, kernel) && !strcmp(r->rows.row[i].dtype, dtype))
            return &r->rows.row[i];
    return NULL;
}

static void print_verdict(const char *what, double measured, double least, const char *unit) {
    const double scale = *unit == '%' ? 100 : 1;
    printf("  %-66s %6.2f %s of %6.2f  %s\n", what, scale * measured, unit, scale * least,
           measured >= least ? "met" : "MISSED");
}

static double few_share(const tine_bench_profile *p) {
    return tine_bench_profile_bound(p) / p->seconds;
}

static void print_verdicts_few(const results *r) {
    double least = 1;
    for (int i = 1; i < r->n_few; i++) least = fmin(least, few_share(&r->few[i]));
    print_verdict("batch 1, recurrent steps, share of one core's read bandwidth",
                  r->batch1.recurrent / r->batch1.read_one, 0.85, "%");
    print_verdict("batch 1, whole forward, share of its bound", few_share(&r->few[0]), 0.9, "%");
    if (r->n_few > 1)
        print_verdict("B 1 to 4, C 128 and 256: lowest share of its bound", least, 0.85, "%");
}

static void print_verdicts_grid(const results *r) {
    double speed = INFINITY, share = INFINITY, bound = INFINITY;
    for (int i = r->grid_from; i < r->grid_to; i++) {
        const tine_bench_row *row = &r->rows.row[i];
        if (!strcmp(row->kernel, "openblas")) continue;
        if (row->vs_openblas > 0) speed = fmin(speed, row->vs_openblas);
        if (row->size.batch < 8) continue;
        share = fmin(share, row_share(row));
        bound = fmin(bound, row_share_of_bound(row));
    }
    if (r->grid_to == r->grid_from) return;
    print_verdict("C 128 to 1024, B 8 to 128: lowest share of the FMA peak", share, 0.93, "%");
    print_verdict("the same: lowest share of its bound, of arithmetic and reading", bound, 0.93,
                  "%");
    if (isfinite(speed)) print_verdict("slowest cell of the grid against OpenBLAS", speed, 1, "x");
}

/* tine ensemble and tests/bench/lstm_peers.py measure what this one cannot: the whole ensemble on
 * its workers, and other programs' LSTMs. */
static void print_verdicts(const results *r) {
    const tine_bench_row *best = row_find(r, tine_isa_name(tine_kernel_choice()->f32), "f32");
    const tine_bench_row *avx2 = row_find(r, "avx2", "f32"),
                         *bf16 = row_find(r, tine_isa_name(tine_kernel_choice()->bf16), "bf16"),
                         *int8 = row_find(r, "avx512_vnni", "int8");
    puts("\nverdicts: measured, wanted at least");
    if (best) print_verdict("fp32 LSTM, share of the FMA peak", row_share(best), 0.98, "%");
    if (best)
        print_verdict("fp32 LSTM against the same with OpenBLAS", best->vs_openblas, 1.2, "x");
    if (bf16)
        print_verdict("bf16 LSTM, share of the peak of its instructions", row_share(bf16), 0.97,
                      "%");
    if (bf16 && int8)
        print_verdict("int8 LSTM against the same in bf16", bf16->seconds / int8->seconds, 1.7,
                      "x");
    if (avx2) print_verdict("AVX2 LSTM, share of the AVX2 FMA peak", row_share(avx2), 0.96, "%");
    print_verdicts_few(r);
    print_verdicts_grid(r);
}

static void print_batch1(const results *r, const request *q) {
    const tine_bench_bandwidth *b = &r->batch1;
    printf("\nbatch 1, C %ld: GB/s of weights beside GB/s of one core reading a buffer of the same "
           "size\n",
           q->channels);
    printf("  one step alone, both matrices once      %6.1f of %6.1f  %5.1f %%\n", b->step,
           b->read_two, 100 * b->step / b->read_two);
    printf("  recurrent steps of a forward            %6.1f of %6.1f  %5.1f %%\n", b->recurrent,
           b->read_one, 100 * b->recurrent / b->read_one);
    printf("  whole forward of %3ld steps              %6.1f of %6.1f  %5.1f %%  (its input "
           "product is bound "
           "by arithmetic)\n",
           q->steps, b->forward, b->read_one, 100 * b->forward / b->read_one);
}

static void print_kernels(void) {
    const struct tine_gemm_kernel *kernel;
    for (size_t i = 0; (kernel = tine_gemm_at(i)); i++) {
        const char *why = tine_isa_obstacle(tine_cpu(), kernel->isa);
        printf("  %-26s %s%s\n", kernel->name, why ? "cannot run: " : "runs", why ? why : "");
    }
}

static void bench_lstm_print(const results *r, const request *q) {
    printf("%s, one core: peak %.1f GFLOP/s f32", tine_cpu()->brand, r->peak_f32);
    if (r->peak_avx2 > 0) printf(", %.1f AVX2", r->peak_avx2);
    if (r->peak_bf16 > 0) printf(", %.1f bf16 dot products", r->peak_bf16);
    if (r->peak_int8 > 0) printf(", %.1f int8", r->peak_int8);
    printf("\nOpenBLAS with its kernels for %s\n", tine_bench_openblas_core());
    print_kernels();
    printf("\n%-18s %-5s %4s %4s %5s %13s %8s %9s %10s\n", "kernel", "type", "T", "B", "C", "time",
           "GFLOP/s", "of peak", "OpenBLAS");
    print_rows(r, 0, r->main_rows);
    if (r->bf16_error >= 0)
        printf("\nlargest difference of the bf16 output from the f32 output: %.2e", r->bf16_error);
    if (r->int8_error >= 0)
        printf("\nlargest difference of the int8 output from the f32 output: %.2e", r->int8_error);
    puts("");
    if (q->dtype) return;
    print_batch1(r, q);
    puts("");
    tine_bench_profiles_print(r->few, r->n_few);
    if (r->grid_to > r->grid_from) puts("");
    print_rows(r, r->grid_from, r->grid_to);
    print_verdicts(r);
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
    json_object_object_add(o, "share_of_peak",
                           row->peak > 0 ? tine_json_number(row_share(row), 4) : NULL);
    if (row->read > 0)
        json_object_object_add(o, "share_of_bound", tine_json_number(row_share_of_bound(row), 4));
    json_object_object_add(o, "vs_openblas",
                           row->vs_openblas > 0 ? tine_json_number(row->vs_openblas, 4) : NULL);
    return o;
}

static json_object *json_batch1(const tine_bench_bandwidth *b) {
    json_object *o = json_object_new_object();
    add_number(o, "read_gbs_one_matrix", b->read_one);
    add_number(o, "read_gbs_both_matrices", b->read_two);
    add_number(o, "step_gbs", b->step);
    add_number(o, "recurrent_gbs", b->recurrent);
    add_number(o, "forward_gbs", b->forward);
    add_number(o, "share_of_read", b->recurrent / b->read_one);
    return o;
}

static void bench_lstm_print_json(const results *r, const request *q) {
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
        json_object_object_add(o, "small_batches", tine_bench_profiles_json(r->few, r->n_few));
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
    static results r;
    static const tine_option options[] = {
        {"--time", "T", "steps (50)", TINE_OPTION_NUMBER, &q.steps, 1, 100000},
        {"--batch", "B", "rows of the batch (50)", TINE_OPTION_NUMBER, &q.batch, 1, 100000},
        {"--channels", "C", "input and hidden size (1024)", TINE_OPTION_NUMBER, &q.channels, 1,
         16384},
        {"--rounds", "R", "measure until R rounds improve nothing; the best counts (5)",
         TINE_OPTION_NUMBER, &q.rounds, 1, 1000},
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
        "OpenBLAS at its best. All in one process, in turns; the best round of each counts.",
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
