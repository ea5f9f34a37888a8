/* Which transport serves a URL. The built-in tables are listed here and nowhere else; mpi is a
 * module (module.h), because a program must start where Open MPI is missing. */
#include "transport/transport.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "transport/base/assert.h"
#include "transport/builtin.h"
#include "transport/plugin.h"

static const tine_transport_ops *const built_in[] = {&tine_transport_inproc, &tine_transport_zmq};

void tine_transport_check(const tine_transport_ops *ops) {
    TINE_ASSERT_TRUE(ops->name);
    TINE_ASSERT_TRUE(ops->schemes);
    TINE_ASSERT_TRUE(ops->version);
    TINE_ASSERT_TRUE(ops->listen);
    TINE_ASSERT_TRUE(ops->connect);
    TINE_ASSERT_TRUE(ops->url);
    TINE_ASSERT_TRUE(ops->send);
    TINE_ASSERT_TRUE(ops->recv);
    TINE_ASSERT_TRUE(ops->wait);
    TINE_ASSERT_TRUE(ops->busy);
    TINE_ASSERT_TRUE(ops->wake);
    TINE_ASSERT_TRUE(ops->drop);
    TINE_ASSERT_TRUE(ops->close);
    TINE_ASSERT_TRUE(ops->stop);
    TINE_ASSERT_TRUE(ops->fini);
    TINE_ASSERT_TRUE(ops->stats);
}

const tine_transport_ops *const *tine_transport_all(size_t *n) {
    *n = sizeof built_in / sizeof built_in[0];
    for (size_t i = 0; i < *n; i++) tine_transport_check(built_in[i]);
    return built_in;
}

static bool serves(const tine_transport_ops *ops, const char *scheme, size_t len) {
    for (const char *s = ops->schemes; *s;) {
        size_t word = strcspn(s, " ");
        if (word == len && !memcmp(s, scheme, len)) return true;
        s += word;
        s += strspn(s, " ");
    }
    return false;
}

/* A module that is missing is looked for again by the next call: the user may have set
 * TINE_MODULE_DIR since. */
static const tine_transport_ops *mpi_module(char *why, size_t why_size) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const tine_transport_ops *mpi;
    pthread_mutex_lock(&lock);
    if (!mpi) mpi = tine_transport_module_open("mpi", why, why_size);
    const tine_transport_ops *found = mpi;
    pthread_mutex_unlock(&lock);
    return found;
}

const tine_transport_ops *tine_transport_for(const char *url, char *why, size_t why_size) {
    const char *colon = url ? strstr(url, "://") : NULL;
    if (colon) {
        size_t n, len = (size_t)(colon - url);
        const tine_transport_ops *const *all = tine_transport_all(&n);
        for (size_t i = 0; i < n; i++)
            if (serves(all[i], url, len)) return all[i];
        if (len == 3 && !memcmp(url, "mpi", 3)) return mpi_module(why, why_size);
    }
    snprintf(why, why_size,
             "no transport for \"%.80s\": a URL begins with inproc://, ipc://, tcp:// or mpi://",
             url ? url : "(null)");
    return NULL;
}
