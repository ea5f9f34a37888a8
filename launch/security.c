/* See security.h. */
#include "launch/security.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/value/error.h"
#include "transport/base/log.h"

static bool security_is(const tine_settings *s, const char *mode) {
    return strcmp(s->security ? s->security : "auto", mode) == 0;
}

/* The file's text without the end of its line. A file that others can read, or write, is refused as
 * ssh refuses such a key. */
static tine_error key_read(const char *path, char key[TINE_ZMQ_KEY_SIZE]) {
    struct stat st;
    char text[TINE_ZMQ_KEY_SIZE + 2] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int e = errno;
        if (fd >= 0) close(fd);
        return tine_error_set(TINE_EIO,
                              "the key file %s cannot be read: %s; make one with `tine "
                              "key FILE`",
                              path, strerror(e));
    }
    ssize_t n = S_ISREG(st.st_mode) ? read(fd, text, sizeof text - 1) : 0;
    close(fd);
    if (st.st_mode & 077)
        return tine_error_set(TINE_EINVAL, "the key file %s is open to other users: chmod 600 %s",
                              path, path);
    text[strcspn(text, "\r\n")] = 0;
    if (n <= 0 || !tine_zmq_key_is_valid(text))
        return tine_error_set(TINE_EINVAL, "%s holds no key: make one with `tine key FILE`", path);
    memcpy(key, text, TINE_ZMQ_KEY_SIZE);
    return TINE_OK;
}

static bool key_is_given(const tine_settings *s) {
    return s->key && strcmp(s->key, TINE_SECURITY_NO_KEY) != 0;
}

bool tine_security_is_agreed(const tine_settings *s) {
    return key_is_given(s) || s->key_file || security_is(s, "none");
}

/* A worker uses what its coordinator has told it. */
static tine_error key_find(const tine_settings *s, bool coordinator, char *key, bool *found) {
    *found = true;
    if (key_is_given(s)) {
        if (!tine_zmq_key_is_valid(s->key))
            return tine_error_set(TINE_EINVAL, "TINE_KEY holds no key: `tine key` makes one");
        memcpy(key, s->key, TINE_ZMQ_KEY_SIZE);
        return TINE_OK;
    }
    if (s->key_file && (coordinator || !s->key)) return key_read(s->key_file, key);
    *found = coordinator && tine_zmq_key_make(key);
    return TINE_OK;
}

tine_error tine_security_set(const tine_settings *s, const char *url, bool coordinator,
                             tine_transport_config *config, char key[TINE_ZMQ_KEY_SIZE]) {
    bool found = false;
    if (!security_is(s, "auto") && !security_is(s, "curve") && !security_is(s, "none"))
        return tine_error_set(TINE_EINVAL, "TINE_SECURITY=%s: expected auto, curve or none",
                              s->security);
    unsigned flags = tine_transport_flags(url);
    if (security_is(s, "none") || !(flags & TINE_TRANSPORT_REMOTE) ||
        (flags & TINE_TRANSPORT_RANKS))
        return TINE_OK;
    tine_error e = key_find(s, coordinator, key, &found);
    if (e != TINE_OK || !found) return e;
    config->key = key;
    config->key_for_others_only = !tine_security_is_agreed(s) && !security_is(s, "curve");
    return TINE_OK;
}

void tine_security_warn(const tine_transport *t) {
    if (!t->ops->exposed || !t->ops->exposed(t)) return;
    tine_log(TINE_LOG_WARN,
             "%s can be reached from other hosts, and no key is needed: any process that "
             "connects receives tasks and answers them; use `tine key FILE` and TINE_KEY_FILE",
             t->ops->url(t));
}
