/* Stencils of small tasks: each needs the results of its neighbours of the step before, and is sent
 * ahead while these are made. So their results are passed from worker to worker. */
#include "world.h"

enum { WIDTH_MAX = 4, STEPS_MAX = 6 };

typedef struct grain {
    tine_object id;
    uint64_t value, faults;
} grain;

void sim_grains_plan(sim_world *w) {
    uint64_t draw = sim_mix(w->seed, 91);
    if (draw % 3 == 0)
        sim_push(&w->queue, w->now, 100000 + (int64_t)(draw / 3 % 500000), EV_GRAINS, 0);
}

/* Any worker but a foreign one may run it. */
static sim_call grain_call(sim_world *w, uint64_t sum) {
    static const char *const names[] = {"f0", "f1", "f3"};
    sim_call call = {.module = -1, .adds = SIM_GRAIN, .sum = sum, .seed = sim_next(&w->random)};
    while (sim_label(&w->traits, "f0", call.seed) ||
           sim_resources(&w->traits, "f0", &(sim_body){.seed = call.seed}))
        call.seed++;
    call.name = names[call.seed % 3];
    call.flags = sim_repeatable(&w->traits, call.seed) ? TINE_REPEATABLE : 0;
    return call;
}

/* False: the coordinator has stopped. */
static bool grain_fork(sim_world *w, const grain *inputs, size_t n, grain *out) {
    tine_object refs[3];
    uint64_t sum = 0;
    root *r = &w->roots[w->n_roots];
    *r = (root){.ticket = sim_ticket(w), .faults = w->losses};
    for (size_t i = 0; i < n; i++) {
        refs[i] = inputs[i].id;
        sum += inputs[i].value;
        if (inputs[i].faults < r->faults) r->faults = inputs[i].faults;
    }
    sim_call call = grain_call(w, sum);
    r->expected = sim_expect(&w->traits, &call, NULL);
    tine_payload *p = sim_payload(0, call.seed, 0, false, refs, n);
    sim_body body = sim_body_of(p);
    body.adds = SIM_GRAIN;
    sim_body_set(p, &body);
    tine_target target = {.name = call.name};
    tine_error e =
        tine_scheduler_fork(w->scheduler, r->ticket, 0, &target, call.flags, p, NULL, &r->task);
    tine_payload_unref(p);
    if (e != (w->stopped ? TINE_ESTATE : TINE_OK)) sim_fail("fork of a grain gave %d", (int)e);
    if (e) return false;
    *out = (grain){tine_scheduler_result(w->scheduler, r->task), r->expected.value, r->faults};
    sim_trace(w, "root %zu: fork of a grain, %zu inputs", w->n_roots, n);
    if (sim_one_in(&w->random, 12))
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 100000), EV_CANCEL,
                 w->n_roots);
    w->counts->grains++;
    w->n_roots++;
    return true;
}

static void grains_release(sim_world *w, const grain *row, size_t n) {
    for (size_t i = 0; i < n; i++) tine_scheduler_object_release(w->scheduler, row[i].id);
}

/* A result whose task has ended before it was asked for has no id: the stencil ends there. */
void sim_fork_grains(sim_world *w) {
    grain row[WIDTH_MAX], next[WIDTH_MAX];
    size_t width = 2 + sim_below(&w->random, WIDTH_MAX - 1), of_row = 0;
    size_t steps = 2 + sim_below(&w->random, STEPS_MAX - 1);
    for (size_t step = 0; step < steps; step++) {
        size_t n = 0;
        for (bool more = true; more && n < width && w->n_roots < MAX_ROOTS; n += more) {
            size_t first = n > 0 ? n - 1 : 0, last = n + 1 < of_row ? n + 1 : n;
            more = grain_fork(w, row + first, of_row ? last - first + 1 : 0, &next[n]);
            if (more && !next[n].id) more = false;
        }
        grains_release(w, row, of_row);
        of_row = n;
        for (size_t i = 0; i < n; i++) row[i] = next[i];
        if (n < width) break;
    }
    grains_release(w, row, of_row);
}
