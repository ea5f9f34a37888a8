/* Another process's clock, estimated from round trips. See trace.h.
 *
 * The answer was given somewhere between question and reply; assuming the middle, the offset is
 * wrong by half the round trip at most. So the shortest trip bounds it best (Cristian's algorithm,
 * with the filter of NTP's clock selection), until drift has made its sample stale. */
#include "runtime/trace/trace.h"

enum { SAMPLES = sizeof(((tine_clock *)0)->samples) / sizeof *((tine_clock *)0)->samples };
/* Two crystals, each within some 25 ppm. */
enum { DRIFT_PER_MILLION = 50 };
/* Clocks are asked of peers: one past this (146 years) is no monotonic clock, and would overflow
 * what follows. */
#define CLOCK_LIMIT (INT64_MAX / 2)

static bool possible(int64_t t) { return t >= 0 && t < CLOCK_LIMIT; }

void tine_clock_add(tine_clock *c, int64_t sent, int64_t remote, int64_t received) {
    if (!possible(sent) || !possible(remote) || !possible(received) || received < sent) return;
    int64_t rtt = received - sent;
    c->samples[c->n++ % SAMPLES] =
        (struct tine_clock_sample){.offset = remote - (sent + rtt / 2), .rtt = rtt, .at = received};
}

static int64_t error_of(const struct tine_clock_sample *s, int64_t now) {
    int64_t age = now > s->at ? now - s->at : 0;
    return (s->rtt + 1) / 2 + age / 1000000 * DRIFT_PER_MILLION;
}

bool tine_clock_estimate(const tine_clock *c, int64_t now, int64_t *offset, int64_t *error) {
    if (c->n == 0) return false;
    uint32_t n = c->n < SAMPLES ? c->n : SAMPLES;
    const struct tine_clock_sample *best = &c->samples[0];
    for (uint32_t i = 1; i < n; i++)
        if (error_of(&c->samples[i], now) < error_of(best, now)) best = &c->samples[i];
    *offset = best->offset;
    *error = error_of(best, now);
    return true;
}
