/* The critical path: from the end of the job back to its start, always to what was waited for.
 *
 * At each moment the path is in the program or in a task. In a task it goes back to the start of
 * its run. If that was the first run, the path goes on at its fork, in its parent. Otherwise the
 * task had been suspended: if a child ended after the run before, that child is what it waited for,
 * and the path goes on in it; if none did, the task was ready, and its worker ran another one. The
 * program is treated alike, with its wait slices in the place of suspensions. */
#include <stdlib.h>

#include "launch/profile/analysis_internal.h"
#include "transport/base/memory.h"

typedef struct path_walk {
    tine_analysis *a;
    const tine_profile *p;
    int32_t *run_before; /* per slice that is a run: the same task's run before it */
    int32_t *waits;      /* the program's, by begin */
    size_t n_waits, room;
    int64_t at;
} path_walk;

static void path_add(path_walk *w, tine_path_kind kind, int32_t name, int64_t from) {
    tine_analysis *a = w->a;
    int64_t ns = w->at - from;
    if (ns < 0) ns = 0; /* clocks of two hosts */
    if (from < w->at) w->at = from;
    a->path_ns += ns;
    for (size_t i = 0; i < a->n_path; i++) {
        tine_path_part *part = &a->path[i];
        if (part->kind != kind || part->name != name) continue;
        part->n++;
        part->ns += ns;
        return;
    }
    a->path = tine_must_grow(a->path, &w->room, a->n_path + 1, sizeof *a->path);
    a->path[a->n_path++] = (tine_path_part){kind, name, 1, ns};
}

/* Of the tasks waited for in a slice, the last to end by `limit`; TINE_NO_INDEX: none ended after
 * `since`. */
static int32_t path_child(const tine_profile *p, int32_t slice, int64_t since, int64_t limit) {
    int32_t found = TINE_NO_INDEX;
    for (int32_t i = p->waits[slice]; i != TINE_NO_INDEX; i = p->tasks[i].next_of_wait) {
        const tine_profiled_task *t = &p->tasks[i];
        if (t->last_run == TINE_NO_INDEX || t->ended <= since || t->ended > limit) continue;
        if (found == TINE_NO_INDEX || t->ended > p->tasks[found].ended) found = i;
    }
    return found;
}

/* ---- in the program ---- */

/* The last wait of the program that began before the path's time, and in which it was blocked. The
 * path goes back in time, so a wait that is passed over once is never needed again. */
static int32_t path_program_wait(path_walk *w, int32_t *child) {
    while (w->n_waits > 0) {
        int32_t wait = w->waits[--w->n_waits];
        const tine_slice *s = &w->p->slices[wait];
        if (s->begin >= w->at) continue;
        *child = path_child(w->p, wait, s->begin, s->end < w->at ? s->end : w->at);
        if (*child != TINE_NO_INDEX) return wait;
    }
    return TINE_NO_INDEX;
}

/* Returns the task in which the path goes on; TINE_NO_INDEX: it is at its start. */
static int32_t path_through_program(path_walk *w) {
    int32_t child = TINE_NO_INDEX, wait = path_program_wait(w, &child);
    if (wait == TINE_NO_INDEX) {
        path_add(w, TINE_PATH_PROGRAM, TINE_NO_INDEX, w->a->job.begin);
        return TINE_NO_INDEX;
    }
    int64_t end = w->p->slices[wait].end;
    if (end < w->at) path_add(w, TINE_PATH_PROGRAM, TINE_NO_INDEX, end);
    path_add(w, TINE_PATH_RESULT, w->p->tasks[child].name, w->p->tasks[child].ended);
    return child;
}

/* ---- in a task ---- */

/* The task's run that is under way at `at`, or ended last before it. */
static int32_t path_run_at(const path_walk *w, const tine_profiled_task *t, int64_t at) {
    int32_t run = t->last_run;
    while (run != TINE_NO_INDEX && w->p->slices[run].begin >= at && run != t->first_run)
        run = w->run_before[run];
    return run;
}

/* Returns true while the path stays in the task; else *next is where it goes on. */
static bool path_through_run(path_walk *w, int32_t task, int32_t *next) {
    const tine_profile *p = w->p;
    const tine_profiled_task *t = &p->tasks[task];
    int32_t run = path_run_at(w, t, w->at);
    const tine_slice *s = &p->slices[run];
    path_add(w, TINE_PATH_RUN, t->name, s->begin);
    *next = t->parent;
    if (run == t->first_run) {
        if (t->forked >= 0) path_add(w, TINE_PATH_START, t->name, t->forked);
        return false;
    }
    int64_t before = p->slices[w->run_before[run]].end;
    int32_t child = path_child(p, run, before, s->begin);
    if (child == TINE_NO_INDEX) {
        path_add(w, TINE_PATH_RESUME, t->name, before);
        return true;
    }
    path_add(w, TINE_PATH_RESULT, p->tasks[child].name, p->tasks[child].ended);
    *next = child;
    return false;
}

static int path_part_compare(const void *a, const void *b) {
    const tine_path_part *x = a, *y = b;
    return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

static int slice_by_begin(const void *a, const void *b) {
    const tine_slice *x = *(tine_slice *const *)a, *y = *(tine_slice *const *)b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* A task's runs may be on several rows: it was run again; and the program may wait in threads. */
static void path_link(path_walk *w) {
    const tine_profile *p = w->p;
    tine_slice **both = tine_must_alloc((p->n_slices + 1) * sizeof(tine_slice *));
    int32_t *last = tine_must_alloc((p->n_tasks + 1) * sizeof *last);
    size_t n = 0;
    w->run_before = tine_must_alloc((p->n_slices + 1) * sizeof *w->run_before);
    w->waits = tine_must_alloc((p->n_slices + 1) * sizeof *w->waits);
    for (size_t i = 0; i < p->n_tasks; i++) last[i] = TINE_NO_INDEX;
    for (size_t i = 0; i < p->n_slices; i++)
        if ((p->slices[i].kind == TINE_TRACE_RUN && p->slices[i].task != TINE_NO_INDEX) ||
            (p->slices[i].kind == TINE_TRACE_WAIT && p->waits[i] != TINE_NO_INDEX))
            both[n++] = &p->slices[i];
    if (n) qsort(both, n, sizeof *both, slice_by_begin);
    for (size_t i = 0; i < n; i++) {
        int32_t slice = (int32_t)(both[i] - p->slices);
        if (both[i]->kind == TINE_TRACE_WAIT) {
            w->waits[w->n_waits++] = slice;
            continue;
        }
        w->run_before[slice] = last[both[i]->task];
        last[both[i]->task] = slice;
    }
    free(last);
    free(both);
}

void tine_analyse_path(tine_analysis *a, const tine_profile *p) {
    path_walk w = {.a = a, .p = p, .at = a->job.end};
    if (p->n_tasks == 0) return;
    path_link(&w);
    int32_t task = path_through_program(&w);
    /* Each step goes back in time or to another task; the bound is for what a damaged file says. */
    for (size_t steps = 0; steps < 2 * (p->n_slices + p->n_tasks); steps++) {
        int32_t next;
        if (w.at <= a->job.begin) break;
        if (task == TINE_NO_INDEX) {
            task = path_through_program(&w);
            if (task == TINE_NO_INDEX) break;
        } else if (!path_through_run(&w, task, &next)) {
            task = next;
        }
    }
    if (a->n_path) qsort(a->path, a->n_path, sizeof *a->path, path_part_compare);
    free(w.run_before);
    free(w.waits);
}
