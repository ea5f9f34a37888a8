/* See error.h. The sentence of a thread is freed when the thread ends. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/value/current.h"
#include "transport/base/assert.h"
#include "transport/base/text.h"

_Thread_local tine_state tine_current;

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static _Thread_local bool exit_known;

static void thread_exit_cleanup(void *unused) {
    (void)unused;
    tine_failure_fini(&tine_current.failure);
}

static void exit_key_make(void) {
    TINE_ASSERT(pthread_key_create(&exit_key, thread_exit_cleanup), ==, 0);
}

static void thread_exit_watch(void) {
    if (exit_known) return;
    exit_known = true;
    pthread_once(&exit_once, exit_key_make);
    (void)pthread_setspecific(exit_key, &exit_key);
}

tine_error tine_error_setv(tine_error e, const char *format, va_list ap) {
    thread_exit_watch();
    /* the old sentence may be among the arguments: it is freed last */
    char *text = tine_text_formatv(format, ap);
    if (text) tine_text_mend(text); /* names and paths are cut by a precision */
    tine_failure_fini(&tine_current.failure);
    tine_current.failure = (tine_failure){e, text, false};
    return e;
}

tine_error tine_error_set(tine_error e, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    tine_error_setv(e, format, ap);
    va_end(ap);
    return e;
}

tine_error tine_error_null(const char *format, ...) {
    const tine_failure *f = &tine_current.failure;
    if (f->code != TINE_OK && !f->seen) return f->code;
    va_list ap;
    va_start(ap, format);
    tine_error_setv(TINE_EINVAL, format, ap);
    va_end(ap);
    return TINE_EINVAL;
}

void tine_failure_fini(tine_failure *f) {
    if (f->text) free(f->text);
    *f = (tine_failure){0};
}

void tine_error_clear(void) { tine_failure_fini(&tine_current.failure); }

tine_error tine_last_error(void) { return tine_current.failure.code; }

const char *tine_error_message(void) {
    tine_current.failure.seen = true;
    return tine_error_text();
}

const char *tine_error_text(void) {
    const tine_failure *f = &tine_current.failure;
    if (f->text) return f->text;
    return f->code == TINE_OK       ? "no error"
           : f->code == TINE_ENOMEM ? "no memory"
                                    : tine_error_name(f->code);
}

const char *tine_error_name(tine_error e) {
    static const char *const names[] = {
        [TINE_OK] = "OK",
        [TINE_EINVAL] = "EINVAL",
        [TINE_ENOMEM] = "ENOMEM",
        [TINE_EUNKNOWN] = "EUNKNOWN",
        [TINE_EFAILED] = "EFAILED",
        [TINE_ELOST] = "ELOST",
        [TINE_ETIMEDOUT] = "ETIMEDOUT",
        [TINE_ECANCELED] = "ECANCELED",
        [TINE_EAGAIN] = "EAGAIN",
        [TINE_EPROTO] = "EPROTO",
        [TINE_EIO] = "EIO",
        [TINE_ESTATE] = "ESTATE",
        [TINE_EDEADLK] = "EDEADLK",
        [TINE_ENDED] = "ENDED",
    };
    return (size_t)e < sizeof names / sizeof *names ? names[e] : "an unknown error";
}
