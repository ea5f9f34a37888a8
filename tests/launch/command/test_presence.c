/* The connections by which `tine run --survive` and its supervisors notice each other's end. Both
 * ends are driven by the test's one thread. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "launch/command/presence.h"

enum { HOSTS = 3, MAX_ENDS = 4 };

static tine_presence job, ends[MAX_ENDS];
static bool held[MAX_ENDS];
static int n_ends, n_lost, last_lost;

static void count_lost(void *ctx, int host) {
    cr_assert_eq(ctx, &job);
    n_lost++;
    last_lost = host;
}

static void turn(void) {
    tine_presence_wait(&job, 5);
    tine_presence_turn(&job, count_lost, &job);
    for (int i = 0; i < n_ends; i++)
        if (held[i] && ends[i].transport) held[i] = tine_presence_holds(&ends[i]);
}

/* The index of a supervisor's end that has asked to be that of `host`. */
static int join(int host) {
    char url[64], why[256] = "";
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", tine_presence_port(&job));
    cr_assert(tine_presence_join(&ends[n_ends], url, host, why, sizeof why), "%s", why);
    held[n_ends] = true;
    return n_ends++;
}

static int join_and_arrive(int host) {
    tine_peer before = job.peers[host];
    int i = join(host);
    while (job.peers[host] == before) turn();
    return i;
}

static void open_job(void) {
    char why[256] = "";
    cr_assert(tine_presence_listen(&job, "tcp://127.0.0.1:*", HOSTS, why, sizeof why), "%s", why);
}

static void close_all(void) {
    for (int i = 0; i < n_ends; i++) tine_presence_fini(&ends[i]);
    tine_presence_fini(&job);
}

TestSuite(presence, .init = open_job, .fini = close_all, .timeout = 60);

Test(presence, the_end_of_a_supervisor_is_noticed) {
    int other = join_and_arrive(0), i = join_and_arrive(2);
    cr_expect_eq(n_lost, 0);
    tine_presence_fini(&ends[i]);
    while (n_lost == 0) turn();
    cr_expect_eq(last_lost, 2);
    cr_expect(held[other]);
    cr_expect_not(tine_presence_drop(&job, 2), "it is gone already");
}

Test(presence, a_supervisor_that_is_dropped_notices_it) {
    int i = join_and_arrive(1);
    cr_expect(tine_presence_drop(&job, 1));
    while (held[i]) turn();
    cr_expect_eq(n_lost, 0, "what was dropped is not lost");
}

Test(presence, the_end_of_the_job_is_noticed) {
    int i = join_and_arrive(1);
    tine_presence_fini(&job);
    while (tine_presence_holds(&ends[i])) tine_presence_wait(&ends[i], 5);
    cr_expect(ends[i].up);
}

Test(presence, a_job_that_cannot_be_reached_is_reported) {
    char why[256] = "";
    setenv("TINE_CONNECT_TIMEOUT", "0.1", 1);
    cr_assert(tine_presence_join(&ends[0], "tcp://127.0.0.1:1", 0, why, sizeof why), "%s", why);
    n_ends = 1;
    while (tine_presence_holds(&ends[0])) tine_presence_wait(&ends[0], 5);
    cr_expect_not(ends[0].up);
    cr_expect(*ends[0].reason);
}

Test(presence, a_second_supervisor_of_a_host_ends_the_first) {
    int first = join_and_arrive(1), second = join_and_arrive(1);
    while (held[first]) turn();
    cr_expect(held[second]);
    cr_expect_eq(n_lost, 0);
}

Test(presence, a_host_that_the_job_does_not_have_is_dropped) {
    int other = join_and_arrive(0), i = join(HOSTS), j = join(-1);
    while (held[i] || held[j]) turn();
    cr_expect(held[other]);
    cr_expect_eq(n_lost, 0);
}
