/* Joins the events of a trace: slices that nest, tasks from flows, spans from async events.
 *
 * The events of a flow are told apart by the slice that they are in, not by their phase: a flow
 * whose first event was lost starts with another one. Inside a fork's slice the event is the fork;
 * at the start of a run's slice it is that run; elsewhere it is the wait. */
#include <stdlib.h>
#include <string.h>

#include "launch/profile/internal.h"
#include "transport/base/memory.h"

static int compare(int64_t a, int64_t b) { return a < b ? -1 : a > b; }

/* ---- rows ---- */

static int row_compare(const void *a, const void *b) {
    const tine_profile_row *x = a, *y = b;
    return x->process != y->process ? compare(x->process, y->process)
                                    : compare(x->thread, y->thread);
}

/* The name and label of a process apply to all its rows, [first, end). */
static void rows_share_names(tine_profile *p, size_t first, size_t end) {
    int32_t none = tine_profile_name(p, ""), name = none, label = none;
    for (size_t i = first; i < end; i++) {
        if (p->rows[i].process_name != TINE_NO_INDEX) name = p->rows[i].process_name;
        if (p->rows[i].label != TINE_NO_INDEX) label = p->rows[i].label;
        if (p->rows[i].thread_name == TINE_NO_INDEX) p->rows[i].thread_name = none;
    }
    for (size_t i = first; i < end; i++) {
        p->rows[i].process_name = name;
        p->rows[i].label = label;
    }
}

/* Sorts the rows, leaves out those without slices, and gives the events their new indexes. */
static void rows_settle(tine_profile *p, tine_profile_points *points) {
    int32_t *renamed = tine_must_alloc((p->n_rows + 1) * sizeof *renamed);
    for (size_t i = 0; i < p->n_rows; i++) p->rows[i].first = (uint32_t)i; /* the old index */
    for (size_t i = 0; i < p->n_slices; i++) p->rows[p->slices[i].row].n++;
    if (p->n_rows) qsort(p->rows, p->n_rows, sizeof *p->rows, row_compare);
    for (size_t i = 0, end; i < p->n_rows; i = end) {
        for (end = i + 1; end < p->n_rows && p->rows[end].process == p->rows[i].process;) end++;
        rows_share_names(p, i, end);
    }
    size_t kept = 0;
    for (size_t i = 0; i < p->n_rows; i++) {
        renamed[p->rows[i].first] = p->rows[i].n ? (int32_t)kept : TINE_NO_INDEX;
        if (p->rows[i].n) p->rows[kept++] = p->rows[i];
    }
    p->n_rows = kept;
    for (size_t i = 0; i < p->n_slices; i++) p->slices[i].row = renamed[p->slices[i].row];
    for (size_t i = 0; i < p->n_marks; i++) p->marks[i].row = renamed[p->marks[i].row];
    for (size_t i = 0; i < points->n; i++) points->items[i].row = renamed[points->items[i].row];
    free(renamed);
    uint32_t first = 0;
    for (size_t i = 0; i < p->n_rows; i++) {
        p->rows[i].first = first;
        first += p->rows[i].n;
    }
}

/* ---- slices ---- */

static int slice_compare(const void *a, const void *b) {
    const tine_slice *x = a, *y = b;
    if (x->row != y->row) return compare(x->row, y->row);
    if (x->begin != y->begin) return compare(x->begin, y->begin);
    return compare(y->end, x->end);
}

/* Slices that are nested deeper are shown at this depth. */
enum { DEEPEST = UINT8_MAX - 1 };

static void slices_nest(tine_profile *p) {
    if (p->n_slices) qsort(p->slices, p->n_slices, sizeof *p->slices, slice_compare);
    int32_t open = TINE_NO_INDEX;
    for (size_t i = 0; i < p->n_slices; i++) {
        tine_slice *s = &p->slices[i];
        if (i == 0 || s->row != s[-1].row) open = TINE_NO_INDEX;
        while (open != TINE_NO_INDEX && p->slices[open].end < s->end) open = p->slices[open].around;
        s->around = open;
        if (open != TINE_NO_INDEX && p->slices[open].depth < DEEPEST)
            s->depth = (uint8_t)(p->slices[open].depth + 1);
        open = (int32_t)i;
        tine_profile_row *row = &p->rows[s->row];
        if (s->depth >= row->depth) row->depth = (uint8_t)(s->depth + 1);
        if (s->kind == TINE_TRACE_RUN) row->worker = true;
    }
}

/* ---- tasks ---- */

typedef struct joining_tasks {
    tine_profile *p;
    tine_idmap by_id; /* to index + 1 */
    size_t room;
} joining_tasks;

static int32_t task_of(joining_tasks *j, uint64_t id) {
    tine_profile *p = j->p;
    size_t i = (size_t)(uintptr_t)tine_idmap_get(&j->by_id, id);
    if (i > 0) return (int32_t)i - 1;
    tine_profiled_task *tasks = tine_must_grow(p->tasks, &j->room, p->n_tasks + 1, sizeof *tasks);
    TINE_ASSERT_TRUE(p->n_tasks < INT32_MAX);
    p->tasks = tasks;
    tasks[p->n_tasks] = (tine_profiled_task){.id = id,
                                             .name = TINE_NO_INDEX,
                                             .parent = TINE_NO_INDEX,
                                             .fork = TINE_NO_INDEX,
                                             .wait = TINE_NO_INDEX,
                                             .first_run = TINE_NO_INDEX,
                                             .last_run = TINE_NO_INDEX,
                                             .next_of_wait = TINE_NO_INDEX,
                                             .forked = -1,
                                             .waited = -1,
                                             .started = -1,
                                             .ended = -1};
    tine_idmap_put(&j->by_id, id, (void *)(uintptr_t)++p->n_tasks);
    return (int32_t)p->n_tasks - 1;
}

/* The run that begins at `at`, of the slices around a point. */
static int32_t run_beginning(const tine_profile *p, int32_t slice, int64_t at) {
    while (slice != TINE_NO_INDEX && p->slices[slice].begin == at) {
        if (p->slices[slice].kind == TINE_TRACE_RUN) return slice;
        slice = p->slices[slice].around;
    }
    return TINE_NO_INDEX;
}

static void task_point(joining_tasks *j, const tine_profile_point *point, int32_t slice) {
    tine_profile *p = j->p;
    if (slice == TINE_NO_INDEX) return; /* outside of slices: nothing is known of it */
    int32_t i = task_of(j, point->id);
    tine_profiled_task *t = &p->tasks[i];
    int32_t run = run_beginning(p, slice, point->at);
    if (run != TINE_NO_INDEX) {
        p->slices[run].task = i;
        t->name = p->slices[run].name;
    } else if (p->slices[slice].kind == TINE_TRACE_FORK) {
        t->fork = slice;
        t->forked = point->at;
    } else if (t->waited < 0) {
        t->wait = slice;
        t->waited = point->at;
        t->next_of_wait = p->waits[slice];
        p->waits[slice] = i;
    }
}

static int point_compare(const void *a, const void *b) {
    const tine_profile_point *x = a, *y = b;
    return x->row != y->row ? compare(x->row, y->row) : compare(x->at, y->at);
}

/* One sweep over each row: `at` is the last slice that begins by the point's time. */
static void tasks_make(joining_tasks *j, const tine_profile_points *points) {
    tine_profile *p = j->p;
    size_t next = 0;
    for (size_t i = 0; i < points->n; i++) {
        const tine_profile_point *point = &points->items[i];
        if (point->row == TINE_NO_INDEX || !strchr("stf", point->phase)) continue;
        while (next < p->n_slices &&
               (p->slices[next].row < point->row ||
                (p->slices[next].row == point->row && p->slices[next].begin <= point->at)))
            next++;
        int32_t slice =
            next > 0 && p->slices[next - 1].row == point->row ? (int32_t)next - 1 : TINE_NO_INDEX;
        while (slice != TINE_NO_INDEX && p->slices[slice].end < point->at)
            slice = p->slices[slice].around;
        task_point(j, point, slice);
    }
}

/* The task in whose run a slice is. */
static int32_t task_around(const tine_profile *p, int32_t slice) {
    while (slice != TINE_NO_INDEX && p->slices[slice].kind != TINE_TRACE_RUN)
        slice = p->slices[slice].around;
    return slice == TINE_NO_INDEX ? TINE_NO_INDEX : p->slices[slice].task;
}

static void tasks_add_run(tine_profile *p, int32_t i) {
    const tine_slice *s = &p->slices[i];
    tine_profiled_task *t = &p->tasks[s->task];
    t->run_ns += s->end - s->begin;
    if (t->first_run == TINE_NO_INDEX || s->begin < t->started) {
        t->first_run = i;
        t->started = s->begin;
    }
    if (t->last_run == TINE_NO_INDEX || s->end > t->ended) {
        t->last_run = i;
        t->ended = s->end;
    }
}

static void tasks_complete(tine_profile *p) {
    int32_t result = tine_profile_name(p, "encode result"), unknown = tine_profile_name(p, "?");
    for (size_t i = 0; i < p->n_slices; i++) {
        const tine_slice *s = &p->slices[i];
        if (s->kind == TINE_TRACE_RUN && s->task != TINE_NO_INDEX) tasks_add_run(p, (int32_t)i);
        if (!s->bytes || (s->kind != TINE_TRACE_DECODE && s->name != result)) continue;
        int32_t t = task_around(p, s->around);
        if (t == TINE_NO_INDEX) continue;
        if (s->kind == TINE_TRACE_DECODE)
            p->tasks[t].bytes_in += s->bytes;
        else
            p->tasks[t].bytes_out += s->bytes;
    }
    for (size_t i = 0; i < p->n_tasks; i++) {
        tine_profiled_task *t = &p->tasks[i];
        if (t->name == TINE_NO_INDEX && t->fork != TINE_NO_INDEX) { /* it never ran: "fork NAME" */
            const char *name = p->names[p->slices[t->fork].name];
            t->name = tine_profile_name(p, strncmp(name, "fork ", 5) == 0 ? name + 5 : name);
        }
        if (t->name == TINE_NO_INDEX) t->name = unknown;
        if (t->fork != TINE_NO_INDEX) t->parent = task_around(p, t->fork);
    }
}

/* ---- suspended tasks ---- */

static int async_compare(const void *a, const void *b) {
    const tine_profile_point *x = a, *y = b;
    bool x_async = x->phase == 'b' || x->phase == 'e', y_async = y->phase == 'b' || y->phase == 'e';
    if (x_async != y_async) return x_async ? -1 : 1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->at != y->at) return compare(x->at, y->at);
    return compare(x->phase == 'e', y->phase == 'e');
}

static void spans_make(tine_profile *p, tine_profile_points *points) {
    size_t room = 0;
    if (points->n) qsort(points->items, points->n, sizeof *points->items, async_compare);
    for (size_t i = 0; i + 1 < points->n; i++) {
        const tine_profile_point *a = &points->items[i], *b = &points->items[i + 1];
        if (a->phase != 'b' || b->phase != 'e' || a->id != b->id || a->row == TINE_NO_INDEX)
            continue;
        tine_span *spans = tine_must_grow(p->suspended, &room, p->n_suspended + 1, sizeof *spans);
        p->suspended = spans;
        spans[p->n_suspended++] = (tine_span){a->at, b->at, a->name, a->row};
    }
}

void tine_profile_join(tine_profile *p, tine_profile_points *points) {
    joining_tasks j = {.p = p};
    rows_settle(p, points);
    slices_nest(p);
    p->waits = tine_must_alloc((p->n_slices + 1) * sizeof *p->waits);
    for (size_t i = 0; i < p->n_slices; i++) p->waits[i] = TINE_NO_INDEX;
    if (points->n) qsort(points->items, points->n, sizeof *points->items, point_compare);
    tasks_make(&j, points);
    tasks_complete(p);
    tine_idmap_fini(&j.by_id);
    spans_make(p, points);
}
