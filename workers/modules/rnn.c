/* The classes "lstm" and "gru": torch.nn.LSTM and torch.nn.GRU, with their constructors,
 * state_dict, results and error messages; forward is in rnn_forward.c. The weights are packed for
 * the chosen kernel when an instance is made, once per process. An instance is immutable, so any
 * number of forwards may run on it. */
#include "workers/modules/rnn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/trace/trace.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/weights.h"

static bool rnn_size_arg(tine_task *task, const char *name, int64_t least, size_t *out) {
    int64_t n = tine_arg_int(task, tine_arg_index(task, name));
    if (task->failed) return false;
    if (n < least)
        return tine_fail(task, "%s(): %s must be at least %lld, got %lld", task->callable->name,
                         name, (long long)least, (long long)n);
    *out = (size_t)n;
    return true;
}

static bool rnn_flag_arg(tine_task *task, const char *name) {
    return tine_arg_bool(task, tine_arg_index(task, name));
}

/* Dropout is for training: a number that is valid has no effect. */
static bool rnn_check_dropout(tine_task *task) {
    double p = tine_arg_float(task, tine_arg_index(task, "dropout"));
    if (task->failed || (p >= 0 && p <= 1)) return !task->failed;
    return tine_fail(task, "dropout should be a number in range [0, 1] representing the "
                           "probability of an element being zeroed");
}

static bool rnn_read_config(tine_task *task, bool gru, struct tine_lstm_config *c) {
    enum tine_gemm_type type;
    if (!tine_operand_type_arg(task, &type) ||
        !rnn_size_arg(task, "input_size", 1, &c->input_size) ||
        !rnn_size_arg(task, "hidden_size", 1, &c->hidden_size) ||
        !rnn_size_arg(task, "num_layers", 1, &c->num_layers) ||
        (!gru && !rnn_size_arg(task, "proj_size", 0, &c->proj_size)) || !rnn_check_dropout(task))
        return false;
    c->gru = gru;
    c->bias = rnn_flag_arg(task, "bias");
    c->batch_first = rnn_flag_arg(task, "batch_first");
    c->bidirectional = rnn_flag_arg(task, "bidirectional");
    c->type = (enum tine_lstm_type)type;
    const char *defect = tine_lstm_config_defect(c);
    if (defect) tine_fail(task, "%s(): %s", task->callable->name, defect);
    return !task->failed;
}

/* Uniform in ±1 / sqrt(hidden_size), as reset_parameters. */
static void rnn_describe(const void *config, size_t i, tine_weight *out) {
    const struct tine_lstm_config *c = config;
    size_t rows, columns;
    *out = (tine_weight){.init = TINE_INIT_UNIFORM,
                         .scale = (float)(1 / sqrt((double)c->hidden_size))};
    tine_lstm_weight_info(c, i, out->name, &rows, &columns);
    out->rank = columns ? 2 : 1;
    out->shape[0] = (int64_t)rows;
    out->shape[1] = (int64_t)columns;
}

static tine_rnn *rnn_pack(tine_task *task, const struct tine_lstm_config *config,
                          const tine_value *const *weights, size_t n) {
    const float **data = calloc(n, sizeof *data);
    struct tine_lstm *packed = NULL;
    tine_rnn *l = data ? calloc(1, sizeof *l) : NULL;
    enum tine_kernel_error e = l ? TINE_KERNEL_OK : TINE_KERNEL_MEMORY;
    for (size_t i = 0; data && i < n; i++) data[i] = (const float *)weights[i]->tensor.data;
    int64_t t = tine_trace_begin();
    if (!e) e = tine_lstm_create(config, data, &packed);
    tine_trace_end(TINE_TRACE_KERNEL, t, config->gru ? "gru pack" : "lstm pack");
    free(data);
    if (e) {
        free(l);
        tine_fail(task, "%s(): %s", task->callable->name, tine_kernel_strerror(e));
        return NULL;
    }
    l->packed = packed;
    l->config = *tine_lstm_config(packed);
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

static void *rnn_init(tine_task *task, bool gru) {
    struct tine_lstm_config config = {0};
    tine_rnn *l = NULL;
    if (!rnn_read_config(task, gru, &config)) return NULL;
    const tine_weight_set set = {gru ? "GRU" : "LSTM", tine_lstm_weight_count(&config), &config,
                                 rnn_describe};
    const tine_value **weights = calloc(set.n, sizeof *weights);
    if (!weights) return tine_fail(task, "%s(): no memory", task->callable->name);
    if (tine_weights_get(task, &set, weights)) l = rnn_pack(task, &config, weights, set.n);
    free(weights);
    return l;
}

static void *lstm_init(tine_task *task) { return rnn_init(task, false); }
static void *gru_init(tine_task *task) { return rnn_init(task, true); }

bool tine_rnn_is(const tine_value *module) {
    const tine_class_entry *class = tine_registry_class(module->bytes.data);
    const tine_callable *c = class ? tine_class_method(class, "forward") : NULL;
    return c && c->call == tine_rnn_forward;
}

static void rnn_fini(void *self) {
    tine_rnn *l = self;
    tine_lstm_free(l->packed);
    tine_lstm_workspace_free(l->spare);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static const tine_method rnn_methods[] = {
    {"forward", "input, hx=none, lengths=none", tine_rnn_forward, TINE_REPEATABLE}, {0}};

static const tine_class lstm_class = {
    .name = "lstm",
    .parameters =
        "input_size, hidden_size, num_layers=1, bias=true, batch_first=false, bidirectional=false, "
        "proj_size=0, dtype='f32', *, dropout=0.0, " TINE_WEIGHTS_PARAMETERS,
    .init = lstm_init,
    .fini = rnn_fini,
    .methods = rnn_methods,
};
TINE_BUILTIN_CLASS(lstm_class, tine_weights_rewrite)

static const tine_class gru_class = {
    .name = "gru",
    .parameters = "input_size, hidden_size, num_layers=1, bias=true, batch_first=false, "
                  "bidirectional=false, dtype='f32', *, dropout=0.0, " TINE_WEIGHTS_PARAMETERS,
    .init = gru_init,
    .fini = rnn_fini,
    .methods = rnn_methods,
};
TINE_BUILTIN_CLASS(gru_class, tine_weights_rewrite)
