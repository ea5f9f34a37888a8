/* The version of the library, for programs that were compiled with another header. */
#include "runtime/tine.h"

const char *tine_version(void) { return TINE_VERSION; }
