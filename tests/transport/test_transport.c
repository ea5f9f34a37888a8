/* The conformance suite over the transports that are built in, a test for each scheme and case. A
 * thread or a child process is a connector; see tests/support/conformance.h. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/conformance.h"
#include "transport/zmq/key.h"

static void conform(const char *scheme, const char *name) {
    char why[320] = "";
    const tine_conf_case *c = tine_conf_find(name);
    cr_assert_not_null(c);
    char url[32];
    snprintf(url, sizeof url, "%.*s://", (int)strcspn(scheme, "+"), scheme);
    const tine_transport_info *info = tine_transport_info_of(url);
    cr_assert_not_null(info);
    bool lends = strstr(scheme, "+leases");
    if ((c->flags & TINE_CONF_OVERTAKES) && lends) return;
    if ((c->flags & TINE_CONF_OVERTAKES) && (info->flags & TINE_TRANSPORT_WHOLE)) return;
    cr_assert(tine_conf_run(scheme, name, why, sizeof why), "%s over %s: %s", name, scheme, why);
}

#define INPROC(name)                                                                               \
    Test(inproc, name, .timeout = 60) { conform("inproc", #name); }
#define IPC(name)                                                                                  \
    Test(ipc, name, .timeout = 60) { conform("ipc", #name); }
#define TCP(name)                                                                                  \
    Test(tcp, name, .timeout = 60) { conform("tcp", #name); }
#define ENCRYPTED(name)                                                                            \
    Test(tcp_with_key, name, .timeout = 60) {                                                      \
        static char key[TINE_ZMQ_KEY_SIZE];                                                        \
        cr_assert(tine_zmq_key_make(key));                                                         \
        tine_conf_key = key;                                                                       \
        conform("tcp", #name);                                                                     \
    }

#define LEASES(name)                                                                               \
    Test(leases, name, .timeout = 60) { conform("ipc+leases", #name); }
#define LANE(name)                                                                                 \
    Test(lane, name, .timeout = 60) { conform("ipc+lane", #name); }

TINE_CONF_CASES(INPROC)
TINE_CONF_CASES(IPC)
TINE_CONF_CASES(TCP)
/* The whole suite takes ThreadSanitizer minutes, and has been run over ipc and tcp; encryption
 * takes it longer than a case may. */
#ifndef __SANITIZE_THREAD__
TINE_CONF_CASES(LANE)
TINE_CONF_CASES(LEASES)
TINE_CONF_CASES(ENCRYPTED)
#else
LANE(order)
LANE(overtaking)
LEASES(order)
#endif

Test(lane, over_tcp, .timeout = 60) {
    static const char *const names[] = {"order", "overtaking", "listener_close_pending"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) conform("tcp+lane", names[i]);
}

/* ---- the table ---- */

Test(table, tells_what_a_transport_is_like_without_loading_it, .timeout = 10) {
    const tine_transport_info *info = tine_transport_info_of("mpi://");
    cr_assert_not_null(info);
    cr_assert(info->flags & TINE_TRANSPORT_RANKS && info->flags & TINE_TRANSPORT_KILLS_JOB);
    cr_assert(tine_transport_info_of("inproc://x")->flags & TINE_TRANSPORT_THREADS);
    cr_assert(tine_transport_info_of("ipc:///x")->flags & TINE_TRANSPORT_PATH);
    cr_assert(tine_transport_info_of("tcp://h:1")->flags & TINE_TRANSPORT_REMOTE);
    cr_assert_not(tine_transport_info_of("ipc:///x")->flags & TINE_TRANSPORT_REMOTE);
    const char *const unknown[] = {"", "mpi", "http://x", "ip://x", "ipcc://x", "://"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        cr_assert_null(tine_transport_info_of(unknown[i]), "%s", unknown[i]);
    cr_assert_null(tine_transport_info_of(NULL));
}

Test(table, lists_each_scheme_once, .timeout = 10) {
    const tine_transport_info *info;
    size_t n = 0;
    for (; (info = tine_transport_info_at(n)); n++) {
        char url[32];
        snprintf(url, sizeof url, "%s://", info->scheme);
        cr_assert_eq(tine_transport_info_of(url), info);
        if (info->any) cr_assert_eq(tine_transport_info_of(info->any), info);
    }
    cr_assert_eq(n, 4);
}

Test(table, an_unknown_scheme_is_answered_with_those_that_there_are, .timeout = 10) {
    char why[256] = "";
    cr_assert_null(tine_transport_for("http://x", why, sizeof why));
    cr_assert_str_eq(why, "no transport serves \"http://x\": a URL begins with inproc://, ipc://, "
                          "tcp:// or mpi://");
}
