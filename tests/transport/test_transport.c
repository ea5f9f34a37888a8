/* The conformance suite over the transports that are built in, a test for each scheme and case. A
 * thread or a child process is a connector; see tests/support/conformance.h. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/conformance.h"

static void conform(const char *scheme, const char *name) {
    char why[320] = "";
    const tine_conf_case *c = tine_conf_find(name);
    cr_assert_not_null(c);
    if ((c->flags & TINE_CONF_OVERTAKES) && !strcmp(scheme, "inproc"))
        return; /* frames are handed over whole */
    cr_assert(tine_conf_run(scheme, name, why, sizeof why), "%s over %s: %s", name, scheme, why);
}

#define INPROC(name)                                                                               \
    Test(inproc, name, .timeout = 60) { conform("inproc", #name); }
#define IPC(name)                                                                                  \
    Test(ipc, name, .timeout = 60) { conform("ipc", #name); }
#define TCP(name)                                                                                  \
    Test(tcp, name, .timeout = 60) { conform("tcp", #name); }

TINE_CONF_CASES(INPROC)
TINE_CONF_CASES(IPC)
TINE_CONF_CASES(TCP)
