/* Names of messages, for logs and the trace; copies of what they borrow; sentences that both roles
 * report. */
#include "runtime/wire/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/text.h"

const char *tine_message_name(const tine_message *m) {
    static const char *const names[TINE_MSG_LAST_] = {
        [TINE_MSG_HELLO] = "HELLO",
        [TINE_MSG_DONE] = "DONE",
        [TINE_MSG_SUSPEND] = "SUSPEND",
        [TINE_MSG_SUBMIT] = "SUBMIT",
        [TINE_MSG_FETCH] = "FETCH",
        [TINE_MSG_PONG] = "PONG",
        [TINE_MSG_EVENTS] = "EVENTS",
        [TINE_MSG_WELCOME] = "WELCOME",
        [TINE_MSG_REJECT] = "REJECT",
        [TINE_MSG_TASK] = "TASK",
        [TINE_MSG_RESULT] = "RESULT",
        [TINE_MSG_CREDIT] = "CREDIT",
        [TINE_MSG_DROP] = "DROP",
        [TINE_MSG_PING] = "PING",
        [TINE_MSG_TRACE] = "TRACE",
        [TINE_MSG_STOP] = "STOP",
        [TINE_MSG_OBJECT] = "OBJECT",
        [TINE_MSG_HOLD] = "HOLD",
        [TINE_MSG_RELEASE] = "RELEASE",
        [TINE_MSG_CANCEL] = "CANCEL",
        [TINE_MSG_SUBMIT_WITH] = "SUBMIT_WITH",
        [TINE_MSG_YIELD] = "YIELD",
        [TINE_MSG_PULL] = "PULL",
        [TINE_MSG_OBSERVE] = "OBSERVE",
        [TINE_MSG_SNAPSHOT] = "SNAPSHOT",
        [TINE_MSG_DEMAND] = "DEMAND",
        [TINE_MSG_REACH] = "REACH",
        [TINE_MSG_LEAVE] = "LEAVE",
        [TINE_MSG_PASS] = "PASS",
        [TINE_MSG_DONE_PASSED] = "DONE_PASSED",
    };
    return m->type < TINE_MSG_LAST_ && names[m->type] ? names[m->type] : "unknown";
}

size_t tine_target_size(const tine_target *t) {
    return strlen(t->name) + 1 + (t->method ? strlen(t->method) + 1 : 0);
}

tine_target tine_target_copy(char *texts, const tine_target *t) {
    char *method = stpcpy(texts, t->name) + 1;
    if (t->method) strcpy(method, t->method);
    return (tine_target){texts, t->method ? method : NULL, t->object};
}

static size_t text_size(const char *text) { return text ? strlen(text) + 1 : 0; }

size_t tine_terms_size(const tine_terms *t) {
    return t ? text_size(t->name) + text_size(t->label) + text_size(t->resources) : 0;
}

tine_terms tine_terms_copy(char *texts, const tine_terms *t) {
    tine_terms copy = *t;
    char *label = texts + text_size(t->name), *resources = label + text_size(t->label);
    if (t->name) copy.name = strcpy(texts, t->name);
    if (t->label) copy.label = strcpy(label, t->label);
    if (t->resources) copy.resources = strcpy(resources, t->resources);
    return copy;
}

/* ---- sentences ---- */

/* A failure that passes up through many nested tasks grows no further than this. */
enum { MAX_CAUSE = 4096 };

void tine_worker_text(char *out, size_t size, uint32_t pid, const char *host, int32_t rank) {
    if (rank >= 0)
        snprintf(out, size, "worker pid %u (host %.64s, rank %d)", pid, host, rank);
    else
        snprintf(out, size, "worker pid %u (host %.64s)", pid, host);
}

char *tine_failed_text(const tine_failed *f) {
    char where[160];
    tine_worker_text(where, sizeof where, f->pid, f->host, f->rank);
    const char *cause = f->cause && *f->cause ? f->cause : "no reason given";
    char *reason = tine_text_cut(cause, MAX_CAUSE), *shown = NULL;
    char *text = reason ? tine_text_format("task \"%s\" failed on %s, attempt %u of %u: %s",
                                           f->name, where, f->attempt, f->attempts, reason)
                        : NULL;
    if (text) shown = tine_text_printable(text, true); /* names and reasons come from peers */
    free(reason);
    free(text);
    return shown;
}
