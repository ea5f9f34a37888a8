/* The LSTM of other libraries beside Tine's, in one run on one thread: PyTorch (lstm_pytorch.py)
 * and oneDNN 2, each where it is installed.   usage: bench_lstm_peers [T B C], by default 50 50
 * 1024, in the project's folder */
#include "launch/bench/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/isa.h"

enum { ROUNDS = 5 };

/* What a library took; else `why` says why it was not measured. */
typedef struct peer {
    double seconds;
    char version[32], why[96];
} peer;

/* ---- PyTorch ---- */

static bool pytorch_measure(tine_bench_size size, peer *out) {
    static const char *const interpreters[] = {"python3", "/usr/bin/python3"};
    for (int i = 0; i < 2; i++) {
        char command[128];
        snprintf(command, sizeof command, "%s tests/bench/lstm_pytorch.py %ld %ld %ld",
                 interpreters[i], size.steps, size.batch, size.channels);
        FILE *from = popen(command, "r");
        bool got = from && fscanf(from, "%lf %31s", &out->seconds, out->version) == 2;
        if (from && pclose(from) == 0 && got) return true;
    }
    snprintf(out->why, sizeof out->why, "python3 has no module torch");
    return false;
}

/* ---- oneDNN ---- */

#if __has_include("oneapi/dnnl/dnnl.h")
#include <dlfcn.h>
#include <math.h>

#include "oneapi/dnnl/dnnl.h"

/* The functions used, found in the library at run time: the program starts without it. */
typedef struct dnnl {
    void *handle; /* of the library */
    __typeof__(dnnl_version) *version;
    __typeof__(dnnl_engine_create) *engine_create;
    __typeof__(dnnl_stream_create) *stream_create;
    __typeof__(dnnl_stream_wait) *stream_wait;
    __typeof__(dnnl_memory_desc_init_by_tag) *desc_init;
    __typeof__(dnnl_memory_desc_get_size) *desc_size;
    __typeof__(dnnl_lstm_forward_desc_init) *lstm_init;
    __typeof__(dnnl_primitive_desc_create) *pd_create;
    __typeof__(dnnl_primitive_desc_query_md) *query_md;
    __typeof__(dnnl_memory_create) *memory_create;
    __typeof__(dnnl_memory_get_data_handle) *memory_data;
    __typeof__(dnnl_primitive_create) *create;
    __typeof__(dnnl_primitive_execute) *execute;
} dnnl;

static bool load_dnnl(dnnl *d) {
    setenv("OMP_NUM_THREADS", "1", 1);
    d->handle = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!d->handle) return false;
    const struct {
        void **slot;
        const char *name;
    } wanted[] = {
        {(void **)&d->version, "dnnl_version"},
        {(void **)&d->engine_create, "dnnl_engine_create"},
        {(void **)&d->stream_create, "dnnl_stream_create"},
        {(void **)&d->stream_wait, "dnnl_stream_wait"},
        {(void **)&d->desc_init, "dnnl_memory_desc_init_by_tag"},
        {(void **)&d->desc_size, "dnnl_memory_desc_get_size"},
        {(void **)&d->lstm_init, "dnnl_lstm_forward_desc_init"},
        {(void **)&d->pd_create, "dnnl_primitive_desc_create"},
        {(void **)&d->query_md, "dnnl_primitive_desc_query_md"},
        {(void **)&d->memory_create, "dnnl_memory_create"},
        {(void **)&d->memory_data, "dnnl_memory_get_data_handle"},
        {(void **)&d->create, "dnnl_primitive_create"},
        {(void **)&d->execute, "dnnl_primitive_execute"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!(*wanted[i].slot = dlsym(d->handle, wanted[i].name))) return false;
    return true;
}

/* Memory filled with 0.01, in float32 as well as in bf16. */
static bool make_memory(const dnnl *d, const dnnl_memory_desc_t *desc, dnnl_engine_t engine,
                        dnnl_memory_t *out) {
    void *data;
    if (d->memory_create(out, desc, engine, DNNL_MEMORY_ALLOCATE) || d->memory_data(*out, &data))
        return false;
    const unsigned pattern = 0x3c243c24;
    for (size_t i = 0; i + 4 <= d->desc_size(desc); i += 4) memcpy((char *)data + i, &pattern, 4);
    return true;
}

typedef struct dnnl_lstm {
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[5];
} dnnl_lstm;

/* What oneDNN makes lives until the process ends. */
static bool make_dnnl_lstm(const dnnl *d, tine_bench_size size, dnnl_data_type_t type,
                           dnnl_lstm *out) {
    const dnnl_dim_t C = size.channels;
    const dnnl_dims_t layer = {size.steps, size.batch, C}, weights = {1, 1, C, 4, C},
                      bias = {1, 1, 4, C};
    dnnl_memory_desc_t x, w_ih, w_hh, b, y;
    dnnl_rnn_desc_t rnn;
    dnnl_engine_t engine;
    dnnl_primitive_desc_t pd;
    if (d->engine_create(&engine, dnnl_cpu, 0) ||
        d->stream_create(&out->stream, engine, dnnl_stream_default_flags))
        return false;
    if (d->desc_init(&x, 3, layer, type, dnnl_tnc) || d->desc_init(&y, 3, layer, type, dnnl_tnc) ||
        d->desc_init(&w_ih, 5, weights, type, dnnl_format_tag_any) ||
        d->desc_init(&w_hh, 5, weights, type, dnnl_format_tag_any) ||
        d->desc_init(&b, 4, bias, dnnl_f32, dnnl_ldgo))
        return false;
    if (d->lstm_init(&rnn, dnnl_forward_inference, dnnl_unidirectional_left2right, &x, NULL, NULL,
                     &w_ih, &w_hh, &b, &y, NULL, NULL, 0) ||
        d->pd_create(&pd, &rnn, NULL, engine, NULL) || d->create(&out->primitive, pd))
        return false;
    const dnnl_memory_desc_t *descs[] = {&x, d->query_md(pd, dnnl_query_weights_md, 0),
                                         d->query_md(pd, dnnl_query_weights_md, 1), &b, &y};
    const int names[] = {DNNL_ARG_SRC_LAYER, DNNL_ARG_WEIGHTS_LAYER, DNNL_ARG_WEIGHTS_ITER,
                         DNNL_ARG_BIAS, DNNL_ARG_DST_LAYER};
    for (int i = 0; i < 5; i++) {
        out->args[i].arg = names[i];
        if (!make_memory(d, descs[i], engine, &out->args[i].memory)) return false;
    }
    return true;
}

static bool onednn_measure(tine_bench_size size, bool bf16, peer *out) {
    static dnnl d;
    dnnl_lstm lstm;
    if (!d.handle && !load_dnnl(&d)) {
        snprintf(out->why, sizeof out->why, "libdnnl.so.2 is not installed");
        return false;
    }
    if (!make_dnnl_lstm(&d, size, bf16 ? dnnl_bf16 : dnnl_f32, &lstm)) {
        snprintf(out->why, sizeof out->why, "it has no such LSTM on this CPU");
        return false;
    }
    out->seconds = INFINITY;
    for (int i = 0; i < ROUNDS; i++) {
        double start = tine_bench_clock();
        if (d.execute(lstm.primitive, lstm.stream, 5, lstm.args) || d.stream_wait(lstm.stream)) {
            snprintf(out->why, sizeof out->why, "its LSTM failed");
            return false;
        }
        if (i) out->seconds = fmin(out->seconds, tine_bench_clock() - start);
    }
    const dnnl_version_t *v = d.version();
    snprintf(out->version, sizeof out->version, "%d.%d.%d", v->major, v->minor, v->patch);
    return true;
}
#else
static bool onednn_measure(tine_bench_size size, bool bf16, peer *out) {
    (void)size, (void)bf16;
    snprintf(out->why, sizeof out->why, "built without its headers (Debian: libdnnl-dev)");
    return false;
}
#endif

/* ---- the table ---- */

static void print_row(const char *name, const char *version, const char *dtype, double seconds,
                      const tine_bench_row *tine) {
    printf("%-8s %-14s %-5s %10.3f ms %8.1f GFLOP/s %6.2f x\n", name, version, dtype, seconds * 1e3,
           tine->gflops * tine->seconds / seconds, seconds / tine->seconds);
}

static void print_peer(const char *name, const char *dtype, bool measured, const peer *p,
                       const tine_bench_row *tine) {
    if (measured)
        print_row(name, p->version, dtype, p->seconds, tine);
    else
        printf("%-8s %-5s skipped: %s\n", name, dtype, p->why);
}

int main(int argc, char **argv) {
    static tine_bench_rows rows;
    tine_bench_size size = {50, 50, 1024};
    if (argc == 4)
        size = (tine_bench_size){strtol(argv[1], NULL, 10), strtol(argv[2], NULL, 10),
                                 strtol(argv[3], NULL, 10)};
    if ((argc != 1 && argc != 4) || size.steps < 1 || size.batch < 1 || size.channels < 1) {
        fprintf(stderr, "usage: bench_lstm_peers [T B C]\n");
        return 2;
    }
    const tine_bench_subject ours[] = {{tine_kernel_choice()->f32, TINE_LSTM_F32},
                                       {tine_kernel_choice()->bf16, TINE_LSTM_BF16}};
    if (!tine_bench_measure(size, ours, 2, ROUNDS, &rows) || rows.count != 2) return 1;
    const tine_bench_row *f32 = &rows.row[0], *bf16 = &rows.row[1];
    printf("LSTM, T %ld, B %ld, C %ld, one thread; x: the time over Tine's\n", size.steps,
           size.batch, size.channels);
    print_row("tine", f32->kernel, f32->dtype, f32->seconds, f32);
    print_row("tine", bf16->kernel, bf16->dtype, bf16->seconds, bf16);
    peer p = {0};
    bool measured = pytorch_measure(size, &p);
    print_peer("pytorch", "f32", measured, &p, f32);
    measured = onednn_measure(size, false, &p);
    print_peer("onednn", "f32", measured, &p, f32);
    measured = onednn_measure(size, true, &p);
    print_peer("onednn", "bf16", measured, &p, bf16);
    return 0;
}
