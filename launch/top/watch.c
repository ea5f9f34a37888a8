/* See watch.h. A job is not trusted more than a worker is: what it sends is decoded by the wire,
 * which checks it, and shown masked. */
#include "launch/top/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/security.h"
#include "launch/top/rates.h"
#include "runtime/value/error.h"
#include "runtime/wire/wire.h"
#include "transport/base/text.h"

static void watch_end(tine_watch *w, bool lost, const char *why) {
    char *shown = w->ended ? NULL : tine_text_printable(why, false);
    if (!w->ended) snprintf(w->why, sizeof w->why, "%s", shown ? shown : "no memory");
    w->lost = w->ended ? w->lost : lost;
    w->ended = true;
    free(shown);
}

/* A snapshot must not refer to objects. */
static tine_value *watch_no_object(void *ctx, tine_object id) {
    (void)ctx, (void)id;
    return NULL;
}

static void watch_snapshot(tine_watch *w, const tine_message *m) {
    static const tine_decoder decoder = {.value = watch_no_object};
    tine_value *v = NULL;
    w->asked = false;
    free(w->answer);
    w->answer = m->text ? tine_text_printable(m->text, false) : NULL;
    if (tine_payload_value(m->payload, &decoder, &v) != TINE_OK || v->kind != TINE_DICT) {
        tine_value_unref(v);
        watch_end(w, true, "it sent a snapshot that cannot be read");
        return;
    }
    json_object *now = tine_rates_json(v);
    tine_rates_add(now, w->now);
    json_object_put(w->now);
    tine_value_unref(w->value);
    w->now = now;
    w->value = v;
    w->n++;
}

static void watch_on_up(void *ctx, tine_peer peer) {
    (void)peer;
    ((tine_watch *)ctx)->up = true;
}

static void watch_on_message(void *ctx, tine_peer peer, const tine_message *m) {
    tine_watch *w = ctx;
    (void)peer;
    switch (m->type) {
    case TINE_MSG_SNAPSHOT: watch_snapshot(w, m); break;
    case TINE_MSG_STOP: watch_end(w, false, "the job has ended"); break;
    case TINE_MSG_REJECT: watch_end(w, true, m->text); break;
    default: watch_end(w, true, "it sent a message that is not for observers");
    }
}

static void watch_on_invalid(void *ctx, tine_peer peer, tine_error e, const char *why) {
    (void)peer, (void)e;
    watch_end(ctx, true, why);
}

static void watch_on_lost(void *ctx, tine_peer peer, bool bad, const char *reason) {
    (void)peer, (void)bad;
    watch_end(ctx, true, reason);
}

static const tine_link_handler watch_events = {watch_on_up, watch_on_message, watch_on_invalid,
                                               watch_on_lost, NULL};

tine_error tine_watch_open(tine_watch *w, const char *endpoint, const tine_settings *s,
                           double seconds) {
    char why[192] = "", key[TINE_ZMQ_KEY_SIZE];
    tine_transport *t;
    unsigned flags = tine_transport_flags(endpoint);
    *w = (tine_watch){0};
    if (flags & (TINE_TRANSPORT_THREADS | TINE_TRANSPORT_RANKS))
        return tine_error_set(TINE_EINVAL,
                              "%.200s: other processes cannot connect to a job there; start it "
                              "with TINE_METRICS=HOST:PORT",
                              endpoint);
    const tine_transport_ops *ops = tine_transport_for(endpoint, why, sizeof why);
    tine_transport_config config = {
        .max_frame = s->max_frame, .lane = -1, .connect_ns = (int64_t)(seconds * 1e9)};
    tine_error e = ops ? tine_security_set(s, endpoint, false, &config, key) : TINE_OK;
    if (e != TINE_OK) return e;
    int failed = ops ? ops->connect(&t, endpoint, &config, why, sizeof why) : -EINVAL;
    if (failed != 0)
        return tine_error_set(failed == -EINVAL ? TINE_EINVAL : TINE_EIO, "%.200s: %s", endpoint,
                              why);
    tine_link_init(&w->link, t, &watch_events, w);
    return TINE_OK;
}

void tine_watch_ask(tine_watch *w, uint32_t what, uint64_t task, uint32_t worker) {
    if (w->ended) return;
    w->asked = true;
    tine_message m = {
        .type = TINE_MSG_OBSERVE, .seq = ++w->seq, .flags = what, .task = task, .epoch = worker};
    if (tine_link_send(&w->link, 1, &m) != TINE_OK)
        watch_end(w, true, "a message could not be sent");
}

void tine_watch_run(tine_watch *w, int64_t timeout_ns) {
    int n = tine_link_receive(&w->link);
    if (n == 0) {
        tine_link_wait(&w->link, timeout_ns);
        n = tine_link_receive(&w->link);
    }
    if (n < 0) watch_end(w, true, "the connection is broken");
}

void tine_watch_close(tine_watch *w) {
    tine_link_close(&w->link);
    tine_link_fini(&w->link);
    json_object_put(w->now);
    tine_value_unref(w->value);
    free(w->answer);
    *w = (tine_watch){0};
}
