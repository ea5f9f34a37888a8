/* The class "lstm": torch.nn.LSTM, with its constructor, state_dict, results and error messages.
 * The weights are packed for the chosen kernel when an instance is made, once per process. An
 * instance is immutable, so any number of forwards may run on it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/bf16.h"
#include "kernels/lstm.h"
#include "runtime/trace/trace.h"
#include "workers/builtin/builtin.h"

typedef struct lstm {
    struct tine_lstm *packed;
    struct tine_lstm_config config;
    pthread_mutex_t lock;              /* protects spare; no other lock is taken under it */
    struct tine_lstm_workspace *spare; /* left by the last forward for the next; or NULL */
} lstm;

enum {
    INPUT_SIZE,
    HIDDEN_SIZE,
    NUM_LAYERS,
    BIAS,
    BATCH_FIRST,
    BIDIRECTIONAL,
    PROJ_SIZE,
    DTYPE,
    STATE_DICT
};

static bool lstm_size_arg(tine_task *task, size_t i, const char *name, int64_t least, size_t *out) {
    int64_t n = tine_arg_int(task, i);
    if (task->failed) return false;
    if (n < least) {
        tine_fail(task, "lstm(): %s must be at least %lld, got %lld", name, (long long)least,
                  (long long)n);
        return false;
    }
    *out = (size_t)n;
    return true;
}

static bool lstm_read_config(tine_task *task, struct tine_lstm_config *c) {
    tine_dtype t = tine_arg_dtype(task, DTYPE);
    if (!t || !lstm_size_arg(task, INPUT_SIZE, "input_size", 1, &c->input_size) ||
        !lstm_size_arg(task, HIDDEN_SIZE, "hidden_size", 1, &c->hidden_size) ||
        !lstm_size_arg(task, NUM_LAYERS, "num_layers", 1, &c->num_layers) ||
        !lstm_size_arg(task, PROJ_SIZE, "proj_size", 0, &c->proj_size))
        return false;
    c->bias = tine_arg_bool(task, BIAS);
    c->batch_first = tine_arg_bool(task, BATCH_FIRST);
    c->bidirectional = tine_arg_bool(task, BIDIRECTIONAL);
    if (t != TINE_F32 && t != TINE_BF16) {
        tine_fail(task, "lstm(): dtype must be f32 or bf16, not %s", tine_dtype_name(t));
        return false;
    }
    c->type = t == TINE_BF16 ? TINE_LSTM_BF16 : TINE_LSTM_F32;
    const char *defect = tine_lstm_config_defect(c);
    if (defect) tine_fail(task, "lstm(): %s", defect);
    return !defect;
}

static const tine_value *find_weight(const tine_value *dict, const char *name) {
    for (size_t i = 0; i < dict->list.n; i++)
        if (strcmp(dict->list.keys[i], name) == 0) return dict->list.items[i];
    return NULL;
}

/* The elements of a tensor as float32, converted if need be. NULL: the task has failed. */
static const float *floats_of(tine_task *task, const tine_value *x, const char *what) {
    void *data;
    if (x->tensor.dtype == TINE_F32) return (const float *)x->tensor.data;
    if (!tine_dtype_floating(x->tensor.dtype)) {
        tine_fail(task, "lstm(): %s must be a float tensor, not %s", what,
                  tine_dtype_name(x->tensor.dtype));
        return NULL;
    }
    if (!tine_tensor_new(TINE_F32, x->tensor.rank, x->tensor.shape, &data)) return NULL;
    for (int64_t i = 0; i < x->tensor.elements; i++)
        ((float *)data)[i] = (float)tine_tensor_float_at(x, i);
    return data;
}

static bool lstm_check_weight(tine_task *task, const tine_value *v, const char *name, size_t rows,
                              size_t columns) {
    if (!v || v->kind != TINE_TENSOR) {
        tine_fail(
            task,
            v ? "Error(s) in loading state_dict for LSTM: \"%s\" is not a tensor."
              : "Error(s) in loading state_dict for LSTM: Missing key(s) in state_dict: \"%s\".",
            name);
        return false;
    }
    const int64_t *s = v->tensor.shape;
    int rank = columns ? 2 : 1;
    if (v->tensor.rank == rank && s[0] == (int64_t)rows && (rank == 1 || s[1] == (int64_t)columns))
        return true;
    char got[64] = "", want[64];
    if (v->tensor.rank == 2)
        snprintf(got, sizeof got, "%lld, %lld", (long long)s[0], (long long)s[1]);
    else if (v->tensor.rank == 1)
        snprintf(got, sizeof got, "%lld", (long long)s[0]);
    else
        snprintf(got, sizeof got, "%d dimensions", v->tensor.rank);
    snprintf(want, sizeof want, columns ? "%zu, %zu" : "%zu", rows, columns);
    tine_fail(
        task,
        "Error(s) in loading state_dict for LSTM: size mismatch for %s: copying a param with shape "
        "torch.Size([%s]) "
        "from checkpoint, the shape in current model is torch.Size([%s]).",
        name, got, want);
    return false;
}

/* Every weight of the configuration is there, and no other entry. */
static bool lstm_read_weights(tine_task *task, const struct tine_lstm_config *c,
                              const float **weights, size_t n) {
    const tine_value *dict = tine_arg(task, STATE_DICT);
    char name[40];
    size_t rows, columns;
    if (dict->kind != TINE_DICT) {
        tine_fail(task, "lstm(): argument 'state_dict' must be a dict of tensors, not %s",
                  tine_kind_name(dict->kind));
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        tine_lstm_weight_info(c, i, name, &rows, &columns);
        const tine_value *v = find_weight(dict, name);
        if (!lstm_check_weight(task, v, name, rows, columns) ||
            !(weights[i] = floats_of(task, v, name)))
            return false;
    }
    for (size_t k = 0; k < dict->list.n && dict->list.n > n; k++) {
        bool known = false;
        for (size_t i = 0; i < n && !known; i++)
            known = tine_lstm_weight_info(c, i, name, &rows, &columns) &&
                    strcmp(name, dict->list.keys[k]) == 0;
        if (known) continue;
        tine_fail(
            task,
            "Error(s) in loading state_dict for LSTM: Unexpected key(s) in state_dict: \"%s\".",
            dict->list.keys[k]);
        return false;
    }
    return true;
}

static void lstm_fini(void *self) {
    lstm *l = self;
    tine_lstm_free(l->packed);
    tine_lstm_workspace_free(l->spare);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static void *lstm_init(tine_task *task) {
    struct tine_lstm_config config = {0};
    struct tine_lstm *packed = NULL;
    lstm *l = NULL;
    if (!lstm_read_config(task, &config)) return NULL;
    size_t n = tine_lstm_weight_count(&config);
    const float **weights = calloc(n, sizeof *weights);
    if (!weights) return tine_fail(task, "lstm(): no memory for the weights");
    if (lstm_read_weights(task, &config, weights, n)) {
        int64_t t = tine_trace_begin();
        enum tine_kernel_error e = tine_lstm_create(&config, weights, &packed);
        tine_trace_end(TINE_TRACE_KERNEL, t, "lstm pack");
        if (e || !(l = calloc(1, sizeof *l)))
            tine_fail(task, "lstm(): %s", tine_kernel_strerror(e ? e : TINE_KERNEL_MEMORY));
    }
    free(weights);
    if (!l) {
        tine_lstm_free(packed);
        return NULL;
    }
    l->packed = packed;
    l->config = *tine_lstm_config(packed);
    pthread_mutex_init(&l->lock, NULL);
    return l;
}

/* ---- forward ---- */

typedef struct sizes {
    bool batched;
    int64_t steps, batch, state, out; /* state: width of h; out: of the output */
    int64_t cells;                    /* layers x directions */
} sizes;

static bool lstm_check_input(tine_task *task, const lstm *l, const tine_value *x, sizes *s) {
    int rank = x->tensor.rank;
    const struct tine_lstm_config *c = &l->config;
    if (rank != 2 && rank != 3) {
        tine_fail(task, "LSTM: Expected input to be 2D or 3D, got %dD instead", rank);
        return false;
    }
    if (x->tensor.shape[rank - 1] != (int64_t)c->input_size) {
        tine_fail(task, "input.size(-1) must be equal to input_size. Expected %zu, got %lld",
                  c->input_size, (long long)x->tensor.shape[rank - 1]);
        return false;
    }
    s->batched = rank == 3;
    s->steps = x->tensor.shape[s->batched && c->batch_first ? 1 : 0];
    s->batch = s->batched ? x->tensor.shape[c->batch_first ? 0 : 1] : 1;
    s->state = (int64_t)(c->proj_size ? c->proj_size : c->hidden_size);
    s->out = (int64_t)tine_lstm_output_size(c);
    s->cells = (int64_t)c->num_layers * (c->bidirectional ? 2 : 1);
    if (s->steps > 0) return true;
    tine_fail(task, "Expected sequence length to be larger than 0 in RNN");
    return false;
}

static bool lstm_check_state(tine_task *task, const sizes *s, const tine_value *v, int which,
                             int64_t width) {
    const int64_t *d = v->tensor.shape;
    bool good = s->batched ? d[0] == s->cells && d[1] == s->batch && d[2] == width
                           : d[0] == s->cells && d[1] == width;
    if (good) return true;
    if (s->batched)
        tine_fail(task, "Expected hidden[%d] size (%lld, %lld, %lld), got [%lld, %lld, %lld]",
                  which, (long long)s->cells, (long long)s->batch, (long long)width,
                  (long long)d[0], (long long)d[1], (long long)d[2]);
    else
        tine_fail(task, "Expected hidden[%d] size (%lld, %lld), got [%lld, %lld]", which,
                  (long long)s->cells, (long long)width, (long long)d[0], (long long)d[1]);
    return false;
}

/* Argument hx: none, or (h_0, c_0). */
static bool lstm_read_states(tine_task *task, const lstm *l, const sizes *s, const float **h0,
                             const float **c0) {
    const tine_value *hx = tine_arg(task, 1);
    if (hx->kind == TINE_NONE) return true;
    if (hx->kind != TINE_LIST || hx->list.n != 2 || hx->list.items[0]->kind != TINE_TENSOR ||
        hx->list.items[1]->kind != TINE_TENSOR) {
        tine_fail(
            task,
            "lstm.forward(): argument 'hx' must be none or a list of two tensors, h_0 and c_0");
        return false;
    }
    const tine_value *h = hx->list.items[0], *c = hx->list.items[1];
    int wanted = s->batched ? 3 : 2;
    if (h->tensor.rank != wanted || c->tensor.rank != wanted) {
        tine_fail(
            task, "For %s %d-D input, hx and cx should also be %d-D but got (%d-D, %d-D) tensors",
            s->batched ? "batched" : "unbatched", wanted, wanted, h->tensor.rank, c->tensor.rank);
        return false;
    }
    return lstm_check_state(task, s, h, 0, s->state) &&
           lstm_check_state(task, s, c, 1, (int64_t)l->config.hidden_size) &&
           (*h0 = floats_of(task, h, "h_0")) && (*c0 = floats_of(task, c, "c_0"));
}

static struct tine_lstm_workspace *workspace_take(lstm *l) {
    struct tine_lstm_workspace *w;
    pthread_mutex_lock(&l->lock);
    w = l->spare;
    l->spare = NULL;
    pthread_mutex_unlock(&l->lock);
    if (!w && tine_lstm_workspace_create(&w) != TINE_KERNEL_OK) return NULL;
    return w;
}

static void workspace_give_back(lstm *l, struct tine_lstm_workspace *w) {
    pthread_mutex_lock(&l->lock);
    if (!l->spare) {
        l->spare = w;
        w = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    tine_lstm_workspace_free(w);
}

/* A float32 result as bf16: the results of a bf16 input are bf16. */
static tine_value *bf16_tensor(tine_value *v) {
    void *data;
    tine_value *out = tine_tensor_new(TINE_BF16, v->tensor.rank, v->tensor.shape, &data);
    for (int64_t i = 0; out && i < v->tensor.elements; i++)
        ((uint16_t *)data)[i] = tine_bf16_from_float(((const float *)v->tensor.data)[i]);
    return out;
}

static tine_value *result_tensor(const lstm *l, const sizes *s, int64_t first, int64_t width,
                                 bool state, void **data) {
    int64_t shape[3], n = 0;
    bool swap = !state && s->batched && l->config.batch_first;
    shape[n++] = swap ? s->batch : first;
    if (s->batched) shape[n++] = swap ? first : s->batch;
    shape[n++] = width;
    return tine_tensor_new(TINE_F32, (int)n, shape, data);
}

/* torch.nn.LSTM.forward: [output, [h_n, c_n]]. */
static tine_value *lstm_forward(tine_task *task) {
    lstm *l = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1);
    const float *input, *h0 = NULL, *c0 = NULL;
    void *output, *h_n, *c_n;
    sizes s;
    if (!x || !lstm_check_input(task, l, x, &s)) return NULL;
    if (x->tensor.dtype != TINE_F32 &&
        (x->tensor.dtype != TINE_BF16 || l->config.type != TINE_LSTM_BF16))
        return tine_fail(task, "lstm.forward(): the input must be %s, not %s",
                         l->config.type == TINE_LSTM_BF16 ? "float32 or bfloat16" : "float32",
                         tine_dtype_name(x->tensor.dtype));
    if (!lstm_read_states(task, l, &s, &h0, &c0) || !(input = floats_of(task, x, "input")))
        return NULL;
    tine_value *out = result_tensor(l, &s, s.steps, s.out, false, &output);
    tine_value *h = result_tensor(l, &s, s.cells, s.state, true, &h_n);
    tine_value *c = result_tensor(l, &s, s.cells, (int64_t)l->config.hidden_size, true, &c_n);
    struct tine_lstm_workspace *w = out && h && c ? workspace_take(l) : NULL;
    if (!out || !h || !c) return NULL;
    if (!w) return tine_fail(task, "lstm.forward(): no memory for the computation");
    int64_t t = tine_trace_begin();
    enum tine_kernel_error e = tine_lstm_forward(l->packed, w, (size_t)s.steps, (size_t)s.batch,
                                                 input, h0, c0, output, h_n, c_n);
    tine_trace_end(TINE_TRACE_KERNEL, t, "lstm");
    workspace_give_back(l, w);
    if (e) return tine_fail(task, "lstm.forward(): %s", tine_kernel_strerror(e));
    if (x->tensor.dtype == TINE_BF16)
        out = bf16_tensor(out), h = bf16_tensor(h), c = bf16_tensor(c);
    return tine_list(out, tine_list(h, c));
}

static const tine_class lstm_class = {
    .name = "lstm",
    .parameters =
        "input_size, hidden_size, num_layers=1, bias=true, batch_first=false, bidirectional=false, "
        "proj_size=0, dtype='f32', *, state_dict",
    .init = lstm_init,
    .fini = lstm_fini,
    .methods =
        (const tine_method[]){{"forward", "input, hx=none", lstm_forward, TINE_REPEATABLE}, {0}},
};
TINE_BUILTIN_CLASS(lstm_class)
