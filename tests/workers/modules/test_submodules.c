/* Modules that hold values, put values and modules of their own, as every nn.Module does, and
 * methods that fork other methods of their module. */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster.h"

static atomic_int subs; /* instances of sub that live; workers are threads where it is read */

static void *sub_init(tine_task *task) {
    int64_t *n = malloc(sizeof *n);
    *n = tine_arg_int(task, 0);
    subs++;
    return n;
}
static void sub_fini(void *self) {
    free(self);
    subs--;
}
static tine_value *sub_forward(tine_task *task) {
    return tine_int(*(int64_t *)tine_self(task) + tine_arg_int(task, 0));
}
static const tine_method sub_methods[] = {{"forward", "x", sub_forward, 0}, {0}};
static const tine_class sub = {"test_sub", "n", sub_init, sub_fini, sub_methods};
TINE_CLASS(sub)

typedef struct net {
    tine_value *sub, *put, *replaced;
} net;

static void *net_init(tine_task *task) {
    (void)task;
    net *n = calloc(1, sizeof *n);
    if (tine_self_module(task)) abort();
    n->sub = tine_ref(tine_module("test_sub", 100));
    n->put = tine_ref(tine_put(tine_list(1, 2, 3)));
    return n;
}
static void net_fini(void *self) {
    net *n = self;
    tine_release(n->sub);
    tine_release(n->put);
    tine_release(n->replaced);
    free(n);
}
static tine_value *net_call(tine_task *task) {
    return tine_call(((net *)tine_self(task))->sub, tine_arg(task, 0));
}
static tine_value *waited(tine_future *f) {
    tine_value *v;
    return tine_wait(f, &v) ? NULL : v;
}
static tine_value *net_fork(tine_task *task) {
    return waited(tine_fork(((net *)tine_self(task))->sub, tine_arg(task, 0)));
}
static tine_value *net_put(tine_task *task) {
    return waited(tine_fork("test_length", ((net *)tine_self(task))->put));
}
static tine_value *net_gives(tine_task *task) { return tine_ref(((net *)tine_self(task))->sub); }
/* Keeps what came as an argument, or as the result of a fork. */
static tine_value *net_keep(tine_task *task) {
    net *n = tine_self(task);
    tine_release(n->sub);
    n->sub = tine_ref((tine_value *)tine_arg(task, 0));
    tine_release(n->replaced);
    n->replaced = tine_ref(waited(tine_fork("test_makes", 7)));
    return tine_none();
}
static tine_value *net_kept(tine_task *task) {
    net *n = tine_self(task);
    tine_future *f = tine_fork(n->replaced, tine_arg(task, 0));
    return waited(tine_fork("test_add", f, tine_fork(n->sub, 0)));
}
static tine_value *net_other(tine_task *task) {
    return waited(tine_fork_method(tine_self_module(task), "fork", tine_arg(task, 0)));
}
static const tine_method net_methods[] = {
    {"call", "x", net_call, 0},   {"fork", "x", net_fork, 0},
    {"put", "x", net_put, 0},     {"gives", "x", net_gives, 0},
    {"keep", "x", net_keep, 0},   {"kept", "x", net_kept, 0},
    {"other", "x", net_other, 0}, {0}};
static const tine_class net_class = {"test_net", "", net_init, net_fini, net_methods};
TINE_CLASS(net_class)

TINE_FUNCTION(test_length, "list") { return tine_int((int64_t)tine_length(tine_arg(task, 0))); }
TINE_FUNCTION(test_add, "a, b") { return tine_int(tine_arg_int(task, 0) + tine_arg_int(task, 1)); }
TINE_FUNCTION(test_makes, "n") { return tine_module("test_sub", tine_arg_int(task, 0)); }
TINE_FUNCTION(test_self, "") { return tine_self_module(task); }

/* Its first task made the submodule, which was gone when that task had ended. */
TRANSPORT_TEST(submodules, made_in_init_live_as_long_as_the_module, 30) {
    cluster_start(endpoint, 2);
    tine_value *module = tine_module("test_net");
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(cluster_take_int(tine_fork_method(module, "call", i)), 100 + i);
        cr_assert_eq(cluster_take_int(tine_fork_method(module, "fork", i)), 100 + i);
        cr_assert_eq(cluster_take_int(tine_fork_method(module, "put", i)), 3);
        tine_value *given = cluster_take(tine_fork_method(module, "gives", i));
        cr_assert_eq(cluster_take_int(tine_fork(given, i)), 100 + i);
        tine_release(given);
    }
    tine_release(module);
    cluster_stop();
}

TRANSPORT_TEST(submodules, a_method_forks_another_of_its_module, 30) {
    cluster_start(endpoint, 1);
    tine_value *module = tine_module("test_net"), *v = NULL;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(cluster_take_int(tine_fork_method(module, "other", i)), 100 + i);
        v = tine_call_method(module, "other", i);
        cr_assert(v, "%s", tine_error_message());
        cr_assert_eq(tine_as_int(v), 100 + i);
        tine_release(v);
    }
    tine_future *f = tine_fork("test_self");
    cr_assert_eq(tine_wait(f, NULL), TINE_ESTATE);
    tine_release(f);
    tine_release(module);
    cluster_stop();
}

TRANSPORT_TEST(submodules, state_keeps_arguments_and_results_of_forks, 30) {
    cluster_start(endpoint, 1);
    tine_value *module = tine_module("test_net");
    for (int i = 0; i < 3; i++) {
        tine_value *argument = tine_module("test_sub", 1000);
        tine_release(cluster_take(tine_fork_method(module, "keep", argument)));
        tine_release(argument);
        for (int k = 0; k < 3; k++)
            cr_assert_eq(cluster_take_int(tine_fork_method(module, "kept", k)), 1007 + k);
    }
    tine_release(module);
    cluster_stop();
}

/* Nothing is kept for ever: with the module its submodules go, on every worker. */
Test(submodules, are_freed_with_their_module, .timeout = 30) {
    cluster_start("inproc://*", 2);
    for (int i = 0; i < 5; i++) {
        tine_value *module = tine_module("test_net");
        tine_future *f[8];
        for (int k = 0; k < 8; k++) f[k] = tine_fork_method(module, "fork", k);
        for (int k = 0; k < 8; k++) cr_assert_eq(cluster_take_int(f[k]), 100 + k);
        tine_value *argument = tine_module("test_sub", 1000);
        tine_release(cluster_take(tine_fork_method(module, "keep", argument)));
        cr_assert_eq(cluster_take_int(tine_fork_method(module, "kept", 1)), 1008);
        cr_assert_gt(subs, 0);
        tine_release(argument);
        tine_release(module);
        while (subs > 0) cr_assert_eq(cluster_take_int(tine_fork("test_add", 1, 1)), 2);
    }
    cluster_stop();
}
