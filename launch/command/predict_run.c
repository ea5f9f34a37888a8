/* One run of `tine predict`: the slices of the batch are forked, all at once; an ensemble's forward
 * forks its models, and a pair's its cells. The bits of a row do not depend on its slice. */
#include <stdlib.h>
#include <string.h>

#include "launch/command/predict_model.h"
#include "runtime/value/error.h"
#include "runtime/value/value.h"

enum { SLICE_LEAST = 16 /* rows: fewer leave a micro-kernel's tile empty */ };

/* Rows of a slice: so many slices that with the cells of each all workers have one. */
static int64_t slice_size(const tine_prediction *p, const tine_prediction_options *o) {
    if (p->batch_dim < 0 || p->hx || p->lengths || p->batch == 0) return p->batch;
    if (o->batch_size > 0) return o->batch_size < p->batch ? o->batch_size : p->batch;
    int64_t workers = tine_worker_count() > 0 ? tine_worker_count() : 1;
    int64_t cells = (int64_t)(p->cells.models ? p->cells.models : 1) * (p->cells.paired ? 2 : 1);
    int64_t slices = (workers + cells - 1) / cells;
    int64_t size = (p->batch + slices - 1) / slices;
    return size < SLICE_LEAST ? (p->batch < SLICE_LEAST ? p->batch : SLICE_LEAST) : size;
}

bool tine_prediction_prepare(tine_prediction *p, const tine_prediction_options *o) {
    p->slice = slice_size(p, o);
    p->module = tine_cells_module(&p->cells, p->weights);
    return p->module;
}

int64_t tine_prediction_slices(const tine_prediction *p) {
    return p->slice > 0 ? (p->batch + p->slice - 1) / p->slice : 1;
}

/* Rows first … first + n of the batch. */
static tine_value *slice_of(const tine_prediction *p, int64_t first, int64_t n) {
    const tine_value *x = p->x;
    int64_t shape[TINE_MAX_RANK], outer = 1, inner = 1;
    void *to;
    if (n == p->batch) return tine_ref((tine_value *)x);
    memcpy(shape, x->tensor.shape, sizeof shape);
    shape[p->batch_dim] = n;
    tine_value *v = tine_tensor_new(TINE_F32, x->tensor.rank, shape, &to);
    for (int i = 0; i < x->tensor.rank; i++) {
        if (i < p->batch_dim) outer *= x->tensor.shape[i];
        if (i > p->batch_dim) inner *= x->tensor.shape[i];
    }
    const float *from = (const float *)x->tensor.data + first * inner;
    for (int64_t o = 0; v && o < outer; o++)
        memcpy((float *)to + o * n * inner, from + o * p->batch * inner,
               (size_t)(n * inner) * sizeof(float));
    return v;
}

static tine_future *slice_fork(const tine_prediction *p, int64_t first) {
    int64_t n = p->batch - first < p->slice ? p->batch - first : p->slice;
    tine_value *x = slice_of(p, first, n);
    tine_argument args[4] = {TINE_ARGUMENT(p->module), TINE_ARGUMENT(x)};
    size_t count = 2;
    if (p->hx) args[count++] = tine_kw("hx", p->hx);
    if (p->lengths) args[count++] = tine_kw("lengths", p->lengths);
    tine_future *f = tine_fork_args(NULL, args, count);
    tine_release(x);
    return f;
}

/* Part `which` of each result, put together along the batch: 0 output, 1 h_n, 2 c_n. */
static tine_value *part_join(const tine_prediction *p, tine_value *const *results, size_t n,
                             int which) {
    const tine_value **parts = calloc(n, sizeof *parts);
    tine_value *list = NULL, *out = NULL;
    for (size_t i = 0; parts && i < n; i++) {
        const tine_value *r = results[i], *state;
        if (r->kind == TINE_LIST && which > 0) {
            state = r->list.items[1];
            r = state->kind == TINE_LIST ? state->list.items[which - 1] : state;
        } else if (r->kind == TINE_LIST) {
            r = r->list.items[0];
        }
        parts[i] = r;
    }
    if (parts && n == 1)
        out = tine_ref((tine_value *)parts[0]);
    else if (parts && (list = tine_list_of((tine_value *const *)parts, n)))
        out = tine_call("tine.cat", list, tine_kw("dim", which ? 1 : p->batch_dim));
    else if (!parts)
        tine_error_set(TINE_ENOMEM, "no memory for %zu slices", n);
    tine_release(list);
    free(parts);
    return out;
}

static tine_value *results_join(const tine_prediction *p, tine_value *const *results, size_t n) {
    static const char *const names[] = {"output", "h_n", "c_n"};
    bool single = !p->cells.models && !p->cells.paired;
    int count = !single ? 1 : p->cells.config.gru ? 2 : 3, made = 0;
    tine_value *items[3] = {NULL}, *dict = NULL;
    while (made < count && (items[made] = part_join(p, results, n, made))) made++;
    if (made == count) dict = tine_dict_of(names, items, (size_t)count);
    while (made > 0) tine_release(items[--made]);
    return dict;
}

/* False: one has failed. */
static bool slices_await(tine_future **futures, size_t n, tine_value **results, tine_steps *steps) {
    for (size_t i = 0; i < n; i++) {
        if (tine_wait(futures[i], &results[i]) != TINE_OK) return false;
        steps->done++;
        tine_steps_show(steps, NULL);
    }
    return true;
}

tine_value *tine_prediction_run(const tine_prediction *p, tine_steps *steps) {
    size_t n = (size_t)tine_prediction_slices(p);
    tine_future **futures = calloc(n, sizeof(tine_future *));
    tine_value **results = calloc(n, sizeof *results), *out = NULL;
    bool good = futures && results;
    if (!good) tine_error_set(TINE_ENOMEM, "no memory for %zu slices", n);
    for (size_t i = 0; good && i < n; i++) futures[i] = slice_fork(p, (int64_t)i * p->slice);
    if (good && slices_await(futures, n, results, steps)) out = results_join(p, results, n);
    for (size_t i = 0; good && i < n; i++) {
        tine_release(results[i]);
        tine_release(futures[i]);
    }
    free(results);
    free(futures);
    return out;
}
