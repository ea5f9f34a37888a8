/* A scheduler whose actions are recorded, so that tests can look them up. */
#ifndef TINE_TESTS_SUPPORT_SCHEDULER_FIXTURE_H
#define TINE_TESTS_SUPPORT_SCHEDULER_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/scheduler/scheduler.h"

enum { MAX_ACTIONS = 4096 };

typedef struct action {
    tine_scheduler_action a; /* its pointers are no longer valid: see the copies below */
    char text[512], name[64], method[64], message_text[256];
    uint64_t ids[16];
} action;

typedef struct fixture {
    tine_scheduler *scheduler;
    action actions[MAX_ACTIONS]; /* those since the last `take` */
    size_t n;
    int64_t now;
    uint32_t epochs;
} fixture;

static fixture F;

static inline void copy_text(char *to, size_t size, const char *from) {
    if (from) snprintf(to, size, "%s", from);
}

static inline size_t take(void) {
    tine_scheduler_action a;
    for (F.n = 0; F.n < MAX_ACTIONS && tine_scheduler_next(F.scheduler, &a); F.n++) {
        action *t = &F.actions[F.n];
        memset(t, 0, sizeof *t);
        t->a = a;
        const tine_message none = {0}, *m = a.kind == TINE_SCHEDULER_SEND ? &a.message : &none;
        if (a.kind != TINE_SCHEDULER_SEND) copy_text(t->text, sizeof t->text, a.text);
        copy_text(t->message_text, sizeof t->message_text, m->text);
        copy_text(t->name, sizeof t->name, m->target.name);
        copy_text(t->method, sizeof t->method, m->target.method);
        for (size_t i = 0; i < m->n_ids && i < 16; i++) t->ids[i] = m->ids[i];
        if (a.kind == TINE_SCHEDULER_COMPLETE) {
            for (uint32_t i = 0; a.payload && i < a.payload->n_refs; i++)
                tine_scheduler_object_release(F.scheduler, a.payload->refs[i]);
            tine_payload_unref(a.payload);
        }
    }
    tine_scheduler_check(F.scheduler);
    return F.n;
}

/* The i-th message of a type to a peer (0: any) among those taken. */
static inline action *sent(tine_peer peer, tine_message_type type, size_t i) {
    for (size_t j = 0; j < F.n; j++) {
        tine_scheduler_action *a = &F.actions[j].a;
        if (a->kind == TINE_SCHEDULER_SEND && (!peer || a->peer == peer) &&
            a->message.type == type && i-- == 0)
            return &F.actions[j];
    }
    return NULL;
}
static inline size_t count_sent(tine_peer peer, tine_message_type type) {
    size_t n = 0;
    while (sent(peer, type, n)) n++;
    return n;
}
static inline action *found(tine_scheduler_action_kind kind, size_t i) {
    for (size_t j = 0; j < F.n; j++)
        if (F.actions[j].a.kind == kind && i-- == 0) return &F.actions[j];
    return NULL;
}
/* Lines of the log with this in them. */
static inline size_t lines_with(const char *text) {
    size_t n = 0, i = 0;
    for (action *a; (a = found(TINE_SCHEDULER_LOG, i)); i++) n += strstr(a->text, text) != NULL;
    return n;
}
static inline action *completed(uint64_t ticket) {
    for (size_t j = 0; j < F.n; j++)
        if (F.actions[j].a.kind == TINE_SCHEDULER_COMPLETE && F.actions[j].a.ticket == ticket)
            return &F.actions[j];
    return NULL;
}

static inline void fixture_open(tine_scheduler_config c) {
    memset(&F, 0, sizeof F);
    cr_assert_eq(tine_scheduler_new(&F.scheduler, &c), TINE_OK);
}
static inline void fixture_close(void) {
    tine_scheduler_stop(F.scheduler);
    take();
    tine_scheduler_stats s = *tine_scheduler_stats_get(F.scheduler);
    cr_assert_eq(s.ready + s.running + s.suspended + s.ready_bytes, 0);
    tine_scheduler_free(F.scheduler);
    F.scheduler = NULL;
}

static inline void receive(tine_peer peer, tine_message m) {
    tine_scheduler_message(F.scheduler, peer, &m, F.now);
}

static inline uint32_t join_as(tine_peer peer, const char *const *functions, uint32_t n,
                               const char *const *classes, uint32_t n_classes) {
    tine_hello hello = {.version = TINE_PROTOCOL_VERSION,
                        .pid = 10 + (uint32_t)peer,
                        .rank = -1,
                        .host = "a",
                        .functions = functions,
                        .n_functions = n,
                        .classes = classes,
                        .n_classes = n_classes};
    tine_scheduler_peer_up(F.scheduler, peer, F.now);
    receive(peer, (tine_message){.type = TINE_MSG_HELLO, .hello = &hello});
    return ++F.epochs;
}
/* A worker that serves f, g and class C; gives its epoch. */
static inline uint32_t join(tine_peer peer) {
    return join_as(peer, (const char *const[]){"f", "g"}, 2, (const char *const[]){"C"}, 1);
}

static inline tine_payload *payload_with(size_t size, const tine_object *refs, size_t n) {
    tine_payload *p = tine_payload_new(size, 0, n);
    memset(p->body, 0, size);
    for (size_t i = 0; i < n; i++) p->refs[i] = refs[i];
    return p;
}
static inline void fork_with(uint64_t ticket, tine_target target, uint32_t flags, size_t size,
                             const tine_object *refs, size_t n) {
    tine_payload *p = payload_with(size, refs, n);
    cr_assert_eq(tine_scheduler_fork(F.scheduler, ticket, 0, &target, flags, p, NULL, NULL),
                 TINE_OK);
    tine_payload_unref(p);
}
static inline void fork_f(uint64_t ticket, const char *name) {
    fork_with(ticket, (tine_target){.name = name}, 0, 8, NULL, 0);
}

static inline void done_with(tine_peer peer, const action *task, tine_error status,
                             const char *text, uint64_t run_ns, uint64_t seq,
                             const tine_object *refs, size_t n) {
    tine_payload *p = status ? NULL : payload_with(8, refs, n);
    receive(peer, (tine_message){.type = TINE_MSG_DONE,
                                 .task = task->a.message.task,
                                 .attempt = task->a.message.attempt,
                                 .epoch = task->a.message.epoch,
                                 .status = status,
                                 .text = text,
                                 .run_ns = run_ns,
                                 .seq = seq,
                                 .payload = p});
    tine_payload_unref(p);
}
static inline void done(tine_peer peer, const action *task, uint64_t run_ns) {
    done_with(peer, task, TINE_OK, NULL, run_ns, 0, NULL, 0);
}
static inline void suspend(tine_peer peer, const action *task) {
    receive(peer,
            (tine_message){.type = TINE_MSG_SUSPEND, .ids = &task->a.message.task, .n_ids = 1});
}
static inline void submit_with(tine_peer peer, const action *parent, uint64_t seq,
                               tine_target target, const tine_object *refs, size_t n) {
    tine_payload *p = payload_with(8, refs, n);
    receive(peer, (tine_message){.type = TINE_MSG_SUBMIT,
                                 .task = parent->a.message.task,
                                 .seq = seq,
                                 .target = target,
                                 .payload = p});
    tine_payload_unref(p);
}
static inline void submit(tine_peer peer, const action *parent, uint64_t seq, const char *name) {
    submit_with(peer, parent, seq, (tine_target){.name = name}, NULL, 0);
}
static inline void put(tine_peer peer, uint64_t task, tine_object id, const char *class_name,
                       const tine_object *refs, size_t n) {
    tine_payload *p = payload_with(8, refs, n);
    receive(
        peer,
        (tine_message){
            .type = TINE_MSG_OBJECT, .task = task, .object = id, .text = class_name, .payload = p});
    tine_payload_unref(p);
}
static inline void fetch(tine_peer peer, tine_object id) {
    receive(peer, (tine_message){.type = TINE_MSG_FETCH, .object = id});
}
static inline tine_scheduler_stats stats(void) { return *tine_scheduler_stats_get(F.scheduler); }
/* Teaches the scheduler how long `name` takes: one run on an idle worker. */
static inline void teach(tine_peer peer, const char *name, uint64_t run_ns) {
    fork_f(900, name);
    take();
    action *t = sent(peer, TINE_MSG_TASK, 0);
    cr_assert(t);
    done(peer, t, run_ns);
    take();
}

#endif
