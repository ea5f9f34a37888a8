/* For future.c: completers are freed with their last reference. */
#ifndef TINE_RUNTIME_API_COMPLETER_H
#define TINE_RUNTIME_API_COMPLETER_H

#include "runtime/tine.h"

void tine_completer_free(tine_completer *c);

#endif
