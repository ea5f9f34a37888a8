/* See presence.h. */
#include "launch/command/presence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/internal.h"
#include "launch/security.h"

enum { MAX_HELLO = 16, MAX_FRAME = 1 << 16, LONGEST_MS = 250 };
static const int64_t CONNECT_NS = 10000000000, HELLO_NS = 10000000000;

/* No shared memory, and no arena: nothing but signs of life passes. */
static bool presence_open(tine_presence *p, const char *url, bool listens, char *why,
                          size_t why_size) {
    char key[TINE_ZMQ_KEY_SIZE];
    tine_settings s;
    const tine_transport_ops *ops = tine_transport_for(url, why, why_size);
    if (!ops) return false;
    bool good = tine_settings_resolve(&s, NULL, NULL, NULL) == TINE_OK;
    if (good) {
        tine_transport_config config = tine_transport_config_of(&s);
        config.lane = -1;
        config.arena = 0;
        config.max_frame = MAX_FRAME;
        config.max_first_frame = MAX_HELLO;
        config.first_frame_ns = HELLO_NS;
        /* `tine run` listens before it starts a supervisor: what cannot be reached soon is gone. */
        if (config.connect_ns > CONNECT_NS) config.connect_ns = CONNECT_NS;
        good = tine_security_set(&s, url, listens, &config, key) == TINE_OK;
        if (good && (listens ? ops->listen : ops->connect)(&p->transport, url, &config, why,
                                                           why_size) != 0) {
            p->transport = NULL;
            tine_settings_fini(&s);
            return false;
        }
        tine_settings_fini(&s);
    }
    if (!good) snprintf(why, why_size, "%s", tine_error_message());
    return good;
}

bool tine_presence_listen(tine_presence *p, const char *url, int n, char *why, size_t why_size) {
    p->peers = calloc((size_t)n, sizeof *p->peers);
    p->n = n;
    snprintf(why, why_size, "no memory");
    return p->peers && presence_open(p, url, true, why, why_size);
}

int tine_presence_port(const tine_presence *p) {
    const char *url = p->transport->ops->url(p->transport), *port = strrchr(url, ':');
    return port ? atoi(port + 1) : 0;
}

/* A host's last supervisor counts: one before it was left behind. */
static void presence_hello(tine_presence *p, const tine_event *ev) {
    char text[MAX_HELLO + 1] = "", rest;
    int host = -1;
    size_t n = ev->frame->header_size < MAX_HELLO ? ev->frame->header_size : MAX_HELLO;
    memcpy(text, ev->frame->header, n);
    if (sscanf(text, "%9d%c", &host, &rest) != 1 || host < 0 || host >= p->n) {
        p->transport->ops->drop(p->transport, ev->peer, true, "it names no host of this job");
        return;
    }
    if (p->peers[host] == ev->peer) return;
    tine_presence_drop(p, host);
    p->peers[host] = ev->peer;
}

void tine_presence_wait(tine_presence *p, int ms) {
    if (ms < 0 || ms > LONGEST_MS) ms = LONGEST_MS;
    p->transport->ops->wait(p->transport, ms * INT64_C(1000000));
}

/* The next event; false: none, or the transport is broken. */
static bool presence_next(tine_presence *p, tine_event *ev) {
    return p->transport->ops->recv(p->transport, ev) == 0 && ev->kind != TINE_EVENT_NONE;
}

void tine_presence_turn(tine_presence *p, void (*lost)(void *ctx, int host), void *ctx) {
    tine_event ev;
    while (presence_next(p, &ev)) {
        if (ev.kind == TINE_EVENT_FRAME) {
            presence_hello(p, &ev);
            tine_frame_free(ev.frame);
        }
        for (int i = 0; ev.kind == TINE_EVENT_LOST && i < p->n; i++) {
            if (p->peers[i] != ev.peer) continue;
            p->peers[i] = 0;
            lost(ctx, i);
        }
    }
}

bool tine_presence_drop(tine_presence *p, int host) {
    tine_peer peer = p->peers[host];
    p->peers[host] = 0; /* its loss is no news */
    if (peer) p->transport->ops->drop(p->transport, peer, false, "its launcher has ended");
    return peer;
}

bool tine_presence_join(tine_presence *p, const char *url, int host, char *why, size_t why_size) {
    p->n = host;
    return presence_open(p, url, false, why, why_size);
}

static bool presence_say(tine_presence *p, tine_peer listener) {
    char text[MAX_HELLO];
    int n = snprintf(text, sizeof text, "%d", p->n);
    tine_frame *f = tine_frame_new((size_t)n, 0);
    if (!f) return false;
    memcpy(f->header, text, (size_t)n);
    if (p->transport->ops->send(p->transport, listener, f) == 0) return true;
    tine_frame_free(f);
    return false;
}

bool tine_presence_holds(tine_presence *p) {
    tine_event ev;
    while (presence_next(p, &ev)) {
        if (ev.kind == TINE_EVENT_UP) p->up = presence_say(p, ev.peer);
        if (ev.kind == TINE_EVENT_FRAME) tine_frame_free(ev.frame);
        if (ev.kind == TINE_EVENT_LOST) {
            snprintf(p->reason, sizeof p->reason, "%s", ev.reason);
            return false;
        }
    }
    return true;
}

void tine_presence_fini(tine_presence *p) {
    if (p->transport) p->transport->ops->fini(p->transport);
    free(p->peers);
    *p = (tine_presence){0};
}
