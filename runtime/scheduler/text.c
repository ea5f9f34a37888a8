/* The error sentences that tine_wait reports: what happened, to which task, on which worker, and
 * what to do. */
#include "runtime/scheduler/internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A failure that passes up through many nested tasks grows no further than this. */
enum { MAX_CAUSE = 4096 };

char *tine_scheduler_text(const char *format, ...) {
    char *text = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&text, format, ap);
    va_end(ap);
    TINE_ASSERT(n, >=, 0);
    return text;
}

/* "worker pid 12 (host a, rank 1)" */
static void sched_worker_name(char *out, size_t size, const sched_worker *w) {
    if (w->rank >= 0)
        snprintf(out, size, "worker pid %u (host %.64s, rank %d)", w->pid, w->host, w->rank);
    else
        snprintf(out, size, "worker pid %u (host %.64s)", w->pid, w->host);
}

static uint32_t sched_task_attempts(const tine_scheduler *s, const sched_task *t) {
    return t->flags & TINE_REPEATABLE ? s->config.max_attempts : 1;
}

char *tine_scheduler_text_failed(const tine_scheduler *s, const sched_task *t,
                                 const sched_worker *w, const char *cause) {
    char where[160];
    sched_worker_name(where, sizeof where, w);
    return tine_scheduler_text("task \"%s\" failed on %s, attempt %u of %u: %.*s",
                               t->callable->display, where, t->attempt, sched_task_attempts(s, t),
                               MAX_CAUSE, cause && *cause ? cause : "no reason given");
}

char *tine_scheduler_text_lost(const tine_scheduler *s, const sched_task *t, const sched_worker *w,
                               const char *reason) {
    char where[160], how[200];
    sched_worker_name(where, sizeof where, w);
    if (!strncmp(reason, "killed by", 9))
        snprintf(how, sizeof how, "was %.160s", reason);
    else if (!strncmp(reason, "was ", 4) || !strncmp(reason, "exited ", 7) ||
             !strncmp(reason, "died ", 5))
        snprintf(how, sizeof how, "%.160s", reason); /* the supervisor's words */
    else
        snprintf(how, sizeof how, "was lost (%.160s)", reason);
    const char *advice = t->flags & TINE_REPEATABLE
                             ? ""
                             : "; register it with TINE_REPEATABLE_FUNCTION to have it run again";
    return tine_scheduler_text("%s %s while running \"%s\" (attempt %u of %u)%s", where, how,
                               t->callable->display, t->attempt, sched_task_attempts(s, t), advice);
}

char *tine_scheduler_describe(const tine_scheduler *s, uint64_t ticket) {
    char where[160];
    const sched_task *t = NULL;
    for (size_t i = 0; i < tine_scheduler_task_slots(s) && !t; i++) {
        const sched_task *u = tine_scheduler_task_at(s, i);
        if (u->state != SCHED_FREE && !u->owner && !u->orphan && u->ticket == ticket) t = u;
    }
    if (!t) return NULL;
    if (!t->worker) return tine_scheduler_text("\"%s\" has not started", t->callable->display);
    sched_worker_name(where, sizeof where, t->worker);
    return tine_scheduler_text("\"%s\" %s %s, attempt %u of %u", t->callable->display,
                               t->suspended ? "waits for its own forks on" : "runs on", where,
                               t->attempt, sched_task_attempts(s, t));
}

/* Edits (insert, remove, change) that turn a into b; both are cut off after 63 characters. */
static size_t distance(const char *a, const char *b) {
    enum { MAX = 64 };
    size_t n = strnlen(a, MAX - 1), m = strnlen(b, MAX - 1), row[MAX];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t other = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = change < other ? change : other;
        }
    }
    return row[m];
}

static void nearest(const char *name, char *const *names, uint32_t n, const char **best,
                    size_t *best_at) {
    for (uint32_t i = 0; i < n && i < 1000; i++) {
        size_t d = distance(name, names[i]);
        if (d < *best_at) {
            *best_at = d;
            *best = names[i];
        }
    }
}

char *tine_scheduler_text_unknown(const tine_scheduler *s, const sched_callable *c) {
    const char *best = NULL;
    size_t at = 1 + strlen(c->name) / 2; /* further off it is another word */
    for (size_t i = 0; i < s->n_groups; i++) {
        const sched_group *g = &s->groups[i];
        if (!g->workers) continue;
        nearest(c->name, c->method ? g->classes : g->functions,
                c->method ? g->n_classes : g->n_functions, &best, &at);
    }
    const char *what = c->method ? "class" : "function";
    if (best)
        return tine_scheduler_text(
            "no worker serves a %s named \"%.200s\"; did you mean \"%.200s\"?", what, c->name,
            best);
    return tine_scheduler_text(
        "no worker serves a %s named \"%.200s\"; register it with TINE_%s in the program that "
        "the workers run",
        what, c->name, c->method ? "CLASS" : "FUNCTION");
}
