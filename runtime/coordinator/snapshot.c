/* See snapshot.h. */
#include "runtime/coordinator/snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/value/error.h"
#include "runtime/wire/write.h"
#include "transport/base/arena.h"
#include "transport/base/text.h"

/* Bytes of a name: what a peer sends may be longer. */
enum { TEXT_MAX = 120, FIRST_ROOM = 4096, FAILURES_MAX = 16 };

static void put_key(tine_writer *w, const char *key) { tine_pack_text(w, key, strlen(key)); }

static void put_count(tine_writer *w, const char *key, uint64_t n) {
    put_key(w, key);
    tine_pack_uint64(w, n < INT64_MAX ? n : INT64_MAX);
}

static void put_seconds(tine_writer *w, const char *key, int64_t ns) {
    put_key(w, key);
    tine_pack_double(w, ns > 0 ? 1e-9 * (double)ns : 0);
}

/* Cut between two characters, and at what is no UTF-8; NULL: nil. */
static void put_name(tine_writer *w, const char *key, const char *text) {
    put_key(w, key);
    if (!text) {
        tine_pack_nil(w);
        return;
    }
    size_t most = strnlen(text, TEXT_MAX), n = 0, next;
    while (n < most && (next = tine_utf8_sequence(text + n, most - n))) n += next;
    tine_pack_text(w, text, n);
}

/* ---- its parts ---- */

static void put_job(tine_writer *w, const tine_snapshot_place *p) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    put_name(w, "version", TINE_VERSION);
    put_name(w, "endpoint", p->endpoint);
    put_name(w, "host", p->host);
    put_count(w, "pid", (uint64_t)getpid());
    put_key(w, "time");
    tine_pack_double(w, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
    put_seconds(w, "uptime", p->now - p->began);
    put_count(w, "refused", p->transport.peers_bad);
}

static void put_tasks(tine_writer *w, const tine_scheduler_stats *s) {
    put_key(w, "tasks");
    tine_pack_map(w, 10);
    put_count(w, "forked", s->forked);
    put_count(w, "completed", s->completed);
    put_count(w, "failed", s->failed);
    put_count(w, "retried", s->retried);
    put_count(w, "waiting", s->waiting);
    put_count(w, "ready", s->ready);
    put_count(w, "running", s->running);
    put_count(w, "suspended", s->suspended);
    put_count(w, "objects", s->objects);
    put_count(w, "ready_bytes", s->ready_bytes);
}

/* What this process shares with workers on its host. */
static void put_shared(tine_writer *w, const tine_transport_stats *s) {
    put_key(w, "shared");
    tine_pack_map(w, 7);
    put_count(w, "bound", tine_arena_size());
    put_count(w, "used", tine_arena_used());
    put_count(w, "leases", s->leases);
    put_count(w, "lent", s->lent);
    put_count(w, "lent_on", s->lent_on);
    put_count(w, "borrowed", s->borrowed);
    put_count(w, "copied", s->copied);
}

static void put_worker(tine_writer *w, const tine_snapshot_place *p, const tine_worker_info *i) {
    tine_pack_map(w, 17);
    put_count(w, "id", i->epoch);
    put_count(w, "pid", i->pid);
    put_key(w, "rank");
    tine_pack_int64(w, i->rank);
    put_name(w, "host", i->host);
    put_name(w, "kernel", i->kernel);
    put_key(w, "local");
    p->local && p->local(p->ctx, i) ? tine_pack_true(w) : tine_pack_false(w);
    put_name(w, "state", i->task ? "running" : i->suspended ? "waiting" : "idle");
    put_name(w, "task", i->task);
    put_count(w, "task_id", i->task_id);
    put_seconds(w, "age", i->task ? p->now - i->since : 0);
    put_count(w, "running", i->running);
    put_count(w, "suspended", i->suspended);
    put_count(w, "done", i->tasks_done);
    put_count(w, "bytes_in", i->bytes_in);
    put_count(w, "bytes_out", i->bytes_out);
    put_count(w, "memory", i->memory);
    put_seconds(w, "seconds", p->now - i->joined);
}

static int function_info_compare(const void *a, const void *b) {
    const tine_function_info *x = a, *y = b;
    return x->run_ns != y->run_ns ? (x->run_ns < y->run_ns ? 1 : -1) : strcmp(x->name, y->name);
}

static void put_functions(tine_writer *w, tine_function_info *all, size_t n) {
    qsort(all, n, sizeof *all, function_info_compare);
    if (n > TINE_SNAPSHOT_FUNCTIONS) n = TINE_SNAPSHOT_FUNCTIONS;
    put_key(w, "functions");
    tine_pack_array(w, n);
    for (size_t i = 0; i < n; i++) {
        tine_pack_map(w, 8);
        put_name(w, "name", all[i].name);
        put_name(w, "label", all[i].label);
        put_count(w, "ready", all[i].ready);
        put_count(w, "running", all[i].running);
        put_count(w, "done", all[i].done);
        put_count(w, "failed", all[i].failed);
        put_seconds(w, "seconds", (int64_t)all[i].run_ns);
        put_seconds(w, "mean", (int64_t)all[i].mean_ns);
    }
}

static void put_failures(tine_writer *w, const tine_scheduler *s, int64_t now) {
    tine_failure_info all[FAILURES_MAX];
    size_t n = tine_scheduler_failures(s, all, FAILURES_MAX);
    put_key(w, "failures");
    tine_pack_array(w, n);
    for (size_t i = 0; i < n; i++) {
        tine_pack_map(w, 4);
        put_seconds(w, "age", now - all[i].at);
        put_name(w, "task", all[i].name);
        put_name(w, "error", tine_error_name(all[i].status));
        put_key(w, "text");
        tine_pack_text(w, all[i].text, strlen(all[i].text));
    }
}

/* ---- the whole ---- */

typedef struct snapshot_lists {
    tine_worker_info *workers;
    tine_function_info *functions;
    size_t n_workers, n_functions;
} snapshot_lists;

static bool lists_take(snapshot_lists *l, const tine_scheduler *s) {
    l->n_workers = tine_scheduler_workers(s, NULL, 0);
    l->n_functions = tine_scheduler_functions(s, NULL, 0);
    l->workers = calloc(l->n_workers + 1, sizeof *l->workers);
    l->functions = calloc(l->n_functions + 1, sizeof *l->functions);
    if (!l->workers || !l->functions) return false;
    tine_scheduler_workers(s, l->workers, l->n_workers);
    tine_scheduler_functions(s, l->functions, l->n_functions);
    return true;
}

static void put_all(tine_writer *w, const tine_scheduler *s, const tine_snapshot_place *place,
                    const snapshot_lists *l) {
    tine_pack_map(w, 12);
    put_job(w, place);
    put_shared(w, &place->transport);
    put_tasks(w, tine_scheduler_stats_get(s));
    put_key(w, "workers");
    tine_pack_array(w, l->n_workers);
    for (size_t i = 0; i < l->n_workers; i++) put_worker(w, place, &l->workers[i]);
    put_functions(w, l->functions, l->n_functions);
    put_failures(w, s, place->now);
}

/* The frame with the size that was written. */
static tine_payload *writer_finish(tine_writer *w) {
    size_t room = (size_t)(w->end - w->frame->body), size = (size_t)(w->p - w->frame->body);
    tine_payload *p = w->failed ? NULL : tine_frame_resize(w->frame, room, size, 0, 0);
    if (!p) tine_payload_unref(w->frame);
    return p;
}

tine_error tine_snapshot_encode(const tine_scheduler *s, const tine_snapshot_place *place,
                                tine_payload **out) {
    snapshot_lists l = {0};
    tine_payload *p = lists_take(&l, s) ? tine_payload_new(FIRST_ROOM, 0, 0) : NULL;
    *out = NULL;
    if (p) {
        tine_writer w = {.p = p->body, .end = p->body + FIRST_ROOM, .frame = p};
        put_all(&w, s, place, &l);
        *out = writer_finish(&w);
    }
    free(l.workers);
    free(l.functions);
    return *out ? TINE_OK : tine_error_set(TINE_ENOMEM, "no memory for a snapshot of the job");
}
