/* The calls that wait for futures and take results. */
#include <math.h>
#include <stdlib.h>

#include "runtime/api/context.h"
#include "runtime/api/forked.h"
#include "runtime/trace/trace.h"

tine_error tine_future_foreign(void) {
    return tine_error_set(TINE_EINVAL,
                          "a future can be used only in the process or worker that forked it");
}

/* Records the ends of the flows where no wait was needed. */
static void trace_no_wait(tine_future *const *f, size_t n) {
    int64_t began = tine_trace_begin();
    if (began == 0) return;
    for (size_t i = 0; i < n; i++)
        if (tine_future_is_done(f[i])) tine_trace_wait(f[i]->flow, "");
    tine_trace_end(TINE_TRACE_WAIT, began, "");
}

/* Unlocks *held and locks c, where they differ. Either may be NULL: none. */
static void lock_context(tine_context **held, tine_context *c) {
    if (*held == c) return;
    if (*held) (*held)->ops->unlock(*held);
    if (c) c->ops->lock(c);
    *held = c;
}

static void unlock_context(tine_context **held) { lock_context(held, NULL); }

static tine_error check_futures(tine_future *const *f, size_t n) {
    if (tine_forked()) return tine_forked_refuse();
    if (n > 0 && !f) return tine_error_set(TINE_EINVAL, "the array of futures to wait for is NULL");
    for (size_t i = 0; i < n; i++)
        if (!f[i]) return tine_error_set(TINE_EINVAL, "the future to wait for is NULL");
    return TINE_OK;
}

/* Waits for n futures. *held: the context whose lock the caller holds afterwards. NULL: none; all
 * were done before, and may be futures of several contexts. `values`: the results will be taken. */
static tine_error wait_locked(tine_future *const *f, size_t n, tine_wait_mode mode, bool values,
                              int64_t deadline, tine_context **held) {
    *held = NULL;
    tine_error e = check_futures(f, n);
    if (e != TINE_OK) return e;
    if (tine_wait_is_over(f, n, mode)) {
        trace_no_wait(f, n);
        return TINE_OK;
    }
    tine_context *c = tine_context_current();
    if (!c) return TINE_ESTATE;
    for (size_t i = 0; i < n; i++)
        if (f[i]->context != c && !tine_future_is_done(f[i])) return tine_future_foreign();
    lock_context(held, c);
    for (size_t i = 0; values && c->ops->want && i < n; i++) c->ops->want(c, f[i]);
    return c->ops->wait(c, f, n, mode, deadline);
}

/* The result of a future that is done. Without `out` it is neither fetched nor decoded. */
static tine_error take_result(tine_future *f, tine_value **out, tine_context **held) {
    const tine_value *v = NULL;
    lock_context(held, f->context);
    if (!out) return tine_future_status(f);
    if (tine_future_has_stayed(f)) {
        unlock_context(held);
        tine_error e = tine_future_fetch(f);
        if (e != TINE_OK) return e;
        lock_context(held, f->context);
    }
    tine_error e = tine_future_value_of(f, &v);
    if (e == TINE_OK) *out = tine_value_adopted(tine_value_ref(v));
    return e;
}

static tine_error timed_out(const tine_future *f, double seconds, tine_context *held) {
    char *state = held && held->ops->describe ? held->ops->describe(held, f) : NULL;
    tine_error_set(TINE_ETIMEDOUT, "the future was not done within %g s%s%s", seconds,
                   state ? ": " : "", state ? state : "");
    free(state);
    return TINE_ETIMEDOUT;
}

static tine_error several_timed_out(tine_future *const *f, size_t n, double seconds,
                                    tine_context *held) {
    size_t done = 0, first = n;
    for (size_t i = 0; i < n; i++) {
        if (tine_future_is_done(f[i]))
            done++;
        else if (first == n)
            first = i;
    }
    char *state =
        held && held->ops->describe && first < n ? held->ops->describe(held, f[first]) : NULL;
    tine_error_set(TINE_ETIMEDOUT, "%zu of %zu futures were done within %g s%s%s", done, n, seconds,
                   state ? "; " : "", state ? state : "");
    free(state);
    return TINE_ETIMEDOUT;
}

static tine_error check_seconds(double seconds) {
    return isnan(seconds) ? tine_error_set(TINE_EINVAL, "the seconds to wait are NaN") : TINE_OK;
}

/* A wait that succeeds shows that the program has dealt with an earlier error. */
static tine_error wait_ended(tine_error e) {
    if (e == TINE_OK) tine_current.failure.seen = true;
    return e;
}

tine_error tine_wait(tine_future *f, tine_value **out) { return tine_wait_for(f, INFINITY, out); }

tine_error tine_wait_for(tine_future *f, double seconds, tine_value **out) {
    tine_context *held;
    if (out) *out = NULL;
    tine_error e = check_seconds(seconds);
    if (e != TINE_OK) return e;
    int64_t deadline = seconds < INFINITY ? tine_wait_deadline(seconds) : INT64_MAX;
    e = wait_locked(&f, 1, TINE_WAIT_ALL, out, deadline, &held);
    if (e == TINE_OK)
        e = take_result(f, out, &held);
    else if (e == TINE_ETIMEDOUT)
        e = timed_out(f, seconds, held);
    unlock_context(&held);
    return wait_ended(e);
}

/* For several; the caller unlocks *held. */
static tine_error wait_several(tine_future *const *f, size_t n, tine_wait_mode mode, bool values,
                               double seconds, tine_context **held) {
    *held = NULL;
    tine_error e = check_seconds(seconds);
    if (e == TINE_OK) e = wait_locked(f, n, mode, values, tine_wait_deadline(seconds), held);
    return e == TINE_ETIMEDOUT ? several_timed_out(f, n, seconds, *held) : e;
}

tine_error tine_wait_any(tine_future *const *f, size_t n, size_t *index) {
    return tine_wait_any_for(f, n, INFINITY, index);
}

tine_error tine_wait_any_for(tine_future *const *f, size_t n, double seconds, size_t *index) {
    tine_context *held;
    size_t at = 0;
    if (index) *index = 0;
    if (n == 0) return tine_error_set(TINE_EINVAL, "tine_wait_any needs at least one future");
    tine_error e = wait_several(f, n, TINE_WAIT_ANY, false, seconds, &held);
    unlock_context(&held);
    while (e == TINE_OK && !tine_future_is_done(f[at])) at++;
    if (index) *index = at;
    return e;
}

tine_error tine_wait_all(tine_future *const *f, size_t n, tine_value **out) {
    return tine_wait_all_for(f, n, INFINITY, out);
}

tine_error tine_wait_all_for(tine_future *const *f, size_t n, double seconds, tine_value **out) {
    tine_context *held;
    for (size_t i = 0; out && i < n; i++) out[i] = NULL;
    tine_error e = wait_several(f, n, TINE_WAIT_ALL, out, seconds, &held);
    for (size_t i = 0; i < n && e == TINE_OK; i++) tine_future_observe(f[i]);
    for (size_t i = 0; i < n && e == TINE_OK; i++)
        e = take_result(f[i], out ? &out[i] : NULL, &held);
    unlock_context(&held);
    for (size_t i = 0; out && e != TINE_OK && i < n; i++) {
        tine_release_value_(out[i]);
        out[i] = NULL;
    }
    return wait_ended(e);
}

tine_error tine_wait_failure(tine_future *const *f, size_t n, double seconds, size_t *index) {
    tine_context *held;
    if (index) *index = n;
    tine_error e = wait_several(f, n, TINE_WAIT_FAILURE, false, seconds, &held);
    for (size_t i = 0; i < n && e == TINE_OK; i++) {
        if (!tine_future_is_done(f[i]) || f[i]->status == TINE_OK) continue;
        if (index) *index = i;
        e = take_result(f[i], NULL, &held);
    }
    unlock_context(&held);
    return wait_ended(e);
}

bool tine_done(const tine_future *f) { return f && tine_future_is_done(f); }

size_t tine_which_done(tine_future *const *f, size_t n, bool *done) {
    size_t count = 0;
    for (size_t i = 0; f && i < n; i++) {
        bool is = tine_done(f[i]);
        if (done) done[i] = is;
        count += is;
    }
    return count;
}
