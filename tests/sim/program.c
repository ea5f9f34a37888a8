/* Random programs. A task is a short list of steps, derived from its seed and its results so far,
 * so that fan-out and arguments depend on data. The same steps, run by direct recursion, give the
 * expected result. */
#include "sim.h"

void sim_frame_add(sim_frame *f, sim_object o) {
    if (f->n_objects < SIM_MAX_OBJECTS) f->objects[f->n_objects++] = o;
}

void sim_frame_start(sim_frame *f, uint64_t seed, uint32_t depth, const sim_object *args,
                     int n_args, const sim_object *self) {
    *f = (sim_frame){.seed = seed, .depth = depth, .acc = sim_mix(seed, 7)};
    for (int i = 0; i < n_args; i++) {
        if (!args[i].module) f->acc = sim_mix(f->acc, args[i].value);
        sim_frame_add(f, args[i]);
    }
    if (self) {
        f->acc = sim_mix(f->acc, self->value);
        sim_frame_add(f, *self);
    }
    f->steps = depth ? 1 + (uint32_t)(sim_mix(seed, 11) % 5) : (uint32_t)(sim_mix(seed, 11) % 2);
}

void sim_frame_sum(sim_frame *f, uint64_t sum, uint32_t adds) {
    f->acc = sim_mix(f->acc, sum);
    f->grain = adds == SIM_GRAIN;
}

static int some_object(const sim_frame *f, uint64_t draw) {
    return f->n_objects && draw % 2 ? (int)(draw / 2 % (uint64_t)f->n_objects) : -1;
}

static void make_return(const sim_frame *f, const sim_traits *traits, sim_op *op) {
    uint64_t draw = sim_mix(f->seed, 13);
    if (f->waited < f->forked && !(traits->detached && draw % 4 == 0)) {
        op->kind = SIM_WAIT_ALL;
        return;
    }
    op->kind = SIM_RETURN;
    op->value = f->acc;
    op->large = draw / 4 % 4 == 0;
    op->ref = some_object(f, draw / 16);
}

static int64_t duration(uint64_t draw) {
    return draw % 8 == 0 ? 1000000 + (int64_t)(draw / 8 % 3000000)
                         : 500 + (int64_t)(draw / 8 % 20000);
}

static void grain_next(const sim_frame *f, sim_op *op) {
    op->kind = f->step ? SIM_RETURN : SIM_COMPUTE;
    op->ns = duration(sim_mix(f->seed, 100));
    op->value = f->acc;
}

void sim_frame_next(const sim_frame *f, const sim_traits *traits, sim_op *op) {
    *op = (sim_op){.ref = -1};
    if (f->grain) {
        grain_next(f, op);
        return;
    }
    if (f->step >= f->steps) {
        make_return(f, traits, op);
        return;
    }
    uint64_t draw = sim_mix(f->seed, 100 + f->step), kind = draw % 16;
    draw /= 16;
    if (kind < 4) {
        op->kind = SIM_COMPUTE;
        op->ns = duration(draw);
    } else if (kind < 10 && f->depth && f->forked + 3 <= SIM_MAX_CHILDREN) {
        op->kind = SIM_FORK;
        op->n_calls = 1 + (uint32_t)(sim_mix(f->acc, f->step) % 3);
    } else if (kind == 10 && f->waited < f->forked) {
        op->kind = SIM_WAIT;
    } else if (kind == 11) {
        op->kind = SIM_WAIT_ALL;
    } else if (kind < 15) {
        op->kind = SIM_PUT;
        op->module = draw % 3 == 0;
        op->large = draw / 3 % 3 == 0;
        op->ref = some_object(f, draw / 9);
        op->value = sim_mix(f->acc, f->step + 50);
    } else if (traits->failures && draw % 4 == 0) {
        op->kind = SIM_FAIL;
    } else {
        op->kind = SIM_COMPUTE;
        op->ns = duration(draw / 4);
    }
}

static bool is_stream(const sim_traits *traits, uint64_t seed) {
    return traits->streams && sim_mix(seed, 31) % 3 > 0;
}

bool sim_repeatable(const sim_traits *traits, uint64_t seed) {
    return traits->all_repeatable || seed / 4 % 2;
}

void sim_frame_call(const sim_frame *f, const sim_traits *traits, uint32_t i, sim_call *call) {
    static const char *const names[] = {"f0", "f1", "f3"};
    uint64_t draw = sim_mix(sim_mix(f->acc, f->seed + f->step), 1000 + i);
    *call = (sim_call){.seed = draw, .depth = f->depth ? f->depth - 1 : 0, .module = -1};
    call->name = names[draw % 3];
    call->flags = sim_repeatable(traits, draw) ? TINE_REPEATABLE : 0;
    call->large = draw / 8 % 4 == 0;
    if (is_stream(traits, draw)) call->stream = 1 + sim_mix(draw, 32) % 4;
    for (uint64_t j = 0; j < draw / 32 % 3 && f->n_objects; j++)
        call->args[call->n_args++] = (int)(draw / (100 * (j + 1)) % (uint64_t)f->n_objects);
    for (int j = 0; j < f->n_objects && draw / 128 % 2; j++)
        if (f->objects[j].module) call->module = j;
    if (call->module >= 0) {
        call->name = "C";
        call->method = draw / 256 % 2 ? "forward" : "other";
    } else if (traits->foreign && draw / 512 % 4 == 0) {
        call->name = "f2";
    } else if (traits->unknown && draw / 2048 % 16 == 0) {
        call->name = "f9";
    }
}

const char *sim_label(const sim_traits *traits, const char *name, uint64_t seed) {
    bool other = name[0] == 'f' && name[1] == '2'; /* the foreign workers have no label */
    return traits->labels && !other && seed % 5 == 0 ? "l" : NULL;
}

const char *sim_resources(const sim_traits *traits, const char *name, const sim_body *call) {
    static const char *const some[] = {"r", "r=2", "r=1,q=3"};
    bool method = name[0] == 'C', waits = method || call->depth || is_stream(traits, call->seed);
    if (!traits->slots || (!method && name[1] == '2') || (waits && !traits->deadlocks)) return NULL;
    uint64_t draw = sim_mix(call->seed, 51);
    return draw % 2 ? some[draw / 2 % 3] : NULL;
}

bool sim_is_single(tine_object id) { return id / 2 % 3; }

void sim_frame_learn(sim_frame *f, const sim_answer *a) {
    f->waited++;
    f->acc = sim_mix(f->acc, a->status ? (uint64_t)a->status : a->value);
    if (a->has_object) sim_frame_add(f, a->object);
}

uint64_t sim_put_value(const sim_frame *f, const sim_op *op) {
    bool mixes = op->ref >= 0 && !f->objects[op->ref].module;
    return mixes ? sim_mix(op->value, f->objects[op->ref].value) : op->value;
}

/* ---- expected results ---- */

static void expect_calls(sim_frame *f, const sim_traits *traits, const sim_op *op,
                         sim_answer *children) {
    sim_frame before = *f; /* all calls of one step are made from the same state */
    for (uint32_t i = 0; i < op->n_calls; i++) {
        sim_call call;
        sim_frame_call(&before, traits, i, &call);
        children[f->forked++] = sim_expect(traits, &call, before.objects);
    }
}

sim_answer sim_expect(const sim_traits *traits, const sim_call *call, const sim_object *objects) {
    sim_frame f;
    sim_object args[2];
    sim_answer children[SIM_MAX_CHILDREN];
    if (call->name[0] == 'f' && call->name[1] == '9') return (sim_answer){.status = TINE_EUNKNOWN};
    if (call->module >= 0 && objects[call->module].status)
        return (sim_answer){.status = objects[call->module].status};
    for (int i = 0; i < call->n_args; i++) {
        args[i] = objects[call->args[i]];
        if (args[i].status && !args[i].module) return (sim_answer){.status = args[i].status};
    }
    sim_frame_start(&f, call->seed, call->depth, args, call->n_args,
                    call->module >= 0 ? &objects[call->module] : NULL);
    if (call->adds) sim_frame_sum(&f, call->sum, call->adds);
    for (;;) {
        sim_op op;
        sim_frame_next(&f, traits, &op);
        switch (op.kind) {
        case SIM_COMPUTE: break;
        case SIM_FORK: expect_calls(&f, traits, &op, children); break;
        case SIM_WAIT: sim_frame_learn(&f, &children[f.waited]); break;
        case SIM_WAIT_ALL:
            while (f.waited < f.forked) sim_frame_learn(&f, &children[f.waited]);
            break;
        case SIM_PUT:
            sim_frame_add(&f, (sim_object){.value = sim_put_value(&f, &op), .module = op.module});
            break;
        case SIM_FAIL: return (sim_answer){.status = TINE_EFAILED};
        case SIM_RETURN: {
            sim_answer a = {.value = op.value, .has_object = op.ref >= 0};
            if (a.has_object) a.object = f.objects[op.ref];
            return a;
        }
        }
        f.step++;
    }
}

/* ---- streams ---- */

uint32_t sim_items(const sim_traits *traits, uint64_t seed) {
    return traits->streams ? (uint32_t)(sim_mix(seed, 21) % 9) : 0;
}

uint64_t sim_item(uint64_t seed, uint64_t item) { return sim_mix(seed, 9000 + item); }

sim_stream sim_stream_of(const sim_call *call) {
    return (sim_stream){.seed = call->seed, .window = call->stream, .pulled = call->stream};
}

void sim_stream_arrived(sim_stream *s, uint64_t item, const tine_payload *p) {
    if (item == 0 || item > s->pulled)
        sim_fail("value %llu of a stream came, and %u may be yielded", (unsigned long long)item,
                 s->pulled);
    if (s->here >> item & 1)
        sim_fail("value %llu of a stream came twice", (unsigned long long)item);
    if (p && sim_body_of(p).value != sim_item(s->seed, item))
        sim_fail("value %llu of a stream is wrong", (unsigned long long)item);
    s->here |= UINT64_C(1) << item;
}

uint64_t sim_stream_take(sim_stream *s) {
    uint32_t before = s->taken;
    while (s->here >> (s->taken + 1) & 1) s->taken++;
    if (s->taken == before) return 0;
    s->pulled = s->taken + s->window;
    return s->pulled;
}

void sim_stream_ended(const sim_stream *s, const sim_traits *traits, tine_error status) {
    uint64_t all = (UINT64_C(2) << sim_items(traits, s->seed)) - 2;
    if (s->window && (s->here & ~all || (!status && s->here != all)))
        sim_fail("a stream ended with status %d and the values %#llx, not %#llx", (int)status,
                 (unsigned long long)s->here, (unsigned long long)all);
}
