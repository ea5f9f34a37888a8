/* The coordinator's endpoint: its URL, its key, and the descriptors that workers need. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "launch/internal.h"
#include "launch/security.h"
#include "runtime/value/error.h"
#include "runtime/wire/message.h"
#include "transport/base/process.h"
#include "transport/base/text.h"

/* How long a connection may take to say HELLO. */
static const int64_t FIRST_FRAME_NS = 10000000000;
/* File descriptors: of a transport and the supervisor; of one local worker (its connection, pidfd
 * and lifeline); for workers that come from elsewhere, if the hard limit allows. */
enum { DESCRIPTORS = 32, DESCRIPTORS_OF_WORKER = 3, DESCRIPTORS_OF_OTHERS = 1024 };

/* The endpoint with an absolute path, so that it stays the same when the program changes its
 * directory; NULL where the path would be too long, or is none. */
static char *url_absolute(const char *url) {
    const char *path = url + strlen("ipc://");
    if (!(tine_transport_flags(url) & TINE_TRANSPORT_PATH) || strchr("/@*", *path)) return NULL;
    char *whole = tine_process_absolute(path), *out = NULL;
    if (whole && strlen(whole) < sizeof(((struct sockaddr_un *)0)->sun_path))
        out = tine_text_format("ipc://%s", whole);
    free(whole);
    return out;
}

/* Sets what workers that are started here are told of the key. */
static tine_error key_pass_on(tine_settings *s, int ranks, const tine_transport *t,
                              const char *key) {
    bool used = t->ops->encrypted && t->ops->encrypted(t);
    if (used && ranks && !tine_security_is_agreed(s))
        return tine_error_set(TINE_EINVAL,
                              "endpoint %s: the %d ranks of this job need one key: start them with "
                              "`tine run`, or set TINE_KEY_FILE",
                              t->ops->url(t), ranks);
    char *copy = strdup(used ? key : TINE_SECURITY_NO_KEY);
    if (!copy) return tine_error_set(TINE_ENOMEM, "no memory for a key");
    free(s->key);
    s->key = copy;
    return TINE_OK;
}

static tine_error endpoint_listen(tine_settings *s, const char *url, int ranks,
                                  tine_transport **out) {
    char why[256] = "", key[TINE_ZMQ_KEY_SIZE];
    const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
    if (!ops) return tine_error_set(TINE_EINVAL, "endpoint %s: %s", url, why);
    tine_transport_config config = tine_transport_config_of(s);
    config.max_first_frame = TINE_MAX_HELLO;
    config.first_frame_ns = FIRST_FRAME_NS;
    tine_error e = tine_security_set(s, url, true, &config, key);
    if (e != TINE_OK) return e;
    int failed = ops->listen(out, url, &config, why, sizeof why);
    if (failed != 0)
        return tine_error_set(failed == -EINVAL ? TINE_EINVAL : TINE_EIO, "endpoint %s: %s", url,
                              why);
    tine_security_warn(*out);
    e = key_pass_on(s, ranks, *out, key);
    if (e != TINE_OK) ops->fini(*out);
    return e;
}

tine_error tine_listen_at(tine_settings *s, const char *url, int ranks, tine_transport **out) {
    char *absolute = url_absolute(url);
    tine_error e = endpoint_listen(s, absolute ? absolute : url, ranks, out);
    free(absolute);
    return e;
}

tine_error tine_descriptors_check(int workers) {
    size_t limit, needed = DESCRIPTORS + DESCRIPTORS_OF_WORKER * (size_t)workers;
    size_t left = tine_process_descriptors(needed + DESCRIPTORS_OF_OTHERS, &limit);
    if (left >= needed) return TINE_OK;
    return tine_error_set(TINE_EIO,
                          "%zu file descriptors are needed for %d workers, and %zu are left of the "
                          "limit of %zu: raise the limit (ulimit -n) or start fewer workers",
                          needed, workers, left, limit);
}

bool tine_url_is_common(const char *url) {
    unsigned flags = tine_transport_flags(url);
    const char *port = url ? strrchr(url, ':') : NULL;
    if (flags & TINE_TRANSPORT_REMOTE) return port && strcmp(port, ":0") && strcmp(port, ":*");
    return flags & TINE_TRANSPORT_PATH && !strchr(url, '*');
}
