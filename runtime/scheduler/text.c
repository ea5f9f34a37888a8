/* The error sentences that tine_wait reports: what happened, to which task, on which worker, and
 * what to do. */
#include "runtime/scheduler/internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/text.h"

enum { MAX_CANDIDATES = 1000 }; /* names of one group compared with an unknown one */

char *tine_scheduler_text(const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *text = tine_text_formatv(format, ap);
    va_end(ap);
    TINE_ASSERT_TRUE(text);
    char *shown = tine_text_printable(text, true); /* names and reasons come from peers */
    TINE_ASSERT_TRUE(shown);
    free(text);
    return shown;
}

/* "worker pid 12 (host a, rank 1)" */
static void sched_worker_name(char *out, size_t size, const sched_worker *w) {
    tine_worker_text(out, size, w->pid, w->host, w->rank);
}

static uint32_t sched_task_attempts(const tine_scheduler *s, const sched_task *t) {
    if (!(t->flags & TINE_REPEATABLE)) return t->uncounted + 1;
    return t->uncounted + tine_scheduler_max_attempts(s, t) +
           (t->terms ? t->terms->failure_retries : 0);
}

char *tine_scheduler_text_failed(const tine_scheduler *s, const sched_task *t,
                                 const sched_worker *w, const char *cause) {
    char *text =
        tine_failed_text(&(tine_failed){tine_scheduler_task_name(t), cause, w->host, w->pid,
                                        w->rank, t->attempt, sched_task_attempts(s, t)});
    TINE_ASSERT_TRUE(text);
    return text;
}

const char *tine_scheduler_reason_subject(const char *reason) {
    static const struct {
        const char *begin, *subject;
    } known[] = {{"killed ", "the worker was "},
                 {"dropped: ", "the worker was "},
                 {"was ", "the worker "},
                 {"exited ", "the worker "},
                 {"died ", "the worker "}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(reason, known[i].begin, strlen(known[i].begin))) return known[i].subject;
    return "";
}

/* What would have it run again; behind the sentence. */
static void sched_text_advice(char *out, size_t size, const sched_task *t) {
    uint32_t died = t->attempt - t->uncounted;
    if (t->flags & TINE_REPEATABLE)
        snprintf(out, size, "; %u worker%s died while it ran (TINE_RETRIES)", died,
                 died == 1 ? "" : "s have");
    else if (!t->callable->method)
        snprintf(out, size,
                 "; register the function with TINE_REPEATABLE_FUNCTION to have it run "
                 "again");
    else if (t->flags & TINE_MODULE_SINGLE && !(t->flags & TINE_MODULE_RENEW))
        snprintf(out, size, "; the state of its module is lost with it");
    else
        snprintf(out, size, "; give the method the flag TINE_REPEATABLE to have it run again");
}

char *tine_scheduler_text_lost(const tine_scheduler *s, const sched_task *t, const sched_worker *w,
                               const char *reason) {
    char where[160];
    sched_worker_name(where, sizeof where, w);
    char advice[96];
    sched_text_advice(advice, sizeof advice, t);
    return tine_scheduler_text("task \"%s\" was lost on %s, attempt %u of %u: %s%.160s%s",
                               tine_scheduler_task_name(t), where, t->attempt,
                               sched_task_attempts(s, t), tine_scheduler_reason_subject(reason),
                               reason, advice);
}

char *tine_scheduler_text_cancelled(const sched_task *t, const char *why) {
    char where[160];
    if (!t->worker)
        return tine_scheduler_text("task \"%s\" was cancelled before it started: %s",
                                   tine_scheduler_task_name(t), why);
    sched_worker_name(where, sizeof where, t->worker);
    return tine_scheduler_text("task \"%s\" was cancelled, attempt %u on %s: %s",
                               tine_scheduler_task_name(t), t->attempt, where, why);
}

char *tine_scheduler_text_result_lost(const sched_object *o, const sched_worker *w,
                                      const char *reason) {
    char where[160];
    sched_worker_name(where, sizeof where, w);
    const char *advice =
        o->producer ? "it cannot be made again: a value among its arguments has been freed"
                    : "register the function with TINE_REPEATABLE_FUNCTION to have it made again";
    return tine_scheduler_text("the result of task \"%s\" was lost on %s: %s%.160s; %s",
                               o->name ? o->name : "", where, tine_scheduler_reason_subject(reason),
                               reason, advice);
}

char *tine_scheduler_text_unserved(const sched_task *t) {
    return tine_scheduler_text("task \"%s\" cannot run: no worker that serves it is left",
                               tine_scheduler_task_name(t));
}

/* What a worker would need: "has the label "big" (TINE_LABELS)". */
static char *sched_text_choice(const sched_callable *c) {
    if (!c->takes) return tine_scheduler_text("has the label \"%.64s\" (TINE_LABELS)", c->label);
    return tine_scheduler_text("%s%.64s%soffers the slots \"%.128s\" (TINE_SLOTS)",
                               c->label ? "has the label \"" : "", c->label ? c->label : "",
                               c->label ? "\" and " : "", c->resources);
}

char *tine_scheduler_text_awaited(const sched_callable *c) {
    char *choice = sched_text_choice(c);
    char *text = tine_scheduler_text("%s waits: no worker that serves it %s", c->display, choice);
    free(choice);
    return text;
}

char *tine_scheduler_text_unchosen(const sched_task *t) {
    char *choice = sched_text_choice(t->callable);
    char *text = tine_scheduler_text(
        "task \"%s\" cannot run: no worker that serves it %s, and no other worker can join",
        tine_scheduler_task_name(t), choice);
    free(choice);
    return text;
}

char *tine_scheduler_text_misplaced(const sched_task *t, const char *why) {
    return tine_scheduler_text("task \"%s\" cannot run where its fork says: %s",
                               tine_scheduler_task_name(t), why);
}

char *tine_scheduler_describe(const tine_scheduler *s, uint64_t ticket) {
    char where[160];
    const sched_task *t = NULL;
    for (size_t i = 0; i < tine_scheduler_task_slots(s) && !t; i++) {
        const sched_task *u = tine_scheduler_task_at(s, i);
        if (u->state != SCHED_FREE && u->state != SCHED_KEPT && !u->owner && !u->orphan &&
            u->ticket == ticket)
            t = u;
    }
    if (!t) return NULL;
    if (t->state == SCHED_WAITING || t->ahead)
        return tine_scheduler_text("task \"%s\" waits for the results of other tasks",
                                   tine_scheduler_task_name(t));
    if (t->state == SCHED_TURN)
        return tine_scheduler_text("task \"%s\" waits for earlier calls of its module",
                                   tine_scheduler_task_name(t));
    if (t->callable->takes && !t->terms->slots_of)
        return tine_scheduler_text("task \"%s\" waits for a worker with the free slots \"%s\"",
                                   tine_scheduler_task_name(t), t->callable->resources);
    if (!t->worker)
        return tine_scheduler_text("task \"%s\" has not started%s%s%s", tine_scheduler_task_name(t),
                                   tine_scheduler_is_served(s, t->callable, false)
                                       ? ""
                                       : ": no worker that serves it is connected",
                                   s->refusal ? "; the last one to join was dropped: " : "",
                                   s->refusal ? s->refusal : "");
    sched_worker_name(where, sizeof where, t->worker);
    return tine_scheduler_text("task \"%s\" %s %s, attempt %u of %u", tine_scheduler_task_name(t),
                               !t->suspended ? "runs on"
                               : t->yields
                                   ? "waits for its forks, or for its values to be taken, on"
                                   : "waits for its forks on",
                               where, t->attempt, sched_task_attempts(s, t));
}

char *tine_scheduler_text_unknown(const tine_scheduler *s, const sched_callable *c) {
    size_t size = strlen(c->name);
    tine_nearest best = {.name = c->name, .size = size, .limit = 1 + size / 2};
    for (size_t i = 0; i < s->n_groups; i++) {
        const sched_group *g = &s->groups[i];
        if (!g->workers) continue;
        char *const *names = c->method ? g->classes : g->functions;
        uint32_t n = c->method ? g->n_classes : g->n_functions;
        for (uint32_t k = 0; k < n && k < MAX_CANDIDATES; k++) tine_nearest_try(&best, names[k]);
    }
    const char *what = c->method ? "class" : "function";
    if (best.found)
        return tine_scheduler_text(
            "no worker serves a %s named \"%.200s\"; did you mean \"%.200s\"?", what, c->name,
            best.found);
    return tine_scheduler_text(
        "no worker serves a %s named \"%.200s\"; register it with TINE_%s in the program that "
        "the workers run",
        what, c->name, c->method ? "CLASS" : "FUNCTION");
}
