/* Gathering. See trace_gather.h.
 *
 * Viewers are strict in two ways. Slices of one row must nest: what overlaps in part (a clock that
 * was read on both sides of something, a slice left open across a yield) is cut at its parent's
 * end, and counted. And an arrow needs a beginning and an end, each inside a slice: points outside
 * one are left out, and so are arrows with a single point left. */
#include "runtime/trace/trace_gather.h"

#include <stdlib.h>
#include <string.h>

/* Later than any clock, early enough that sums and differences of two cannot overflow. */
#define TIME_LIMIT (INT64_MAX / 4)

/* ---- reading ---- */

typedef struct link {
    uint64_t from, to;
} link;
typedef struct links {
    link *all;
    size_t n, room;
} links;

static bool grow(void **array, size_t *room, size_t n, size_t size) {
    if (n < *room) return true;
    size_t wanted = *room ? *room * 2 : 1024;
    void *p = realloc(*array, wanted * size);
    if (!p) return false;
    *array = p;
    *room = wanted;
    return true;
}

static bool add_item(tine_trace_gathered *g, const tine_trace_item *item) {
    if (!grow((void **)&g->items, &g->room, g->n, sizeof *g->items)) return false;
    g->items[g->n++] = *item;
    return true;
}

static bool add_link(links *l, uint64_t from, uint64_t to) {
    if (!grow((void **)&l->all, &l->room, l->n, sizeof *l->all)) return false;
    l->all[l->n++] = (link){from, to};
    return true;
}

/* On our clock; false: no time that a clock could have shown. */
static bool to_time(uint64_t t, int64_t offset, int64_t *out) {
    if (t > (uint64_t)TIME_LIMIT || offset > TIME_LIMIT || offset < -TIME_LIMIT) return false;
    *out = (int64_t)t - offset;
    return true;
}

static bool add_event(tine_trace_gathered *g, links *l, uint32_t process, const tine_trace_batch *b,
                      const tine_trace_event *e) {
    tine_trace_item item = {
        .process = process, .lane = e->lane, .type = e->type, .name = b->names[e->name]};
    int64_t offset = g->processes[process].offset_ns, end;
    if (e->type == TINE_TRACE_POINT_LINK) return add_link(l, e->b, e->a);
    bool good = to_time(e->a, offset, &item.ts);
    if (tine_trace_is_slice(e->type)) {
        good = good && to_time(e->b, offset, &end) && end >= item.ts;
        if (good) item.dur = end - item.ts;
    } else {
        item.id = e->b;
    }
    if (!good) {
        g->lost[process]++;
        return true;
    }
    return add_item(g, &item);
}

static tine_error add_payload(tine_trace_gathered *g, links *l, uint32_t process,
                              tine_trace_batch *b, const tine_payload *p) {
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
        else if (!add_event(g, l, process, b, &event))
            return TINE_ENOMEM;
    }
    return TINE_OK;
}

static tine_error add_process(tine_trace_gathered *g, links *l, uint32_t process) {
    const tine_trace_process *p = &g->processes[process];
    g->batches[process] = calloc(p->n_events ? p->n_events : 1, sizeof **g->batches);
    if (!g->batches[process]) return TINE_ENOMEM;
    for (size_t i = 0; i < p->n_events; i++) {
        tine_error e = add_payload(g, l, process, &g->batches[process][i], p->events[i]);
        if (e) return e;
    }
    return TINE_OK;
}

/* ---- one id for each arrow ---- */

static int by_from(const void *a, const void *b) {
    const link *x = a, *y = b;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* A worker's fork has three names at most (its own, the scheduler's, another attempt's): further
 * links are a circle. */
static uint64_t resolved(const links *l, uint64_t id) {
    for (int hop = 0; hop < 4; hop++) {
        link key = {.from = id};
        const link *found = l->n ? bsearch(&key, l->all, l->n, sizeof key, by_from) : NULL;
        if (!found || found->to == id) break;
        id = found->to;
    }
    return id;
}

static bool is_flow(uint8_t type) {
    return type >= TINE_TRACE_POINT_FORK && type <= TINE_TRACE_POINT_WAIT;
}

static void resolve_links(tine_trace_gathered *g, links *l) {
    if (l->n) qsort(l->all, l->n, sizeof *l->all, by_from);
    for (size_t i = 0; i < g->n; i++)
        if (is_flow(g->items[i].type)) g->items[i].id = resolved(l, g->items[i].id);
}

/* ---- slices that nest, points that lie in them ---- */

static int order(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

/* Row by row, in time; at one moment slices before points, the longer slice first. */
static int by_row(const void *a, const void *b) {
    const tine_trace_item *x = a, *y = b;
    if (x->process != y->process) return order(x->process, y->process);
    if (x->lane != y->lane) return order(x->lane, y->lane);
    if (x->ts != y->ts) return order(x->ts, y->ts);
    bool x_slice = tine_trace_is_slice(x->type), y_slice = tine_trace_is_slice(y->type);
    if (x_slice != y_slice) return x_slice ? -1 : 1;
    if (x->dur != y->dur) return order(y->dur, x->dur);
    return order(x->type, y->type);
}

enum { DEEPEST = 64 };
typedef struct open_slices {
    int64_t begins[DEEPEST], ends[DEEPEST];
    int n;
} open_slices;

static void nest(tine_trace_gathered *g, open_slices *open, tine_trace_item *item) {
    /* A slice is over at its end for the next slice, but still takes a point of that moment. */
    bool slice = tine_trace_is_slice(item->type);
    while (open->n > 0 && open->ends[open->n - 1] < item->ts + slice) open->n--;
    if (!slice) {
        item->bound = open->n > 0;
        /* An arrow to a run points at its beginning, though its recorder spoke at its end. */
        if (item->bound && item->type == TINE_TRACE_POINT_RUN) item->ts = open->begins[open->n - 1];
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
    open->begins[open->n] = item->ts;
    open->ends[open->n++] = item->ts + item->dur;
}

static void nest_all(tine_trace_gathered *g) {
    open_slices open = {.n = 0};
    if (g->n) qsort(g->items, g->n, sizeof *g->items, by_row);
    for (size_t i = 0; i < g->n; i++) {
        tine_trace_item *item = &g->items[i];
        if (i > 0 && (item->process != item[-1].process || item->lane != item[-1].lane)) open.n = 0;
        nest(g, &open, item);
    }
}

/* ---- arrows ---- */

static int by_flow(const void *a, const void *b) {
    const tine_trace_item *x = *(tine_trace_item *const *)a, *y = *(tine_trace_item *const *)b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->type != y->type) return order(x->type, y->type); /* fork, run, wait */
    return order(x->ts, y->ts);
}

/* One arrow's points: the first fork, every run (there may be several attempts), the first wait. */
static void shape_flow(tine_trace_gathered *g, tine_trace_item **points, size_t n) {
    tine_trace_item *last = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool again =
            last && points[i]->type == last->type && points[i]->type != TINE_TRACE_POINT_RUN;
        if (again) continue;
        points[i]->phase = kept++ == 0 ? 's' : 't';
        last = points[i];
    }
    if (kept >= 2) {
        last->phase = 'f';
        g->flows++;
    } else if (last) {
        last->phase = 0;
    }
}

static tine_trace_item **select_items(const tine_trace_gathered *g,
                                      bool (*wanted)(const tine_trace_item *), size_t *n_out) {
    tine_trace_item **all = malloc((g->n ? g->n : 1) * sizeof(tine_trace_item *));
    size_t n = 0;
    for (size_t i = 0; all && i < g->n; i++)
        if (wanted(&g->items[i])) all[n++] = &g->items[i];
    *n_out = n;
    return all;
}

static bool is_bound_flow(const tine_trace_item *i) { return is_flow(i->type) && i->bound; }

static bool shape_flows(tine_trace_gathered *g) {
    size_t n;
    tine_trace_item **points = select_items(g, is_bound_flow, &n);
    if (!points) return false;
    if (n) qsort(points, n, sizeof(tine_trace_item *), by_flow);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && points[next]->id == points[i]->id;) next++;
        shape_flow(g, points + i, next - i);
    }
    free(points);
    return true;
}

/* ---- suspended waits ---- */

static bool is_suspend(const tine_trace_item *i) {
    return i->type == TINE_TRACE_POINT_SUSPEND || i->type == TINE_TRACE_POINT_RESUME;
}

static int by_suspend(const void *a, const void *b) {
    const tine_trace_item *x = *(tine_trace_item *const *)a, *y = *(tine_trace_item *const *)b;
    if (x->process != y->process) return order(x->process, y->process);
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->ts != y->ts) return order(x->ts, y->ts);
    return order(x->type, y->type);
}

/* Only pairs are kept; of a wait that was still going on when recording stopped, nothing can be
 * said. */
static bool shape_suspensions(tine_trace_gathered *g) {
    size_t n;
    tine_trace_item **points = select_items(g, is_suspend, &n);
    if (!points) return false;
    if (n) qsort(points, n, sizeof(tine_trace_item *), by_suspend);
    for (size_t i = 0; i + 1 < n; i++) {
        tine_trace_item *a = points[i], *b = points[i + 1];
        if (a->process != b->process || a->id != b->id) continue;
        if (a->type != TINE_TRACE_POINT_SUSPEND || b->type != TINE_TRACE_POINT_RESUME) continue;
        a->phase = 'b';
        b->phase = 'e';
        b->name = a->name;
    }
    free(points);
    return true;
}

/* ---- all of it ---- */

/* Slices before the points in them; within one moment an async end before the next begin. */
static int rank(char phase) { return phase == 'X' ? 0 : phase == 'e' ? 1 : 2; }

static int by_time(const void *a, const void *b) {
    const tine_trace_item *x = a, *y = b;
    if (x->ts != y->ts) return order(x->ts, y->ts);
    if (rank(x->phase) != rank(y->phase)) return rank(x->phase) - rank(y->phase);
    return order(y->dur, x->dur);
}

static void drop_shapeless(tine_trace_gathered *g) {
    size_t kept = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (g->items[i].type == TINE_TRACE_POINT_INSTANT) g->items[i].phase = 'i';
        if (g->items[i].phase) g->items[kept++] = g->items[i];
    }
    g->n = kept;
}

tine_error tine_trace_gather(tine_trace_gathered *out, const tine_trace_process *processes,
                             size_t n) {
    tine_trace_gathered g = {.processes = processes, .n_processes = n};
    links l = {0};
    tine_error e = TINE_ENOMEM;
    g.batches = calloc(n ? n : 1, sizeof *g.batches);
    g.lost = calloc(n ? n : 1, sizeof *g.lost);
    if (!g.batches || !g.lost) goto out;
    for (uint32_t i = 0; i < n; i++)
        if (add_process(&g, &l, i)) goto out;
    resolve_links(&g, &l);
    nest_all(&g);
    if (!shape_flows(&g) || !shape_suspensions(&g)) goto out;
    drop_shapeless(&g);
    if (g.n) qsort(g.items, g.n, sizeof *g.items, by_time);
    e = TINE_OK;
out:
    free(l.all);
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
