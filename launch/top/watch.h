/* The connection of an observer: finds the job, asks for snapshots, gives them as JSON. */
#ifndef TINE_LAUNCH_TOP_WATCH_H
#define TINE_LAUNCH_TOP_WATCH_H

#include <json-c/json.h>

#include "runtime/link/link.h"
#include "runtime/settings/settings.h"

typedef struct tine_watch {
    tine_link link;
    bool up, asked;
    bool ended;        /* the job has ended, or the connection: `why` */
    bool lost;         /* and not as it should */
    char why[256];     /* printable */
    char *answer;      /* to what was asked for last; printable; NULL: none */
    tine_value *value; /* the last snapshot; NULL: none yet */
    json_object *now;  /* the same with rates added */
    uint64_t seq;
    size_t n; /* snapshots that have come */
} tine_watch;

/* The endpoint of the job "ENDPOINT" or "PID"; NULL: the only one of this user. Malloc'ed; NULL
 * with a sentence in the error. Sets TINE_KEY where a worker of the job shows it to this user. */
char *tine_watch_find(const char *job);
/* Connects, at most `seconds` long: EINVAL, EIO, or what `why` says later. The settings are for key
 * and limits. */
tine_error tine_watch_open(tine_watch *w, const char *endpoint, const tine_settings *s,
                           double seconds);
/* Asks for a snapshot, once the connection is there, and for more: TINE_OBSERVE_…. */
void tine_watch_ask(tine_watch *w, uint32_t what, uint64_t task, uint32_t worker);
/* Handles what has come; blocks for at most timeout_ns until something does. */
void tine_watch_run(tine_watch *w, int64_t timeout_ns);
void tine_watch_close(tine_watch *w); /* accepts a zeroed one */

#endif
