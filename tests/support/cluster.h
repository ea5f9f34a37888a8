/* A coordinator with local workers for a test. Criterion runs a test in a process of its own, so
 * each test has a Tine of its own. */
#ifndef TINE_TESTS_SUPPORT_CLUSTER_H
#define TINE_TESTS_SUPPORT_CLUSTER_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/tine.h"

/* endpoint NULL: the default. Fails the test when Tine does not start. */
void cluster_start(const char *endpoint, int workers);
void cluster_start_with(const tine_options *options);
void cluster_stop(void); /* checks that shutdown succeeds */

/* Waits for f and releases it; fails the test when the task did. */
tine_value *cluster_take(tine_future *f);
int64_t cluster_take_int(tine_future *f);

/* Messages that this process has sent to its workers and received, with those of heartbeats. */
uint64_t cluster_messages(void);

/* Starts this executable anew with standard output to *out; it runs test_program(), which the
 * test's file defines. */
pid_t cluster_program(int *out);
int test_program(void);

/* One test for each transport: TRANSPORT_TEST(suite, name, timeout) { cluster_start(endpoint, 2); …
 * } */
#define TRANSPORT_TEST(suite, name, seconds)                                                       \
    static void suite##_##name(const char *endpoint);                                              \
    Test(suite, name##_inproc, .timeout = seconds) { suite##_##name("inproc://" #name); }          \
    Test(suite, name##_ipc, .timeout = seconds) { suite##_##name(NULL); }                          \
    Test(suite, name##_tcp, .timeout = seconds) { suite##_##name("tcp://127.0.0.1:0"); }           \
    static void suite##_##name(const char *endpoint)

/* The same where workers are processes. */
#define TRANSPORT_TEST_REMOTE(suite, name, seconds)                                                \
    static void suite##_##name(const char *endpoint);                                              \
    Test(suite, name##_ipc, .timeout = seconds) { suite##_##name(NULL); }                          \
    Test(suite, name##_tcp, .timeout = seconds) { suite##_##name("tcp://127.0.0.1:0"); }           \
    static void suite##_##name(const char *endpoint)

#endif
