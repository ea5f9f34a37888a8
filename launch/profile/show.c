/* Numbers and names for people, and the JSON form of an analysis. */
#include <stdlib.h>
#include <string.h>

#include "launch/cli/report.h"
#include "launch/profile/show.h"

enum { PARTS = 200 };

static const char *show_scaled(double x, const char *const *units, double step, char *out) {
    int u = 0;
    while (x >= 0.9995 * step && units[u + 1]) {
        x /= step;
        u++;
    }
    int digits = u == 0 ? 0 : x < 9.995 ? 2 : x < 99.95 ? 1 : 0;
    snprintf(out, TINE_SHOWN_MAX, "%.*f %s", digits, x, units[u]);
    return out;
}

const char *tine_show_ns(int64_t ns, char out[static TINE_SHOWN_MAX]) {
    static const char *const units[] = {"ns", "us", "ms", "s", NULL};
    return show_scaled((double)ns, units, 1000, out);
}

const char *tine_show_bytes(uint64_t bytes, char out[static TINE_SHOWN_MAX]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", NULL};
    return show_scaled((double)bytes, units, 1000, out);
}

const char *tine_show_path(const tine_profile *p, const tine_path_part *part, char *out,
                           size_t size) {
    static const char *const forms[] = {
        [TINE_PATH_RUN] = "%s runs",
        [TINE_PATH_START] = "%s is forked and has not started",
        [TINE_PATH_RESUME] = "%s could go on, its worker runs another task",
        [TINE_PATH_RESULT] = "the result of %s is on its way",
    };
    if (part->kind == TINE_PATH_PROGRAM)
        snprintf(out, size, "the program, outside of waits");
    else
        snprintf(out, size, forms[part->kind], p->names[part->name]);
    return out;
}

/* ---- JSON ---- */

static void json_add(json_object *o, const char *key, json_object *value) {
    json_object_object_add(o, key, value);
}
static json_object *json_seconds(int64_t ns) { return tine_json_number((double)ns * 1e-9, 9); }
static json_object *json_count(uint64_t n) { return json_object_new_int64((int64_t)n); }

static json_object *json_function(const tine_profile *p, const tine_function_profile *f) {
    json_object *o = json_object_new_object();
    json_add(o, "name", json_object_new_string(p->names[f->name]));
    json_add(o, "kind",
             json_object_new_string(f->kind == TINE_TRACE_KERNEL ? "kernel"
                                    : f->kind == TINE_TRACE_CALL ? "call"
                                                                 : "task"));
    json_add(o, "count", json_count(f->n));
    json_add(o, "total", json_seconds(f->total));
    json_add(o, "self", json_seconds(f->self));
    json_add(o, "mean", json_seconds(f->mean));
    json_add(o, "p50", json_seconds(f->p50));
    json_add(o, "p99", json_seconds(f->p99));
    json_add(o, "bytes_in", json_count(f->bytes_in));
    json_add(o, "bytes_out", json_count(f->bytes_out));
    return o;
}

static json_object *json_worker(const tine_profile *p, const tine_worker_profile *w) {
    json_object *o = json_object_new_object();
    char name[256];
    json_add(o, "name",
             json_object_new_string(tine_profile_row_name(p, w->row, name, sizeof name)));
    json_add(o, "tasks", json_count(w->tasks));
    json_add(o, "busy", json_seconds(w->busy));
    json_add(o, "sending", json_seconds(w->sending));
    json_add(o, "waits_inside", json_seconds(w->waits_inside));
    json_add(o, "waits_for_tasks", json_seconds(w->waits_for));
    json_add(o, "idle", json_seconds(w->idle));
    json_add(o, "bytes_in", json_count(w->bytes_in));
    json_add(o, "bytes_out", json_count(w->bytes_out));
    return o;
}

static json_object *json_latency(const tine_latency *l) {
    json_object *o = json_object_new_object();
    json_add(o, "count", json_count(l->n));
    json_add(o, "p50", json_seconds(l->p50));
    json_add(o, "p99", json_seconds(l->p99));
    json_add(o, "max", json_seconds(l->most));
    return o;
}

static json_object *json_path(const tine_profile *p, const tine_path_part *part) {
    json_object *o = json_object_new_object();
    char step[256];
    json_add(o, "step", json_object_new_string(tine_show_path(p, part, step, sizeof step)));
    json_add(o, "count", json_count(part->n));
    json_add(o, "seconds", json_seconds(part->ns));
    return o;
}

static json_object *json_gap(const tine_profile *p, const tine_profile_gap *g) {
    json_object *o = json_object_new_object();
    char name[256];
    json_add(o, "worker",
             json_object_new_string(tine_profile_row_name(p, g->row, name, sizeof name)));
    json_add(o, "begin", json_seconds(g->begin));
    json_add(o, "seconds", json_seconds(g->end - g->begin));
    json_add(o, "cause", json_object_new_string(g->cause));
    return o;
}

/* The mean number of tasks at once in equal parts of the job. */
static json_object *json_over_time(const tine_analysis *a) {
    json_object *o = json_object_new_object(), *tasks = json_object_new_array();
    double mean[PARTS];
    tine_overlap_parts(a, PARTS, mean);
    json_add(o, "begin", json_seconds(a->job.begin));
    json_add(o, "step", tine_json_number((double)(a->job.end - a->job.begin) * 1e-9 / PARTS, 6));
    for (size_t i = 0; i < PARTS; i++) json_object_array_add(tasks, tine_json_number(mean[i], 4));
    json_add(o, "tasks", tasks);
    return o;
}

json_object *tine_profile_json(const char *path, const tine_profile *p, const tine_analysis *a) {
    json_object *o = json_object_new_object(), *list;
    json_add(o, "file", json_object_new_string(path));
    json_add(o, "seconds", json_seconds(p->end));
    json_add(o, "job_seconds", json_seconds(a->job.end - a->job.begin));
    json_add(o, "tasks", json_count(p->n_tasks));
    json_add(o, "slices", json_count(p->n_slices));
    json_add(o, "events_lost", json_count(p->lost));
    json_add(o, "events_unreadable", json_count(p->unreadable));
    json_add(o, "functions", list = json_object_new_array());
    for (size_t i = 0; i < a->n_functions; i++)
        json_object_array_add(list, json_function(p, &a->functions[i]));
    json_add(o, "workers", list = json_object_new_array());
    for (size_t i = 0; i < a->n_workers; i++)
        json_object_array_add(list, json_worker(p, &a->workers[i]));
    json_add(o, "overlap", list = json_object_new_array());
    for (size_t i = 0; i <= a->n_workers; i++)
        json_object_array_add(list, json_seconds(a->overlap[i]));
    json_add(o, "overlap_over_time", json_over_time(a));
    json_add(o, "critical_path_seconds", json_seconds(a->path_ns));
    json_add(o, "critical_path", list = json_object_new_array());
    for (size_t i = 0; i < a->n_path; i++) json_object_array_add(list, json_path(p, &a->path[i]));
    json_add(o, "fork_to_start", json_latency(&a->fork_to_start));
    json_add(o, "done_to_wait", json_latency(&a->done_to_wait));
    json_add(o, "gaps", list = json_object_new_array());
    for (size_t i = 0; i < a->n_gaps; i++) json_object_array_add(list, json_gap(p, &a->gaps[i]));
    return o;
}
