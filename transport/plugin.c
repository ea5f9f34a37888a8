/* Finds and loads a transport module. See plugin.h. */
#include "transport/plugin.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/process.h"

#ifndef TINE_PREFIX
#define TINE_PREFIX "/usr/local"
#endif

#ifndef TINE_MULTIARCH
#define TINE_MULTIARCH "" /* Debian's name of the machine: x86_64-linux-gnu */
#endif

enum { PLACES = 8 };

/* `below` is relative to the directory of the file that this code was loaded from: the library, or
 * a program that contains it. */
static void place_beside_library(char *dir, const char *below) {
    char path[PATH_MAX];
    if (tine_process_file_of((const void *)tine_transport_module_open, path, sizeof path))
        snprintf(dir, PATH_MAX, "%s%s", dirname(path), below);
}

static void place_beside_executable(char *dir, const char *below) {
    char path[PATH_MAX];
    if (tine_process_executable(path, sizeof path))
        snprintf(dir, PATH_MAX, "%s%s", dirname(path), below);
}

static size_t places_list(char places[PLACES][PATH_MAX]) {
    memset(places, 0, PLACES * (size_t)PATH_MAX);
    const char *chosen = secure_getenv("TINE_MODULE_DIR");
    if (chosen) snprintf(places[0], PATH_MAX, "%s", chosen);
    place_beside_library(places[1], "");
    place_beside_library(places[2], "/tine"); /* installed: PREFIX/lib and PREFIX/lib/tine, */
    place_beside_executable(places[3], "");
    place_beside_executable(places[4], "/../lib/tine"); /* or PREFIX/bin and PREFIX/lib/tine */
    place_beside_executable(places[5], "/../lib/" TINE_MULTIARCH "/tine"); /* Debian's packages */
    snprintf(places[6], PATH_MAX, "%s/lib/tine", TINE_PREFIX);
    snprintf(places[7], PATH_MAX, "/usr/lib/%s/tine", TINE_MULTIARCH);
    return PLACES;
}

static const tine_transport_ops *module_load(const char *path, const char *name, char *why,
                                             size_t why_size) {
    char symbol[64];
    snprintf(symbol, sizeof symbol, "tine_transport_%s", name);
    /* Global: Open MPI loads plugins of its own that look for its symbols in the process. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!handle) {
        snprintf(why, why_size,
                 "the transport module %s cannot be loaded (%s): install the library it names, or "
                 "use ipc:// or tcp://",
                 path, dlerror());
        return NULL;
    }
    tine_transport_module *entry;
    *(void **)&entry = dlsym(handle, symbol);
    const tine_transport_ops *ops = entry ? entry() : NULL;
    if (!ops)
        snprintf(why, why_size, "%s is not a transport module of this Tine: build it again", path);
    return ops;
}

const tine_transport_ops *tine_transport_module_open(const char *name, char *why, size_t why_size) {
    char(*places)[PATH_MAX] = malloc(PLACES * (size_t)PATH_MAX);
    if (!places) {
        snprintf(why, why_size, "no memory to look for the transport module %s", name);
        return NULL;
    }
    const tine_transport_ops *ops = NULL;
    char path[PATH_MAX + 64];
    size_t n = places_list(places), i;
    for (i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/libtine-%s.so", places[i], name);
        if (places[i][0] && !access(path, R_OK)) break;
    }
    if (i < n)
        ops = module_load(path, name, why, why_size);
    else
        snprintf(why, why_size,
                 "there is no transport module libtine-%s.so beside the library or in " TINE_PREFIX
                 "/lib/tine: build Tine where Open MPI is installed (apt-get install "
                 "libopenmpi-dev), or set TINE_MODULE_DIR to its directory",
                 name);
    free(places);
    return ops;
}
