/* The forward of the classes "lstm" and "gru"; see rnn.h.
 *
 * With `lengths` the batch is a packed sequence: it is sorted by length, longest first, as the
 * kernel wants it, and the results are put back in the caller's order. */
#include <stdlib.h>
#include <string.h>

#include "runtime/api/instances.h"
#include "runtime/trace/trace.h"
#include "workers/builtin/builtin.h"
#include "workers/modules/rnn.h"
#include "workers/modules/weights.h"

typedef struct sizes {
    bool batched;
    int64_t steps, batch, state, out; /* state: width of h; out: of the output */
    int64_t cells;                    /* layers x directions */
} sizes;

/* What the kernel reads; all but `input` may be NULL. */
typedef struct rnn_inputs {
    const float *input, *h0, *c0;
    size_t *lengths; /* in descending order */
    size_t *order;   /* order[i]: the caller's row that is row i here */
} rnn_inputs;

static const char *rnn_name(const tine_rnn *l) { return l->config.gru ? "GRU" : "LSTM"; }

static bool rnn_check_input(tine_task *task, const tine_rnn *l, const tine_value *x, sizes *s) {
    int rank = x->tensor.rank;
    const struct tine_lstm_config *c = &l->config;
    if (rank != 2 && rank != 3)
        return tine_fail(task, "%s: Expected input to be 2D or 3D, got %dD instead", rnn_name(l),
                         rank);
    if (x->tensor.shape[rank - 1] != (int64_t)c->input_size)
        return tine_fail(task, "input.size(-1) must be equal to input_size. Expected %zu, got %lld",
                         c->input_size, (long long)x->tensor.shape[rank - 1]);
    s->batched = rank == 3;
    s->steps = x->tensor.shape[s->batched && c->batch_first ? 1 : 0];
    s->batch = s->batched ? x->tensor.shape[c->batch_first ? 0 : 1] : 1;
    s->state = (int64_t)(c->proj_size ? c->proj_size : c->hidden_size);
    s->out = (int64_t)tine_lstm_output_size(c);
    s->cells = (int64_t)c->num_layers * (c->bidirectional ? 2 : 1);
    if (x->tensor.dtype != TINE_F32 && (x->tensor.dtype != TINE_BF16 || c->type != TINE_LSTM_BF16))
        return tine_fail(task, "%s(): the input must be %s, not %s", task->callable->name,
                         c->type == TINE_LSTM_BF16 ? "float32 or bfloat16" : "float32",
                         tine_dtype_name(x->tensor.dtype));
    return s->steps > 0 || tine_fail(task, "Expected sequence length to be larger than 0 in RNN");
}

/* ---- states ---- */

/* `which`: the name of the state in PyTorch's sentence. */
static bool rnn_check_state(tine_task *task, const sizes *s, const tine_value *v, const char *which,
                            int64_t width) {
    const int64_t *d = v->tensor.shape;
    bool good = s->batched ? d[0] == s->cells && d[1] == s->batch && d[2] == width
                           : d[0] == s->cells && d[1] == width;
    if (good) return true;
    if (s->batched)
        return tine_fail(task, "Expected %s size (%lld, %lld, %lld), got [%lld, %lld, %lld]", which,
                         (long long)s->cells, (long long)s->batch, (long long)width,
                         (long long)d[0], (long long)d[1], (long long)d[2]);
    return tine_fail(task, "Expected %s size (%lld, %lld), got [%lld, %lld]", which,
                     (long long)s->cells, (long long)width, (long long)d[0], (long long)d[1]);
}

static const float *state_floats(tine_task *task, const tine_value *v, const char *what) {
    const tine_value *f = tine_floats_of(task, v, what);
    return f ? (const float *)f->tensor.data : NULL;
}

/* hx of an LSTM: (h_0, c_0). */
static bool lstm_read_states(tine_task *task, const tine_rnn *l, const sizes *s,
                             const tine_value *hx, rnn_inputs *in) {
    if (hx->kind != TINE_LIST || hx->list.n != 2 || hx->list.items[0]->kind != TINE_TENSOR ||
        hx->list.items[1]->kind != TINE_TENSOR)
        return tine_fail(task, "lstm.forward(): argument 'hx' must be none or a list "
                               "of two tensors, h_0 and c_0");
    const tine_value *h = hx->list.items[0], *c = hx->list.items[1];
    int wanted = s->batched ? 3 : 2;
    if (h->tensor.rank != wanted || c->tensor.rank != wanted)
        return tine_fail(task,
                         "For %s %d-D input, hx and cx should also be %d-D "
                         "but got (%d-D, %d-D) tensors",
                         s->batched ? "batched" : "unbatched", wanted, wanted, h->tensor.rank,
                         c->tensor.rank);
    return rnn_check_state(task, s, h, "hidden[0]", s->state) &&
           rnn_check_state(task, s, c, "hidden[1]", (int64_t)l->config.hidden_size) &&
           (in->h0 = state_floats(task, h, "h_0")) && (in->c0 = state_floats(task, c, "c_0"));
}

/* hx of a GRU: h_0. */
static bool gru_read_state(tine_task *task, const sizes *s, const tine_value *hx, rnn_inputs *in) {
    int wanted = s->batched ? 3 : 2;
    if (hx->kind != TINE_TENSOR)
        return tine_fail(task, "gru.forward(): argument 'hx' must be none or a tensor, h_0, not %s",
                         tine_kind_name(hx->kind));
    if (hx->tensor.rank != wanted)
        return tine_fail(task, "For %s %d-D input, hx should also be %d-D but got %d-D tensor",
                         s->batched ? "batched" : "unbatched", wanted, wanted, hx->tensor.rank);
    return rnn_check_state(task, s, hx, "hidden", s->state) &&
           (in->h0 = state_floats(task, hx, "h_0"));
}

static bool rnn_read_states(tine_task *task, const tine_rnn *l, const sizes *s, rnn_inputs *in) {
    const tine_value *hx = tine_arg(task, 1);
    if (hx->kind == TINE_NONE) return true;
    return l->config.gru ? gru_read_state(task, s, hx, in) : lstm_read_states(task, l, s, hx, in);
}

/* ---- lengths ---- */

/* Blocks of `size` floats in `outer` rows of n: block i of `to` is block order[i] of `from`, or
 * with `back` the other way round. `stride`: from one block of `from` to the next. */
static void blocks_copy(float *to, const float *from, size_t outer, size_t n, size_t size,
                        size_t stride, const size_t *order, bool back) {
    for (size_t o = 0; o < outer; o++, to += n * size, from += n * stride)
        for (size_t i = 0; i < n; i++)
            memcpy(to + (back ? order[i] : i) * size, from + (back ? i : order[i]) * stride,
                   size * sizeof *to);
}

/* A copy in sorted order, in memory of the task. NULL: no memory, or NULL. */
static const float *state_sorted(const float *from, const sizes *s, int64_t width,
                                 const size_t *order) {
    int64_t shape[3] = {s->cells, s->batch, width};
    void *to = NULL;
    if (!from || !tine_tensor_new(TINE_F32, 3, shape, &to)) return NULL;
    blocks_copy(to, from, (size_t)s->cells, (size_t)s->batch, (size_t)width, (size_t)width, order,
                false);
    return to;
}

static int compare_lengths(const void *a, const void *b, void *lengths) {
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const int64_t *n = lengths;
    return n[i] != n[j] ? (n[i] > n[j] ? -1 : 1) : (i > j) - (i < j);
}

/* Argument lengths as ints, in memory of the task; *out is NULL for none. */
static bool lengths_read(tine_task *task, const sizes *s, const int64_t **out) {
    const tine_value *v = tine_arg(task, 2);
    void *data;
    *out = NULL;
    if (v->kind == TINE_NONE) return true;
    bool tensor =
        v->kind == TINE_TENSOR && v->tensor.rank == 1 && !tine_dtype_floating(v->tensor.dtype);
    if (!tensor && v->kind != TINE_LIST)
        return tine_arg_fail(task, 2, "be a list of ints or an int tensor of one dimension");
    if (!s->batched)
        return tine_fail(task, "%s(): lengths need an input with a batch", task->callable->name);
    int64_t n = tensor ? v->tensor.elements : (int64_t)v->list.n;
    if (n != s->batch)
        return tine_fail(task,
                         "Expected `len(lengths)` to be equal to batch_size, but got %lld "
                         "(batch_size=%lld)",
                         (long long)n, (long long)s->batch);
    if (!tine_tensor_new(TINE_I64, 1, &n, &data)) return false;
    for (int64_t i = 0; i < n; i++) {
        const tine_value *item = tensor ? v : v->list.items[i];
        if (!tensor && item->kind != TINE_INT)
            return tine_arg_fail(task, 2, "hold ints, but item %lld is %s", (long long)i,
                                 tine_kind_name(item->kind));
        int64_t length = tensor ? tine_tensor_int_at(v, i) : item->i;
        if (length <= 0)
            return tine_fail(task, "Length of all samples has to be greater than 0, but found an "
                                   "element in 'lengths' that is <= 0");
        if (length > s->steps)
            return tine_fail(task, "%s(): a length of %lld is more than the input's %lld steps",
                             task->callable->name, (long long)length, (long long)s->steps);
        ((int64_t *)data)[i] = length;
    }
    *out = data;
    return true;
}

/* Sorts the batch and cuts the steps to the longest row, if there are lengths. */
static bool rnn_sort(tine_task *task, const tine_rnn *l, sizes *s, rnn_inputs *in) {
    const int64_t *lengths;
    void *order, *sorted, *x;
    if (!lengths_read(task, s, &lengths)) return false;
    if (!lengths || s->batch == 0) return true;
    if (!tine_tensor_new(TINE_I64, 1, &s->batch, &order) ||
        !tine_tensor_new(TINE_I64, 1, &s->batch, &sorted))
        return false;
    in->order = order;
    in->lengths = sorted;
    for (int64_t i = 0; i < s->batch; i++) in->order[i] = (size_t)i;
    qsort_r(in->order, (size_t)s->batch, sizeof *in->order, compare_lengths, (void *)lengths);
    for (int64_t i = 0; i < s->batch; i++) in->lengths[i] = (size_t)lengths[in->order[i]];
    const size_t steps = in->lengths[0], width = l->config.input_size, batch = (size_t)s->batch;
    if (!tine_tensor_new(TINE_F32, 3, (int64_t[]){(int64_t)steps, s->batch, (int64_t)width}, &x))
        return false;
    if (l->config.batch_first)
        blocks_copy(x, in->input, 1, batch, steps * width, (size_t)s->steps * width, in->order,
                    false);
    else
        blocks_copy(x, in->input, steps, batch, width, width, in->order, false);
    in->input = x;
    s->steps = (int64_t)steps;
    const float *h0 = in->h0, *c0 = in->c0;
    in->h0 = state_sorted(h0, s, s->state, in->order);
    in->c0 = state_sorted(c0, s, (int64_t)l->config.hidden_size, in->order);
    return !h0 == !in->h0 && !c0 == !in->c0;
}

/* A result in the caller's order: `outer` rows of the batch. */
static tine_value *result_unsorted(const rnn_inputs *in, const tine_value *v, const sizes *s,
                                   bool batch_outermost) {
    void *to;
    if (!in->order || !v) return (tine_value *)v;
    tine_value *out = tine_tensor_new(TINE_F32, v->tensor.rank, v->tensor.shape, &to);
    if (!out || v->tensor.elements == 0) return out;
    size_t outer = batch_outermost ? 1 : (size_t)v->tensor.shape[0], batch = (size_t)s->batch;
    size_t size = (size_t)v->tensor.elements / outer / batch;
    blocks_copy(to, (const float *)v->tensor.data, outer, batch, size, size, in->order, true);
    return out;
}

/* ---- the computation ---- */

static struct tine_lstm_workspace *workspace_take(tine_rnn *l) {
    struct tine_lstm_workspace *w;
    pthread_mutex_lock(&l->lock);
    w = l->spare;
    l->spare = NULL;
    pthread_mutex_unlock(&l->lock);
    if (!w && tine_lstm_workspace_create(&w) != TINE_KERNEL_OK) return NULL;
    return w;
}

static void workspace_give_back(tine_rnn *l, struct tine_lstm_workspace *w) {
    pthread_mutex_lock(&l->lock);
    if (!l->spare) {
        l->spare = w;
        w = NULL;
    }
    pthread_mutex_unlock(&l->lock);
    tine_lstm_workspace_free(w);
}

static int result_shape(const tine_rnn *l, const sizes *s, int64_t first, int64_t width, bool state,
                        int64_t shape[3]) {
    int n = 0;
    bool swap = !state && s->batched && l->config.batch_first;
    shape[n++] = swap ? s->batch : first;
    if (s->batched) shape[n++] = swap ? first : s->batch;
    shape[n++] = width;
    return n;
}

static tine_value *result_tensor(const tine_rnn *l, const sizes *s, int64_t first, int64_t width,
                                 bool state, void **data) {
    int64_t shape[3];
    int n = result_shape(l, s, first, width, state, shape);
    return tine_tensor_new(TINE_F32, n, shape, data);
}

/* What the kernel writes. */
typedef struct rnn_outputs {
    void *output, *h_n, *c_n;
    /* not 0: the output alone is wanted, in columns of a wider array of this width, and the steps
     * are taken from the last to the first if `reversed` */
    size_t stride;
    bool reversed;
} rnn_outputs;

static bool rnn_compute(tine_task *task, tine_rnn *l, const sizes *s, const rnn_inputs *in,
                        const rnn_outputs *out) {
    struct tine_lstm_workspace *w = workspace_take(l);
    if (!w) return tine_fail(task, "%s(): no memory", task->callable->name);
    int64_t t = tine_trace_begin();
    size_t steps = (size_t)s->steps, batch = (size_t)s->batch;
    enum tine_kernel_error e =
        out->stride ? tine_lstm_forward_columns(l->packed, w, steps, batch, out->reversed,
                                                in->input, out->output, out->stride)
                    : tine_lstm_forward_lengths(l->packed, w, steps, batch, in->lengths, in->input,
                                                in->h0, in->c0, out->output, out->h_n, out->c_n);
    tine_trace_end(TINE_TRACE_KERNEL, t, l->config.gru ? "gru" : "lstm");
    workspace_give_back(l, w);
    if (e) tine_fail(task, "%s(): %s", task->callable->name, tine_kernel_strerror(e));
    return !e;
}

tine_value *tine_rnn_forward(tine_task *task) {
    tine_rnn *l = tine_self(task);
    const tine_value *x = tine_arg_tensor(task, 0, 0, -1), *floats;
    rnn_outputs to = {0};
    rnn_inputs in = {0};
    sizes s;
    if (!x || !rnn_check_input(task, l, x, &s) || !rnn_read_states(task, l, &s, &in) ||
        !(floats = tine_floats_of(task, x, "input")))
        return NULL;
    in.input = (const float *)floats->tensor.data;
    if (!rnn_sort(task, l, &s, &in)) return NULL;
    tine_value *out = result_tensor(l, &s, s.steps, s.out, false, &to.output), *c = NULL;
    tine_value *h = result_tensor(l, &s, s.cells, s.state, true, &to.h_n);
    if (!l->config.gru)
        c = result_tensor(l, &s, s.cells, (int64_t)l->config.hidden_size, true, &to.c_n);
    if (!out || !h || (!c && !l->config.gru) || !rnn_compute(task, l, &s, &in, &to)) return NULL;
    out = result_unsorted(&in, out, &s, l->config.batch_first);
    h = result_unsorted(&in, h, &s, false);
    c = result_unsorted(&in, c, &s, false);
    if (x->tensor.dtype == TINE_BF16) {
        out = tine_bf16_tensor(out), h = tine_bf16_tensor(h);
        if (c) c = tine_bf16_tensor(c);
    }
    return l->config.gru ? tine_list(out, h) : tine_list(out, tine_list(h, c));
}

/* ---- half of a pair ---- */

typedef struct rnn_half {
    tine_task *task;
    const tine_value *x;
    tine_value *pair; /* NULL: of the right half, which makes one */
    tine_value *out;
    bool fits;
} rnn_half;

static bool rnn_pair_fits(const tine_rnn *l, const sizes *s, const tine_value *pair) {
    int64_t shape[3];
    int n = result_shape(l, s, s->steps, 2 * s->out, false, shape);
    return pair->tensor.rank == n && !memcmp(pair->tensor.shape, shape, (size_t)n * sizeof *shape);
}

/* Where the first dimension is the batch, two flips of it change nothing. */
static tine_error rnn_half_make(void *self, void *ctx) {
    tine_rnn *l = self;
    rnn_half *half = ctx;
    const tine_value *x = half->x, *floats;
    tine_value *pair = half->pair;
    rnn_outputs to = {0};
    rnn_inputs in = {0};
    void *data = pair ? pair->tensor.buffer->data : NULL;
    sizes s;
    if (!rnn_check_input(half->task, l, x, &s) ||
        !(floats = tine_floats_of(half->task, x, "input")))
        return TINE_EFAILED;
    half->fits = !pair || rnn_pair_fits(l, &s, pair);
    if (!half->fits) return TINE_OK;
    in.input = (const float *)floats->tensor.data;
    tine_value *out = pair ? pair : result_tensor(l, &s, s.steps, 2 * s.out, false, &data);
    if (!out) return tine_last_error();
    to.output = (float *)data + (pair ? 0 : s.out);
    to.stride = 2 * (size_t)s.out;
    to.reversed = !pair && (!s.batched || !l->config.batch_first);
    if (!rnn_compute(half->task, l, &s, &in, &to)) return TINE_EFAILED;
    half->out = out;
    return TINE_OK;
}

tine_value *tine_rnn_half(tine_task *task, const tine_value *module, const tine_value *x,
                          tine_value *pair, bool *fits) {
    rnn_half half = {.task = task, .x = x, .pair = pair, .fits = true};
    tine_context *c = tine_context_acquire();
    if (!c) return NULL;
    tine_instance_use(c, module->object, task->attempt, rnn_half_make, &half);
    tine_context_release(c);
    if (fits) *fits = half.fits;
    return half.out;
}
