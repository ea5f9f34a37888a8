/* Estimates another process's clock from round trips. See trace.h.
 *
 * The other clock was read somewhere between request and answer. Assuming the middle, the offset is
 * wrong by half the round trip at most, so the shortest round trip gives the best bound (Cristian's
 * algorithm, with NTP's clock filter), until drift has made its sample stale. */
#include "runtime/trace/trace.h"

enum { SAMPLES = sizeof(((tine_clock *)0)->samples) / sizeof *((tine_clock *)0)->samples };
/* Two crystals of 25 ppm each. */
enum { DRIFT_PER_MILLION = 50 };
/* A time of a peer past this (146 years) is invalid, and would overflow the arithmetic below. */
#define CLOCK_LIMIT (INT64_MAX / 2)

static bool clock_time_valid(int64_t t) { return t >= 0 && t < CLOCK_LIMIT; }

void tine_clock_add(tine_clock *c, int64_t sent, int64_t remote, int64_t received) {
    if (!clock_time_valid(sent) || !clock_time_valid(remote) || !clock_time_valid(received) ||
        received < sent)
        return;
    int64_t rtt = received - sent;
    c->samples[c->n++ % SAMPLES] =
        (struct tine_clock_sample){.offset = remote - (sent + rtt / 2), .rtt = rtt, .at = received};
}

static int64_t clock_sample_error(const struct tine_clock_sample *s, int64_t now) {
    int64_t age = now > s->at ? now - s->at : 0;
    return (s->rtt + 1) / 2 + age / 1000000 * DRIFT_PER_MILLION;
}

bool tine_clock_estimate(const tine_clock *c, int64_t now, int64_t *offset, int64_t *error) {
    if (c->n == 0) return false;
    uint32_t n = c->n < SAMPLES ? c->n : SAMPLES;
    const struct tine_clock_sample *best = &c->samples[0];
    for (uint32_t i = 1; i < n; i++)
        if (clock_sample_error(&c->samples[i], now) < clock_sample_error(best, now))
            best = &c->samples[i];
    *offset = best->offset;
    *error = clock_sample_error(best, now);
    return true;
}
