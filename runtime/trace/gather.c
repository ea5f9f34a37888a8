/* Gathers the events of all processes. See gather.h.
 *
 * Viewers require two things. Slices of one thread nest: one that overlaps another in part (its
 * clock was read on both sides of something, or it was open across a yield) is shortened to the end
 * of its parent, and counted. And a flow has a start and an end, each inside a slice: flow events
 * outside a slice are left out, and so are flows with a single event left. */
#include "runtime/trace/gather.h"

#include <stdlib.h>
#include <string.h>

#include "transport/base/vector.h"

/* Later than any clock, early enough that sums and differences of two cannot overflow. */
#define TIME_LIMIT (INT64_MAX / 4)

/* ---- reading ---- */

static bool trace_item_add(tine_trace_gathered *g, const tine_trace_item *item) {
    tine_trace_item *items = tine_grow(g->items, &g->room, g->n + 1, sizeof *items);
    if (!items) return false;
    g->items = items;
    g->items[g->n++] = *item;
    return true;
}

/* Converts to our clock; false: not a valid time. */
static bool trace_time_convert(uint64_t t, int64_t offset, int64_t *out) {
    if (t > (uint64_t)TIME_LIMIT || offset > TIME_LIMIT || offset < -TIME_LIMIT) return false;
    *out = (int64_t)t - offset;
    return true;
}

static bool trace_event_add(tine_trace_gathered *g, uint32_t process, const tine_trace_batch *b,
                            const tine_trace_event *e) {
    tine_trace_item item = {
        .process = process, .thread = e->thread, .type = e->type, .name = b->names[e->name]};
    int64_t offset = g->processes[process].offset_ns, end;
    bool good = trace_time_convert(e->a, offset, &item.ts);
    if (tine_trace_is_slice(e->type)) {
        good = good && trace_time_convert(e->b, offset, &end) && end >= item.ts;
        if (good) item.dur = end - item.ts;
        item.bytes = e->bytes;
    } else {
        item.id = e->b;
    }
    if (!good) {
        g->lost[process]++;
        return true;
    }
    return trace_item_add(g, &item);
}

static tine_error trace_payload_add(tine_trace_gathered *g, uint32_t process, tine_trace_batch *b,
                                    const tine_payload *p) {
    tine_error e = tine_trace_batch_read(b, p);
    if (e == TINE_EPROTO) {
        g->lost[process]++;
        return TINE_OK;
    }
    if (e) return e;
    g->lost[process] += b->lost;
    for (uint32_t i = 0; i < b->n_events; i++) {
        tine_trace_event event;
        if (!tine_trace_batch_event(b, i, &event))
            g->lost[process]++;
        else if (!trace_event_add(g, process, b, &event))
            return TINE_ENOMEM;
    }
    return TINE_OK;
}

static tine_error trace_process_add(tine_trace_gathered *g, uint32_t process) {
    const tine_trace_process *p = &g->processes[process];
    g->batches[process] = calloc(p->n_events ? p->n_events : 1, sizeof **g->batches);
    if (!g->batches[process]) return TINE_ENOMEM;
    for (size_t i = 0; i < p->n_events; i++) {
        tine_error e = trace_payload_add(g, process, &g->batches[process][i], p->events[i]);
        if (e) return e;
    }
    return TINE_OK;
}

static bool trace_is_flow(uint8_t type) {
    return type >= TINE_TRACE_FLOW_START && type <= TINE_TRACE_FLOW_END;
}

/* Only the last `ns` before the last event. */
static void trace_items_drop_early(tine_trace_gathered *g, int64_t ns) {
    int64_t last = INT64_MIN;
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].ts + g->items[i].dur > last) last = g->items[i].ts + g->items[i].dur;
    for (size_t i = 0; i < g->n; i++)
        if (g->items[i].ts + g->items[i].dur >= last - ns) g->items[kept++] = g->items[i];
    g->n = kept;
}

/* ---- slices and the markers in them ---- */

static int trace_order(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

/* By thread, then time; at one time slices before markers, and the longer slice first. */
static int trace_item_by_thread(const void *a, const void *b) {
    const tine_trace_item *x = a, *y = b;
    if (x->process != y->process) return trace_order(x->process, y->process);
    if (x->thread != y->thread) return trace_order(x->thread, y->thread);
    if (x->ts != y->ts) return trace_order(x->ts, y->ts);
    bool x_slice = tine_trace_is_slice(x->type), y_slice = tine_trace_is_slice(y->type);
    if (x_slice != y_slice) return x_slice ? -1 : 1;
    if (x->dur != y->dur) return trace_order(y->dur, x->dur);
    return trace_order(x->type, y->type);
}

enum { DEEPEST = 64 };
typedef struct open_slices {
    int64_t begins[DEEPEST], ends[DEEPEST];
    tine_trace_item *items[DEEPEST];
    int n;
} open_slices;

/* The run that a step is in is one of its flow. */
static void trace_run_identify(open_slices *open, const tine_trace_item *step) {
    for (int i = open->n; i-- > 0;) {
        if (open->items[i]->type != TINE_TRACE_RUN) continue;
        open->items[i]->id = step->id;
        return;
    }
}

static void trace_item_nest(tine_trace_gathered *g, open_slices *open, tine_trace_item *item) {
    /* At its end a slice contains a marker of that time, but no further slice. */
    bool slice = tine_trace_is_slice(item->type);
    while (open->n > 0 && open->ends[open->n - 1] < item->ts + slice) open->n--;
    if (!slice) {
        item->bound = open->n > 0;
        if (!item->bound || item->type != TINE_TRACE_FLOW_STEP) return;
        trace_run_identify(open, item);
        /* A step is recorded at the end of its slice, and is shown at its begin. */
        item->ts = open->begins[open->n - 1];
        return;
    }
    if (open->n == DEEPEST) {
        g->lost[item->process]++;
        return;
    }
    item->phase = 'X';
    if (open->n > 0 && item->ts + item->dur > open->ends[open->n - 1]) {
        item->dur = open->ends[open->n - 1] - item->ts;
        g->clipped++;
    }
    open->items[open->n] = item;
    open->begins[open->n] = item->ts;
    open->ends[open->n++] = item->ts + item->dur;
}

static void trace_nest_all(tine_trace_gathered *g) {
    open_slices open = {.n = 0};
    if (g->n) qsort(g->items, g->n, sizeof *g->items, trace_item_by_thread);
    for (size_t i = 0; i < g->n; i++) {
        tine_trace_item *item = &g->items[i];
        if (i > 0 && (item->process != item[-1].process || item->thread != item[-1].thread))
            open.n = 0;
        trace_item_nest(g, &open, item);
    }
}

/* ---- flows ---- */

static int trace_item_by_flow(const void *a, const void *b) {
    const tine_trace_item *x = *(tine_trace_item *const *)a, *y = *(tine_trace_item *const *)b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->type != y->type) return trace_order(x->type, y->type); /* fork, run, wait */
    return trace_order(x->ts, y->ts);
}

static int trace_item_by_id(const void *a, const void *b) {
    const tine_trace_item *x = *(tine_trace_item *const *)a, *y = *(tine_trace_item *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

/* The events of one flow: the first start, every step (there may be several attempts), the first
 * end. */
static void trace_flow_shape(tine_trace_gathered *g, tine_trace_item **events, size_t n) {
    tine_trace_item *last = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool again =
            last && events[i]->type == last->type && events[i]->type != TINE_TRACE_FLOW_STEP;
        if (again) continue;
        events[i]->phase = kept++ == 0 ? 's' : 't';
        last = events[i];
    }
    if (kept >= 2) {
        last->phase = 'f';
        g->flows++;
    } else if (last) {
        last->phase = 0;
    }
}

static tine_trace_item **trace_items_select(const tine_trace_gathered *g,
                                            bool (*wanted)(const tine_trace_item *),
                                            size_t *n_out) {
    tine_trace_item **all = malloc((g->n ? g->n : 1) * sizeof(tine_trace_item *));
    size_t n = 0;
    for (size_t i = 0; all && i < g->n; i++)
        if (wanted(&g->items[i])) all[n++] = &g->items[i];
    *n_out = n;
    return all;
}

static bool trace_is_bound_flow(const tine_trace_item *i) {
    return trace_is_flow(i->type) && i->bound;
}

static bool trace_flows_shape(tine_trace_gathered *g) {
    size_t n;
    tine_trace_item **events = trace_items_select(g, trace_is_bound_flow, &n);
    if (!events) return false;
    if (n) qsort(events, n, sizeof(tine_trace_item *), trace_item_by_flow);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && events[next]->id == events[i]->id;) next++;
        trace_flow_shape(g, events + i, next - i);
    }
    free(events);
    return true;
}

/* ---- async events ---- */

static bool trace_is_async(const tine_trace_item *i) {
    return i->type == TINE_TRACE_ASYNC_BEGIN || i->type == TINE_TRACE_ASYNC_END;
}

static int trace_item_by_async(const void *a, const void *b) {
    const tine_trace_item *x = *(tine_trace_item *const *)a, *y = *(tine_trace_item *const *)b;
    if (x->process != y->process) return trace_order(x->process, y->process);
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->ts != y->ts) return trace_order(x->ts, y->ts);
    return trace_order(x->type, y->type);
}

/* Pairs only: a wait that was still going on when recording stopped is left out. */
static bool trace_async_shape(tine_trace_gathered *g) {
    size_t n;
    tine_trace_item **events = trace_items_select(g, trace_is_async, &n);
    if (!events) return false;
    if (n) qsort(events, n, sizeof(tine_trace_item *), trace_item_by_async);
    for (size_t i = 0; i + 1 < n; i++) {
        tine_trace_item *a = events[i], *b = events[i + 1];
        if (a->process != b->process || a->id != b->id) continue;
        if (a->type != TINE_TRACE_ASYNC_BEGIN || b->type != TINE_TRACE_ASYNC_END) continue;
        a->phase = 'b';
        b->phase = 'e';
        b->name = a->name;
    }
    free(events);
    return true;
}

/* ---- names ---- */

static bool trace_is_fork(const tine_trace_item *i) { return i->type == TINE_TRACE_FLOW_START; }

/* A task's name is known where it was forked: the runs and waits of its flow have it too. */
static bool trace_names_share(tine_trace_gathered *g) {
    size_t n;
    tine_trace_item **forks = trace_items_select(g, trace_is_fork, &n);
    if (!forks) return false;
    if (n) qsort(forks, n, sizeof(tine_trace_item *), trace_item_by_id);
    for (size_t i = 0; n && i < g->n; i++) {
        tine_trace_item *item = &g->items[i];
        if (!item->id || (item->type != TINE_TRACE_RUN && !trace_is_async(item))) continue;
        tine_trace_item **fork =
            bsearch(&item, forks, n, sizeof(tine_trace_item *), trace_item_by_id);
        if (fork && (*fork)->name.size) item->name = (*fork)->name;
    }
    free(forks);
    return true;
}

/* ---- the whole ---- */

/* Slices before the markers in them; at one time an async end before the next begin. */
static int trace_phase_rank(char phase) { return phase == 'X' ? 0 : phase == 'e' ? 1 : 2; }

static int trace_item_by_time(const void *a, const void *b) {
    const tine_trace_item *x = a, *y = b;
    if (x->ts != y->ts) return trace_order(x->ts, y->ts);
    if (trace_phase_rank(x->phase) != trace_phase_rank(y->phase))
        return trace_phase_rank(x->phase) - trace_phase_rank(y->phase);
    return trace_order(y->dur, x->dur);
}

static void trace_items_drop_unshaped(tine_trace_gathered *g) {
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (g->items[i].type == TINE_TRACE_INSTANT) g->items[i].phase = 'i';
        if (g->items[i].phase) g->items[kept++] = g->items[i];
    }
    g->n = kept;
}

tine_error tine_trace_gather(tine_trace_gathered *out, const tine_trace_process *processes,
                             size_t n, int64_t last_ns) {
    tine_trace_gathered g = {.processes = processes, .n_processes = n};
    tine_error e = TINE_ENOMEM;
    g.batches = calloc(n ? n : 1, sizeof *g.batches);
    g.lost = calloc(n ? n : 1, sizeof *g.lost);
    if (!g.batches || !g.lost) goto out;
    for (uint32_t i = 0; i < n; i++)
        if (trace_process_add(&g, i)) goto out;
    if (last_ns > 0) trace_items_drop_early(&g, last_ns);
    trace_nest_all(&g);
    if (!trace_flows_shape(&g) || !trace_async_shape(&g) || !trace_names_share(&g)) goto out;
    trace_items_drop_unshaped(&g);
    if (g.n) qsort(g.items, g.n, sizeof *g.items, trace_item_by_time);
    e = TINE_OK;
out:
    if (e)
        tine_trace_gathered_fini(&g);
    else
        *out = g;
    return e;
}

void tine_trace_gathered_fini(tine_trace_gathered *g) {
    for (size_t i = 0; g->batches && i < g->n_processes; i++) {
        for (size_t k = 0; g->batches[i] && k < g->processes[i].n_events; k++)
            tine_trace_batch_fini(&g->batches[i][k]);
        free(g->batches[i]);
    }
    free(g->batches);
    free(g->lost);
    free(g->items);
    *g = (tine_trace_gathered){0};
}
