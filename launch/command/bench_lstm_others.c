/* The libraries people would use instead, measured in the same run where they are installed:
 * PyTorch through its own interpreter, oneDNN loaded at run time. Both with one thread. */
#include "launch/command/bench_lstm_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char torch_program[] = "import sys, time\n"
                                    "try:\n"
                                    "    import torch\n"
                                    "except ImportError:\n"
                                    "    sys.exit(3)\n"
                                    "t, b, c = map(int, sys.argv[1:4])\n"
                                    "torch.set_num_threads(1)\n"
                                    "m, x = torch.nn.LSTM(c, c), torch.rand(t, b, c)\n"
                                    "best = 1e9\n"
                                    "with torch.no_grad():\n"
                                    "    for i in range(5):\n"
                                    "        start = time.thread_time()\n"
                                    "        m(x)\n"
                                    "        if i: best = min(best, time.thread_time() - start)\n"
                                    "print(best, torch.__version__)\n";

static void exec_python(const char *python, tine_bench_size size, int out) {
    char steps[24], batch[24], channels[24];
    snprintf(steps, sizeof steps, "%ld", size.steps);
    snprintf(batch, sizeof batch, "%ld", size.batch);
    snprintf(channels, sizeof channels, "%ld", size.channels);
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("MKL_NUM_THREADS", "1", 1);
    dup2(out, STDOUT_FILENO);
    execlp(python, python, "-c", torch_program, steps, batch, channels, (char *)NULL);
    _exit(127);
}

/* The first line one interpreter prints; false if it failed. */
static bool ask_python(const char *python, tine_bench_size size, char *line, int space,
                       int *status) {
    int ends[2];
    if (pipe(ends)) return false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        exec_python(python, size, ends[1]);
    }
    close(ends[1]);
    FILE *from = fdopen(ends[0], "r");
    bool got = pid > 0 && from && fgets(line, space, from);
    if (from) fclose(from);
    if (pid > 0) waitpid(pid, status, 0);
    return got && pid > 0 && WIFEXITED(*status) && WEXITSTATUS(*status) == 0;
}

bool tine_bench_pytorch(tine_bench_size size, double *seconds, char *version, char *why,
                        int space) {
    static const char *const pythons[] = {"python3", "/usr/bin/python3"};
    char line[128];
    for (int i = 0; i < 2; i++) {
        int status = 0;
        if (ask_python(pythons[i], size, line, sizeof line, &status) &&
            sscanf(line, "%lf %31s", seconds, version) == 2)
            return true;
    }
    snprintf(why, (size_t)space, "PyTorch: skipped, python3 has no module torch");
    return false;
}

/* ---- oneDNN ---- */

#if __has_include("oneapi/dnnl/dnnl.h")
#include <dlfcn.h>
#include <math.h>

#include "oneapi/dnnl/dnnl.h"

/* The few functions used, found in the library at run time, so that nothing depends on it. */
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

/* Memory filled with 0.01, in float32 as in bf16. */
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

/* Everything of oneDNN's is made once and lives until the process ends. */
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

bool tine_bench_onednn(tine_bench_size size, bool bf16, double *seconds, char *version, char *why,
                       int space) {
    static dnnl d;
    dnnl_lstm lstm;
    if (!d.handle && !load_dnnl(&d)) {
        snprintf(why, (size_t)space, "oneDNN: skipped, libdnnl.so.2 is not installed");
        return false;
    }
    if (!make_dnnl_lstm(&d, size, bf16 ? dnnl_bf16 : dnnl_f32, &lstm)) {
        snprintf(why, (size_t)space, "oneDNN: skipped, it has no such LSTM on this CPU");
        return false;
    }
    *seconds = INFINITY;
    for (int i = 0; i < 5; i++) {
        double start = tine_bench_clock();
        if (d.execute(lstm.primitive, lstm.stream, 5, lstm.args) || d.stream_wait(lstm.stream))
            return false;
        if (i) *seconds = fmin(*seconds, tine_bench_clock() - start);
    }
    const dnnl_version_t *v = d.version();
    snprintf(version, 32, "%d.%d.%d", v->major, v->minor, v->patch);
    return true;
}
#else
bool tine_bench_onednn(tine_bench_size size, bool bf16, double *seconds, char *version, char *why,
                       int space) {
    (void)size, (void)bf16, (void)seconds, (void)version;
    snprintf(why, (size_t)space,
             "oneDNN: skipped, built without its headers (Debian: libdnnl-dev)");
    return false;
}
#endif
