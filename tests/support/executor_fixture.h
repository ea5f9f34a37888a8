/* An executor whose actions are recorded, so that tests can look them up. */
#ifndef TINE_TESTS_SUPPORT_EXECUTOR_FIXTURE_H
#define TINE_TESTS_SUPPORT_EXECUTOR_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "workers/executor/executor.h"

enum { MAX_ACTS = 256 };

typedef struct act {
    tine_executor_action a;
    char text[256], name[32];
    uint64_t ids[8];
} act;

static tine_executor *A;
static act acts[MAX_ACTS];
static size_t n_acts;

static inline size_t take(void) {
    tine_executor_action a;
    for (n_acts = 0; n_acts < MAX_ACTS && tine_executor_next(A, &a); n_acts++) {
        act *t = &acts[n_acts];
        memset(t, 0, sizeof *t);
        t->a = a;
        const tine_message none = {0}, *m = a.kind == TINE_EXECUTOR_SEND ? &a.message : &none;
        const char *text = a.kind == TINE_EXECUTOR_SEND ? m->text : a.text;
        if (text) snprintf(t->text, sizeof t->text, "%s", text);
        if (m->target.name) snprintf(t->name, sizeof t->name, "%s", m->target.name);
        for (size_t i = 0; i < m->n_ids && i < 8; i++) t->ids[i] = m->ids[i];
        if (a.kind == TINE_EXECUTOR_COMPLETE) tine_payload_unref(a.payload);
    }
    return n_acts;
}

/* The i-th message of a type among what was taken. */
static inline act *sent(tine_message_type type, size_t i) {
    for (size_t j = 0; j < n_acts; j++)
        if (acts[j].a.kind == TINE_EXECUTOR_SEND && acts[j].a.message.type == type && i-- == 0)
            return &acts[j];
    return NULL;
}

static inline act *found(tine_executor_action_kind kind, size_t i) {
    for (size_t j = 0; j < n_acts; j++)
        if (acts[j].a.kind == kind && i-- == 0) return &acts[j];
    return NULL;
}

static inline void hear(tine_message m) { tine_executor_message(A, &m, 77); }

static inline tine_payload *payload_with(const tine_object *refs, size_t n) {
    tine_payload *p = tine_payload_new(8, 0, n);
    memset(p->body, 0, 8);
    for (size_t i = 0; i < n; i++) p->refs[i] = refs[i];
    return p;
}

static inline void hear_with(tine_message m, const tine_object *refs, size_t n) {
    m.payload = payload_with(refs, n);
    hear(m);
    tine_payload_unref(m.payload);
}

static inline void open_executor(uint32_t window) {
    tine_hello hello = {
        .version = 1, .pid = 9, .functions = (const char *const[]){"f"}, .n_functions = 1};
    cr_assert_eq(tine_executor_new(&A, &hello, TINE_EXECUTOR_STAYS, TINE_EXECUTOR_QUEUED), TINE_OK);
    take();
    hear((tine_message){.type = TINE_MSG_WELCOME, .epoch = 3, .window = window});
    take();
}

static inline void give_with(uint64_t task, uint32_t depth, const tine_object *refs, size_t n) {
    hear_with((tine_message){.type = TINE_MSG_TASK,
                             .task = task,
                             .attempt = 1,
                             .epoch = 3,
                             .depth = depth,
                             .target = {.name = "f"}},
              refs, n);
}
static inline void give(uint64_t task, uint32_t depth) { give_with(task, depth, NULL, 0); }

/* 0: there is none. */
static inline uint64_t start(void) {
    tine_executor_task t;
    return tine_executor_start(A, &t) ? t.task : 0;
}

static inline void finish(uint64_t task) {
    tine_payload *p = payload_with(NULL, 0);
    tine_executor_done(A, task, TINE_OK, p, NULL, 5);
    tine_payload_unref(p);
}

static inline tine_error fork_from(uint64_t task, uint64_t ticket) {
    tine_payload *p = payload_with(NULL, 0);
    tine_error e = tine_executor_fork(A, task, ticket, &(tine_target){.name = "g"}, 1, p, NULL);
    tine_payload_unref(p);
    return e;
}

static inline void give_object(tine_object id, const tine_object *refs, size_t n) {
    hear_with((tine_message){.type = TINE_MSG_OBJECT,
                             .object = id,
                             .text = tine_object_is_module(id) ? "C" : NULL},
              refs, n);
}

static inline void drop(tine_object id) {
    hear((tine_message){.type = TINE_MSG_DROP, .ids = &id, .n_ids = 1});
    take();
}

static inline size_t objects(void) {
    tine_executor_stats s;
    tine_executor_stats_get(A, &s);
    return s.objects;
}

static inline void close_executor(void) {
    tine_executor_free(A);
    A = NULL;
}

#endif
