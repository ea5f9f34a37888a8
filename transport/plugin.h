/* A transport in a shared object of its own, loaded on first use: a program that does not use
 * mpi:// starts where Open MPI is missing. The module has its own copy of transport/base, since the
 * library's symbols are hidden. That is sound because a buffer is freed with free() and its own
 * release function. A module is never unloaded. */
#ifndef TINE_TRANSPORT_PLUGIN_H
#define TINE_TRANSPORT_PLUGIN_H

#include "transport/transport.h"

/* The symbol that a module exports: tine_transport_NAME. */
typedef const tine_transport_ops *tine_transport_module(void);

/* Loads libtine-NAME.so: from $TINE_MODULE_DIR, beside the library or in tine/ there, beside the
 * executable or in ../lib/tine or ../lib/MULTIARCH/tine from there, /usr/local/lib/tine,
 * /usr/lib/MULTIARCH/tine, in this order. NULL with a sentence
 * and the remedy in `why`. Any thread; the caller keeps the result. */
const tine_transport_ops *tine_transport_module_open(const char *name, char *why, size_t why_size);

#endif
