/* A snapshot as metrics. A table has one row per metric: its name, and where its value is. */
#include "launch/observe/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/value/value.h"
#include "transport/base/text.h"

typedef struct metric {
    const char *name, *type, *help;
    const char *key;   /* of the value */
    const char *label; /* beside those of the list: ,state="ready" */
} metric;

/* Rows of one name follow each other. */
static const metric task_metrics[] = {
    {"tine_tasks_forked_total", "counter", "Tasks forked.", "forked", ""},
    {"tine_tasks_ended_total", "counter", "Tasks that have ended.", "completed", "result=\"ok\""},
    {"tine_tasks_ended_total", "counter", "", "failed", "result=\"failed\""},
    {"tine_tasks_retried_total", "counter", "Further attempts of tasks.", "retried", ""},
    {"tine_tasks", "gauge", "Tasks now.", "waiting", "state=\"waiting\""},
    {"tine_tasks", "gauge", "", "ready", "state=\"ready\""},
    {"tine_tasks", "gauge", "", "running", "state=\"running\""},
    {"tine_tasks", "gauge", "", "suspended", "state=\"suspended\""},
    {"tine_objects", "gauge", "Put values, modules and results that tasks refer to.", "objects",
     ""},
    {"tine_queued_bytes", "gauge", "Arguments of tasks that have not started.", "ready_bytes", ""},
    {0},
};
static const metric job_metrics[] = {
    {"tine_connections_refused_total", "counter",
     "Connections that had no key, or another, or broke the protocol.", "refused", ""},
    {0},
};
static const metric shared_metrics[] = {
    {"tine_shared_bytes", "gauge", "The program's tensors that local workers can read.", "used",
     ""},
    {"tine_shared_bound_bytes", "gauge", "The most of them.", "bound", ""},
    {"tine_leases", "gauge", "Buffers that local workers read now.", "leases", ""},
    {"tine_buffers_total", "counter", "Large buffers to and from local workers.", "lent",
     "way=\"lent\""},
    {"tine_buffers_total", "counter", "", "lent_on", "way=\"lent_on\""},
    {"tine_buffers_total", "counter", "", "borrowed", "way=\"borrowed\""},
    {"tine_buffers_total", "counter", "", "copied", "way=\"copied\""},
    {0},
};
static const metric worker_metrics[] = {
    {"tine_worker_tasks_total", "counter", "Tasks that the worker has ended.", "done", ""},
    {"tine_worker_tasks", "gauge", "Tasks at the worker now.", "running", "state=\"running\""},
    {"tine_worker_tasks", "gauge", "", "suspended", "state=\"suspended\""},
    {"tine_worker_task_age_seconds", "gauge", "How long its present task has run.", "age", ""},
    {"tine_worker_received_bytes_total", "counter", "Values that came from the worker.", "bytes_in",
     ""},
    {"tine_worker_sent_bytes_total", "counter", "Values that were sent to it.", "bytes_out", ""},
    {"tine_worker_memory_bytes", "gauge", "Resident memory, once the worker has told it.", "memory",
     ""},
    {0},
};
static const metric function_metrics[] = {
    {"tine_function_tasks_total", "counter", "Tasks of the function that have ended.", "done",
     "result=\"ok\""},
    {"tine_function_tasks_total", "counter", "", "failed", "result=\"failed\""},
    {"tine_function_tasks", "gauge", "Tasks of the function now.", "ready", "state=\"ready\""},
    {"tine_function_tasks", "gauge", "", "running", "state=\"running\""},
    {"tine_function_seconds_total", "counter", "Run time of its tasks.", "seconds", ""},
    {0},
};

/* ---- reading ---- */

static const tine_value *metric_field(const tine_value *dict, const char *key) {
    for (size_t i = 0; dict && dict->kind == TINE_DICT && i < dict->list.n; i++)
        if (strcmp(dict->list.keys[i], key) == 0) return dict->list.items[i];
    return NULL;
}

static size_t metric_items(const tine_value *list) {
    return list && list->kind == TINE_LIST ? list->list.n : 0;
}

static const char *metric_text(const tine_value *dict, const char *key) {
    const tine_value *v = metric_field(dict, key);
    return v && v->kind == TINE_STRING ? v->bytes.data : "";
}

/* ---- writing ---- */

/* Escaped as the format asks for; what could act on a terminal is written as \x1b. */
static void label_write(FILE *f, const char *name, const char *text) {
    char *shown = tine_text_printable(text, false);
    fprintf(f, "%s=\"", name);
    for (const char *c = shown ? shown : ""; *c; c++) {
        if (*c == '\\' || *c == '"') fputc('\\', f);
        fputc(*c, f);
    }
    fputc('"', f);
    free(shown);
}

static void metric_head(FILE *f, const char *name, const char *type, const char *help) {
    fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric_value(FILE *f, const tine_value *v) {
    if (v->kind == TINE_INT)
        fprintf(f, "%lld\n", (long long)v->i);
    else
        fprintf(f, "%.9g\n", v->d);
}

typedef void metric_labels(FILE *f, const tine_value *row);

static void worker_labels(FILE *f, const tine_value *row) {
    const tine_value *id = metric_field(row, "id"), *pid = metric_field(row, "pid");
    fprintf(f, "worker=\"%lld\",pid=\"%lld\",", id && id->kind == TINE_INT ? (long long)id->i : -1,
            pid && pid->kind == TINE_INT ? (long long)pid->i : -1);
    label_write(f, "host", metric_text(row, "host"));
}

static void function_labels(FILE *f, const tine_value *row) {
    const char *label = metric_text(row, "label");
    label_write(f, "function", metric_text(row, "name"));
    if (*label) fputc(',', f);
    if (*label) label_write(f, "label", label);
}

static void metric_row(FILE *f, const metric *m, const tine_value *row, metric_labels *labels) {
    const tine_value *v = metric_field(row, m->key);
    if (!v || (v->kind != TINE_INT && v->kind != TINE_FLOAT)) return;
    if (strcmp(m->key, "memory") == 0 && v->kind == TINE_INT && v->i == 0) return;
    fputs(m->name, f);
    if (labels || *m->label) fputc('{', f);
    if (labels) labels(f, row);
    if (labels && *m->label) fputc(',', f);
    fputs(m->label, f);
    if (labels || *m->label) fputc('}', f);
    fputc(' ', f);
    metric_value(f, v);
}

/* All samples of one name stand together. */
static void metrics_of(FILE *f, const metric *table, const tine_value *const *rows, size_t n,
                       metric_labels *labels) {
    for (const metric *m = table, *next; m->name; m = next) {
        metric_head(f, m->name, m->type, m->help);
        for (next = m; next->name && strcmp(next->name, m->name) == 0;) next++;
        for (size_t i = 0; i < n; i++)
            for (const metric *k = m; k < next; k++) metric_row(f, k, rows[i], labels);
    }
}

static void metrics_of_list(FILE *f, const metric *table, const tine_value *list,
                            metric_labels *labels) {
    size_t n = metric_items(list);
    metrics_of(f, table, n ? (const tine_value *const *)list->list.items : NULL, n, labels);
}

void tine_metrics_write(FILE *f, const tine_value *snapshot) {
    locale_t before = tine_text_locale_enter();
    const tine_value *tasks = metric_field(snapshot, "tasks");
    const tine_value *shared = metric_field(snapshot, "shared");
    const tine_value *uptime = metric_field(snapshot, "uptime");
    metric_head(f, "tine_info", "gauge", "The job.");
    fputs("tine_info{", f);
    label_write(f, "version", metric_text(snapshot, "version"));
    fputc(',', f);
    label_write(f, "host", metric_text(snapshot, "host"));
    fputs("} 1\n", f);
    if (uptime && uptime->kind == TINE_FLOAT) {
        metric_head(f, "tine_uptime_seconds", "gauge", "Since the start of the job.");
        fputs("tine_uptime_seconds ", f);
        metric_value(f, uptime);
    }
    metric_head(f, "tine_workers", "gauge", "Workers that are connected.");
    fprintf(f, "tine_workers %zu\n", metric_items(metric_field(snapshot, "workers")));
    metrics_of(f, job_metrics, &snapshot, 1, NULL);
    metrics_of(f, task_metrics, &tasks, 1, NULL);
    metrics_of(f, shared_metrics, &shared, 1, NULL);
    metrics_of_list(f, worker_metrics, metric_field(snapshot, "workers"), worker_labels);
    metrics_of_list(f, function_metrics, metric_field(snapshot, "functions"), function_labels);
    tine_text_locale_leave(before);
}
