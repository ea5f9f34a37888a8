/* The table of transports. A new transport is one row here and one folder. */
#include "transport/transport.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/internal.h"
#include "transport/plugin.h"

typedef struct transport_row {
    tine_transport_info info;
    const tine_transport_ops *ops; /* NULL: in libtine-SCHEME.so, loaded on first use */
} transport_row;

static transport_row rows[] = {
    {{"inproc", TINE_TRANSPORT_THREADS | TINE_TRANSPORT_WHOLE, "inproc://*"},
     &tine_transport_inproc},
    {{"ipc", TINE_TRANSPORT_PATH, NULL}, &tine_transport_zmq},
    {{"tcp", TINE_TRANSPORT_REMOTE, "tcp://127.0.0.1:0"}, &tine_transport_zmq},
    {{"mpi", TINE_TRANSPORT_REMOTE | TINE_TRANSPORT_RANKS | TINE_TRANSPORT_KILLS_JOB, "mpi://"},
     NULL},
};

/* A table with a hole is a bug in Tine. */
static void table_check(const tine_transport_ops *ops) {
    TINE_ASSERT_TRUE(ops->version && ops->listen && ops->connect && ops->url);
    TINE_ASSERT_TRUE(ops->send && ops->recv && ops->wait && ops->busy && ops->wake && ops->drop);
    TINE_ASSERT_TRUE(ops->close && ops->stop && ops->fini && ops->stats);
}

static transport_row *row_of(const char *url) {
    size_t n = url ? strcspn(url, ":") : 0;
    if (!n || !url[n]) return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strlen(rows[i].info.scheme) == n && !memcmp(rows[i].info.scheme, url, n))
            return &rows[i];
    return NULL;
}

const tine_transport_info *tine_transport_info_of(const char *url) {
    const transport_row *row = row_of(url);
    return row ? &row->info : NULL;
}

const tine_transport_info *tine_transport_info_at(size_t i) {
    return i < sizeof rows / sizeof *rows ? &rows[i].info : NULL;
}

const tine_transport_info *tine_transport_info_with(unsigned flags) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((rows[i].info.flags & flags) == flags) return &rows[i].info;
    return NULL;
}

unsigned tine_transport_flags(const char *url) {
    const tine_transport_info *info = tine_transport_info_of(url);
    return info ? info->flags : 0;
}

/* A module that is missing is looked for again by the next call: the user may have set
 * TINE_MODULE_DIR since. */
static const tine_transport_ops *row_load(transport_row *row, char *why, size_t why_size) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!row->ops) row->ops = tine_transport_module_open(row->info.scheme, why, why_size);
    const tine_transport_ops *ops = row->ops;
    pthread_mutex_unlock(&lock);
    if (ops) table_check(ops);
    return ops;
}

static void schemes_list(char *text, size_t size) {
    size_t n = sizeof rows / sizeof *rows, at = 0;
    text[0] = 0;
    for (size_t i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s://",
                               !i          ? ""
                               : i < n - 1 ? ", "
                                           : " or ",
                               rows[i].info.scheme);
}

const tine_transport_ops *tine_transport_for(const char *url, char *why, size_t why_size) {
    transport_row *row = row_of(url);
    if (row) return row_load(row, why, why_size);
    char schemes[96];
    schemes_list(schemes, sizeof schemes);
    snprintf(why, why_size, "no transport serves \"%.80s\": a URL begins with %s",
             url ? url : "(null)", schemes);
    return NULL;
}
