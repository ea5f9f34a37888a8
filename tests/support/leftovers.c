/* See leftovers.h. */
#include "tests/support/leftovers.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

unsigned leftover_files(const char *directory, const char *name) {
    DIR *d = opendir(directory);
    unsigned n = 0;
    for (struct dirent *e; d && (e = readdir(d));) n += strstr(e->d_name, name) != NULL;
    if (d) closedir(d);
    return n;
}

unsigned leftover_descriptors(void) { return leftover_files("/proc/self/fd", ""); }

unsigned leftover_mappings(const char *name) {
    char line[512];
    unsigned n = 0;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f && fgets(line, sizeof line, f)) n += strstr(line, name) != NULL;
    if (f) fclose(f);
    return n;
}
