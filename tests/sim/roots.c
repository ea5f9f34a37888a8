/* The coordinator's program: it forks tasks, the roots, with values and modules that it has put,
 * takes what they give, and cancels some. */
#include <string.h>

#include "world.h"

/* Those that were there have run it, or were lost. */
static void initialised(sim_world *w, const tine_scheduler_action *a) {
    w->init_ticket = 0;
    if (a->status) w->init_seed = 0; /* later workers do not run it */
    if (a->status && a->status != TINE_EUNKNOWN && !w->stopped)
        sim_fail("the initialiser failed: %d %s", (int)a->status, a->text);
}

void sim_run_initialiser(sim_world *w) {
    sim_call call = {.name = "f0", .module = -1, .seed = sim_next(&w->random)};
    while (sim_label(&w->traits, call.name, call.seed) ||
           sim_resources(&w->traits, call.name, &(sim_body){.seed = call.seed}) ||
           sim_expect(&w->traits, &call, NULL).status)
        call.seed++;
    w->init_seed = call.seed;
    w->init_ticket = sim_ticket(w);
    sim_trace(w, "every worker runs f0");
    tine_payload *p = sim_payload(0, call.seed, 0, false, NULL, 0);
    tine_error e =
        tine_scheduler_initialise(w->scheduler, w->init_ticket, call.name, TINE_REPEATABLE, p);
    if (e != (w->stopped ? TINE_ESTATE : TINE_OK)) sim_fail("an initialiser gave %d", (int)e);
    if (e) w->init_ticket = w->init_seed = 0;
    tine_payload_unref(p);
}

/* What the tasks of this worker wait for has another place, one that is started again if it is
 * lost. */
static bool has_double(const sim_world *w, size_t index) {
    tine_worker_info other;
    size_t i = index + 1;
    while (i < w->n_seats &&
           (w->seats[i].foreign || w->seats[i].labelled != w->seats[index].labelled ||
            w->seats[i].leaves || !tine_scheduler_worker(w->scheduler, i + 1, &other) ||
            other.ending))
        i++;
    return i < w->n_seats && !w->seats[index].foreign;
}

/* The program has a worker ended: it stops when nothing runs there. */
void sim_retire_worker(sim_world *w, size_t index) {
    tine_worker_info info;
    if (!has_double(w, index) || !tine_scheduler_worker(w->scheduler, index + 1, &info)) return;
    w->any_misplaced = true; /* calls that are bound to it fail */
    tine_scheduler_worker_end(w->scheduler, info.epoch);
    sim_trace(w, "worker %zu is to end", index);
}

enum { LONG_GRACE_NS = 100000000 }; /* longer than all tasks take that do not wait for ever */

/* A worker leaves by itself: it stops when what has begun there has ended, or is killed when its
 * time is over. */
void sim_leave_worker(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    if (!sim_is_alive(s) || s->leaves || w->stopped) return;
    bool in_time = has_double(w, index) && !sim_one_in(&w->random, 8);
    s->leaves = true;
    sim_trace(w, "worker %zu leaves", index);
    int64_t grace = in_time ? LONG_GRACE_NS : (int64_t)sim_below(&w->random, 1000000);
    sim_push(&w->queue, w->now, w->now + grace, EV_KILL, index);
    sim_worker_leave(s->worker);
}

/* Its memory is past the soft limit, or has fallen below it again, or is past the limit. */
void sim_hold_worker(sim_world *w, size_t index) {
    seat *s = &w->seats[index];
    tine_worker_info info;
    if (!sim_is_alive(s) || !tine_scheduler_worker(w->scheduler, index + 1, &info)) return;
    if (s->held && w->faults < 5 && sim_one_in(&w->random, 4)) {
        w->counts->ended_held++;
        sim_kill_worker(w, index);
        return;
    }
    s->held = !s->held;
    w->counts->held += s->held;
    sim_trace(w, "worker %zu %s", index, s->held ? "gets no tasks" : "gets tasks again");
    tine_scheduler_worker_hold(w->scheduler, info.epoch, s->held);
    if (s->held)
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 1000000), EV_HOLD,
                 index);
}

/* ---- roots that have ended, and what they yield ---- */

static size_t root_of(const sim_world *w, uint64_t ticket) {
    size_t i = 0;
    while (i < w->n_roots && w->roots[i].ticket != ticket) i++;
    if (i == w->n_roots) sim_fail("ticket %llu is unknown", (unsigned long long)ticket);
    return i;
}

void sim_on_yield(sim_world *w, const tine_scheduler_action *a) {
    size_t i = root_of(w, a->ticket);
    if (w->roots[i].done) sim_fail("a value of root %zu came after its end", i);
    sim_stream_arrived(&w->roots[i].stream, a->item, a->payload);
    w->counts->arrived++;
    for (uint32_t j = 0; j < a->payload->n_refs; j++)
        tine_scheduler_object_release(w->scheduler, a->payload->refs[j]);
    tine_payload_unref(a->payload);
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 200000), EV_PULL, i);
}

/* Whatever meets it later is lost, too: a task to which a fork of its own says so does not repeat
 * the reason. */
void sim_note_lost_result(sim_world *w, const char *text) {
    w->any_result_lost |= text && strstr(text, "the result of task");
}

void sim_on_complete(sim_world *w, tine_scheduler_action *a) {
    if (a->ticket == w->init_ticket) {
        initialised(w, a);
        return;
    }
    size_t i = root_of(w, a->ticket);
    root *r = &w->roots[i];
    if (r->done) sim_fail("root %zu completed twice", i);
    r->done = true;
    sim_stream_ended(&r->stream, &w->traits, a->status);
    w->counts->streams += r->stream.window > 0;
    sim_trace(w, "root %zu is done: %d %s", i, (int)a->status, a->text ? a->text : "");
    bool lost =
        a->status == TINE_ELOST && (w->faults > r->faults || (w->faults && !w->workers_return));
    /* it was, or what it depends on */
    bool cancelled =
        (a->status == TINE_ECANCELED && w->stopped) ||
        (w->any_cancelled && (a->status == TINE_ECANCELED || a->status == TINE_ETIMEDOUT));
    if (r->cancelled && a->status != r->cancelled)
        sim_fail("root %zu was cancelled, and its status is %d", i, (int)a->status);
    /* the program has not got the answers that it cancelled */
    bool cancels = w->traits.cancels || w->any_cancelled || w->deadlocked;
    lost |= a->status == TINE_ELOST && cancels;
    /* it cannot run where it should, or what it depends on cannot */
    bool misplaced = w->any_misplaced && (a->status == TINE_ELOST || a->status == TINE_EUNKNOWN ||
                                          a->status == TINE_EINVAL);
    if (a->status == TINE_EDEADLK && w->ends[i])
        sim_fail("root %zu is not part of a deadlock: %s", i, a->text);
    lost |= w->deadlocked && (a->status == TINE_EDEADLK || a->status == TINE_ELOST);
    w->counts->misplaced += misplaced;
    w->counts->lost += lost;
    w->counts->cancelled += cancelled;
    if (a->status && (!a->text || strlen(a->text) < 20))
        sim_fail("root %zu: an error without a text", i);
    sim_note_lost_result(w, a->text);
    if (lost && w->traits.all_repeatable && w->workers_return && !w->any_result_lost && !cancels &&
        !misplaced)
        sim_fail("root %zu was lost, though every task is repeatable: %s", i, a->text);
    if (!lost && !cancelled && !misplaced && a->status != r->expected.status)
        sim_fail("root %zu: status %d (%s), not %d", i, (int)a->status, a->text ? a->text : "",
                 (int)r->expected.status);
    if (!a->status && !a->payload != !!a->object)
        sim_fail("root %zu: needs either a value or an object", i);
    if (a->payload && sim_body_of(a->payload).value != r->expected.value)
        sim_fail("root %zu: a wrong value", i);
    if (a->object) {
        w->counts->stayed++;
        r->result = a->object;
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 1000000), EV_TAKE, i);
    }
    for (uint32_t j = 0; a->payload && j < a->payload->n_refs; j++) {
        tine_object id = a->payload->refs[j];
        const char *text;
        if (tine_scheduler_object_error(w->scheduler, id, &text) == TINE_EINVAL)
            sim_fail("root %zu: the object in its result is missing", i);
        sim_object o = r->expected.object;
        o.id = id;
        if (w->n_handles < MAX_HANDLES && sim_one_in(&w->random, 2)) {
            w->handles[w->n_handles] = (handle){.object = o, .faults = r->faults};
            sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 3000000),
                     EV_RELEASE, w->n_handles++);
        } else {
            tine_scheduler_object_release(w->scheduler, id);
        }
    }
    tine_payload_unref(a->payload);
}

void sim_take_result(sim_world *w, size_t i) {
    root *r = &w->roots[i];
    if (sim_one_in(&w->random, 4)) {
        tine_scheduler_object_release(w->scheduler, r->result);
        r->result = 0;
        return;
    }
    r->wanted = true;
    tine_scheduler_object_want(w->scheduler, r->result);
}

void sim_check_taken(sim_world *w, size_t i) {
    root *r = &w->roots[i];
    const char *text;
    if (!r->wanted || !r->result || w->stopped) return;
    const tine_payload *p = tine_scheduler_object_payload(w->scheduler, r->result, NULL);
    tine_error e = tine_scheduler_object_error(w->scheduler, r->result, &text);
    if (!p && e == TINE_EAGAIN) return;
    if (p && sim_body_of(p).value != r->expected.value)
        sim_fail("root %zu: a wrong value was fetched", i);
    if (!p && (e != TINE_ELOST || w->faults <= r->faults) && !w->any_misplaced)
        sim_fail("root %zu: its result was not fetched: %d %s", i, (int)e, text);
    w->counts->fetched += p != NULL;
    tine_scheduler_object_release(w->scheduler, r->result);
    r->result = 0;
}

/* ---- forks ---- */

static void put_one(sim_world *w) {
    if (w->n_handles == MAX_HANDLES) return;
    bool module = sim_one_in(&w->random, 2);
    uint64_t value = sim_next(&w->random);
    size_t ref = w->n_handles && sim_one_in(&w->random, 2) ? sim_below(&w->random, w->n_handles)
                                                           : MAX_HANDLES;
    bool references = ref < MAX_HANDLES && !w->handles[ref].released;
    tine_object id;
    tine_payload *p = sim_payload(value, 0, 0, sim_one_in(&w->random, 2),
                                  references ? &w->handles[ref].object.id : NULL, references);
    if (tine_scheduler_object(w->scheduler, &id, module ? "C" : NULL, p)) sim_fail("put failed");
    tine_payload_unref(p);
    if (references && !w->handles[ref].object.module)
        value = sim_mix(value, w->handles[ref].object.value);
    w->counts->objects++;
    bool uses = references && !w->handles[ref].object.module; /* a module is fetched by a call */
    tine_error status = uses ? w->handles[ref].object.status : TINE_OK;
    uint64_t faults = references ? w->handles[ref].faults : UINT64_MAX;
    w->handles[w->n_handles] = (handle){.object = {id, value, module, status}, .faults = faults};
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 2000000), EV_RELEASE,
             w->n_handles++);
}

static const handle *handle_of(const sim_world *w, tine_object id) {
    for (size_t i = 0; i < w->n_handles; i++)
        if (w->handles[i].object.id == id && !w->handles[i].released) return &w->handles[i];
    sim_fail("no handle on %#llx", (unsigned long long)id);
}

/* Later roots may have the result among their arguments. */
static void refer_to(sim_world *w, const root *r) {
    tine_object id = w->n_handles < MAX_HANDLES ? tine_scheduler_result(w->scheduler, r->task) : 0;
    if (!id) return;
    const sim_answer *a = &r->expected;
    bool mixes = a->has_object && !a->object.module;
    sim_object o = {id, mixes ? sim_mix(a->value, a->object.value) : a->value, false, a->status};
    w->handles[w->n_handles] = (handle){.object = o, .faults = r->faults, .takes = r->takes};
    sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 3000000), EV_RELEASE,
             w->n_handles++);
}

/* The epoch of a worker, which may have been lost, or of none; 0: any. */
static uint32_t choose_place(sim_world *w) {
    tine_worker_info info;
    if (!sim_one_in(&w->random, 6)) return 0;
    if (sim_one_in(&w->random, 4)) return 1 + (uint32_t)sim_below(&w->random, 12);
    size_t i = sim_below(&w->random, w->n_seats + 1);
    return tine_scheduler_worker(w->scheduler, i + 1, &info) ? info.epoch : 0;
}

/* Which of two objects that have failed, or the name, fails a task first is left open. */
static bool fails_twice(const sim_frame *f, const sim_call *call, int i) {
    if (!f->objects[call->args[i]].status) return false;
    return (call->module >= 0 && f->objects[call->module].status) ||
           (i > 0 && f->objects[call->args[0]].status);
}

/* What it depends on: results whose earlier losses may be known. */
static void choose_inputs(sim_world *w, const sim_frame *f, sim_call *call, root *r,
                          tine_object *refs) {
    for (int i = 0; i < call->n_args; i++)
        if (fails_twice(f, call, i)) call->n_args = i;
    for (int i = 0; i < call->n_args; i++) {
        const handle *h = handle_of(w, f->objects[call->args[i]].id);
        refs[i] = h->object.id;
        if (h->faults == UINT64_MAX) continue;
        w->counts->dependents++;
        w->counts->taken_by += h->takes;
        r->of_results = true;
        if (h->faults < r->faults) r->faults = h->faults;
        if (h->object.status && call->name[1] == '9') call->name = "f0"; /* see fails_twice */
    }
    if (call->module >= 0) {
        uint64_t of_module = handle_of(w, f->objects[call->module].id)->faults;
        if (of_module < r->faults) r->faults = of_module;
    }
}

/* Also a slot that it keeps while it waits for its forks: none of them takes the same, and such a
 * root depends on nothing. */
static const char *root_resources(const sim_world *w, const sim_call *call) {
    sim_body body = {.seed = call->seed, .depth = call->depth};
    const char *takes = sim_resources(&w->traits, call->name, &body);
    bool alone = call->depth == 1 && !call->n_args && call->module < 0 && !call->stream;
    return takes || !alone || !w->traits.slots || call->name[1] == '2' ? takes : "p";
}

void sim_fork_root(sim_world *w) {
    if (sim_one_in(&w->random, 2)) put_one(w);
    sim_frame f = {.seed = sim_next(&w->random),
                   .acc = sim_next(&w->random),
                   .depth = 2 + (uint32_t)sim_below(&w->random, 3)};
    bool takes = w->traits.slots && !sim_one_in(&w->random, 3); /* perhaps */
    if (takes) f.depth = 1 + sim_one_in(&w->random, 4);
    for (size_t i = 0; i < w->n_handles; i++)
        if (!w->handles[i].released && (!takes || w->handles[i].faults != UINT64_MAX))
            sim_frame_add(&f, w->handles[i].object);
    sim_call call;
    sim_frame_call(&f, &w->traits, 0, &call);
    root *r = &w->roots[w->n_roots];
    tine_object refs[2];
    *r = (root){.faults = w->losses};
    choose_inputs(w, &f, &call, r, refs);
    r->ticket = sim_ticket(w);
    r->stream = sim_stream_of(&call);
    r->expected = sim_expect(&w->traits, &call, f.objects);
    tine_target target = {call.name, call.method, call.module >= 0 ? f.objects[call.module].id : 0};
    /* Roots alone: a nested call of a module that waits for this one would never have its turn. */
    if (call.module >= 0 && sim_is_single(f.objects[call.module].id)) {
        r->single = f.objects[call.module].id;
        call.flags |= TINE_MODULE_SINGLE;
        if (r->single / 2 % 3 == 2) call.flags |= TINE_MODULE_RENEW;
        w->any_misplaced = true;
    }
    tine_payload *p = sim_payload(0, call.seed, call.depth, call.large, refs, (size_t)call.n_args);
    r->place = choose_place(w);
    w->any_misplaced |= r->place;
    tine_terms some = {.name = "root",
                       .label = sim_label(&w->traits, call.name, call.seed),
                       .resources = root_resources(w, &call),
                       .worker = r->place,
                       .priority = (int32_t)sim_below(&w->random, 9) - 4,
                       .retries = w->traits.all_repeatable ? 0 : (uint32_t)sim_below(&w->random, 3),
                       .failure_retries = (uint32_t)sim_below(&w->random, 3),
                       .stream = call.stream};
    r->takes = some.resources != NULL;
    r->holds = r->takes && some.resources[0] == 'p';
    const tine_terms *terms =
        some.label || some.resources || r->place || call.stream || sim_one_in(&w->random, 3) ? &some
                                                                                             : NULL;
    sim_trace(w, "root %zu: fork of %s", w->n_roots, call.name);
    tine_error e =
        tine_scheduler_fork(w->scheduler, r->ticket, 0, &target, call.flags, p, terms, &r->task);
    tine_payload_unref(p);
    if (e != (w->stopped ? TINE_ESTATE : TINE_OK)) sim_fail("fork gave %d", (int)e);
    if (e) return;
    if (sim_one_in(&w->random, 8))
        sim_push(&w->queue, w->now, w->now + (int64_t)sim_below(&w->random, 3000000), EV_CANCEL,
                 w->n_roots);
    w->n_roots++;
    if (!sim_one_in(&w->random, 4)) refer_to(w, r);
    if (sim_one_in(&w->random, 4)) tine_scheduler_result_want(w->scheduler, r->task);
}

void sim_cancel_root(sim_world *w, size_t i) {
    root *r = &w->roots[i];
    uint64_t grace = sim_one_in(&w->random, 2) ? 0 : UINT64_MAX;
    /* or as a deadline does */
    tine_error status = sim_one_in(&w->random, 2) ? TINE_ECANCELED : TINE_ETIMEDOUT;
    bool open = tine_scheduler_cancel(w->scheduler, r->task, status, "the seed says so", grace);
    if (open && r->done) sim_fail("root %zu was cancelled after it had completed", i);
    if (!open) return;
    r->cancelled = status;
    w->any_cancelled = true;
    w->counts->roots_cancelled++;
    w->counts->expired += status == TINE_ETIMEDOUT;
}

void sim_pull_root(sim_world *w, size_t i) {
    uint64_t item = sim_stream_take(&w->roots[i].stream);
    if (item) tine_scheduler_pull(w->scheduler, w->roots[i].task, item);
}

void sim_release(sim_world *w, size_t i) {
    if (w->handles[i].released) return;
    w->handles[i].released = true;
    tine_scheduler_object_release(w->scheduler, w->handles[i].object.id);
}
