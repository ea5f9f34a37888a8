/* A process that the program has made with fork() or daemon() while Tine ran: every call that needs
 * Tine fails there with ESTATE, and nothing that the child does reaches the parent, its workers or
 * its files. */
#ifndef TINE_RUNTIME_API_FORKED_H
#define TINE_RUNTIME_API_FORKED_H

#include <stdbool.h>

#include "runtime/tine.h"

bool tine_forked(void);
/* Sets and returns ESTATE. */
tine_error tine_forked_refuse(void);

#endif
