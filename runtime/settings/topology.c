/* See topology.h. */
#include "runtime/settings/topology.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<hwloc.h>)
#include <hwloc.h>
#endif

/* How many different values an int member has among the cores; 0: not known. */
static int topology_count_different(const tine_topology *t, size_t member) {
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        const char *mine = (const char *)&t->cores[i] + member;
        int j = 0;
        if (*(const int *)mine < 0) return 0;
        while (j < i && memcmp((const char *)&t->cores[j] + member, mine, sizeof(int))) j++;
        n += j == i;
    }
    return n;
}

/* ---- by number ---- */

static void topology_of_numbers(tine_topology *t, const cpu_set_t *allowed) {
    t->here = true;
    t->cores = calloc((size_t)CPU_COUNT(allowed), sizeof *t->cores);
    for (int cpu = 0; t->cores && cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, allowed)) continue;
        t->cores[t->n] = (tine_core){.package = -1, .node = -1, .number = t->n};
        CPU_SET(cpu, &t->cores[t->n++].cpus);
    }
    t->source = "CPU numbers";
}

/* ---- hwloc ---- */

#ifdef HWLOC_API_VERSION

/* Each core has one hardware thread, and there is one NUMA node. */
static bool machine_is_plain(void) {
    char smt = '0', nodes[8] = "0\n";
    FILE *f = fopen("/sys/devices/system/cpu/smt/active", "re");
    if (f && fread(&smt, 1, 1, f) != 1) smt = '1';
    if (f) fclose(f);
    f = fopen("/sys/devices/system/node/online", "re");
    if (f && !fgets(nodes, sizeof nodes, f)) nodes[0] = '?';
    if (f) fclose(f);
    return smt == '0' && !strcmp(nodes, "0\n") && !getenv("HWLOC_SYNTHETIC") &&
           !getenv("HWLOC_XMLFILE");
}

/* The functions of hwloc.h that are in the library, and not inline. */
/* clang-format off */
#define HWLOC_FUNCTIONS(f)                                                                         \
    f(topology_init) f(topology_load) f(topology_destroy) f(topology_is_thissystem)                \
    f(get_type_depth) f(get_nbobjs_by_depth) f(get_obj_by_depth) f(bitmap_next)
/* clang-format on */
#define HWLOC_MEMBER(name) __typeof__(hwloc_##name) *(name);
typedef struct hwloc_library {
    void *handle;
    HWLOC_FUNCTIONS(HWLOC_MEMBER)
} hwloc_library;

static bool hwloc_open(hwloc_library *l) {
    bool found = true;
    l->handle = dlopen("libhwloc.so.15", RTLD_NOW | RTLD_LOCAL); /* of hwloc 2 */
    if (!l->handle) return false;
#define HWLOC_FIND(name)                                                                           \
    *(void **)&l->name = dlsym(l->handle, "hwloc_" #name);                                         \
    found = found && l->name;
    HWLOC_FUNCTIONS(HWLOC_FIND)
    if (!found) dlclose(l->handle);
    return found;
}

static void core_describe(const hwloc_library *l, hwloc_obj_t obj, const cpu_set_t *allowed,
                          tine_core *out) {
    *out = (tine_core){.package = -1, .node = -1};
    for (int cpu = -1; (cpu = l->bitmap_next(obj->cpuset, cpu)) >= 0;)
        if (cpu < CPU_SETSIZE && (!allowed || CPU_ISSET(cpu, allowed))) CPU_SET(cpu, &out->cpus);
    if (obj->nodeset) out->node = l->bitmap_next(obj->nodeset, -1);
    for (hwloc_obj_t up = obj; up; up = up->parent)
        if (up->type == HWLOC_OBJ_PACKAGE) out->package = (int)up->logical_index;
}

static bool topology_read(tine_topology *t, const hwloc_library *l, hwloc_topology_t all,
                          const cpu_set_t *allowed) {
    int depth = l->get_type_depth(all, HWLOC_OBJ_CORE);
    if (depth < 0) depth = l->get_type_depth(all, HWLOC_OBJ_PU);
    unsigned n = depth < 0 ? 0 : l->get_nbobjs_by_depth(all, depth);
    t->here = l->topology_is_thissystem(all);
    t->cores = calloc(n ? n : 1, sizeof *t->cores);
    for (unsigned i = 0; t->cores && i < n; i++) {
        tine_core *core = &t->cores[t->n];
        core_describe(l, l->get_obj_by_depth(all, depth, i), t->here ? allowed : NULL, core);
        core->number = (int)i;
        if (CPU_COUNT(&core->cpus)) t->n++;
    }
    t->source = t->here ? "hwloc" : "hwloc, another machine";
    return t->n > 0;
}

static bool topology_of_hwloc(tine_topology *t, const cpu_set_t *allowed) {
    hwloc_library l;
    hwloc_topology_t all;
    if (machine_is_plain() || !hwloc_open(&l)) return false;
    bool read = false;
    if (!l.topology_init(&all)) {
        read = !l.topology_load(all) && topology_read(t, &l, all, allowed);
        l.topology_destroy(all);
    }
    dlclose(l.handle);
    if (!read) tine_topology_fini(t);
    return read;
}

#else
static bool topology_of_hwloc(tine_topology *t, const cpu_set_t *allowed) {
    (void)t, (void)allowed;
    return false;
}
#endif

/* ---- for all ---- */

void tine_topology_get(tine_topology *out) {
    cpu_set_t allowed;
    *out = (tine_topology){0};
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    if (!topology_of_hwloc(out, &allowed)) topology_of_numbers(out, &allowed);
    out->packages = topology_count_different(out, offsetof(tine_core, package));
    out->nodes = topology_count_different(out, offsetof(tine_core, node));
    for (int i = 0; i < out->n; i++) out->cpus += CPU_COUNT(&out->cores[i].cpus);
}

void tine_topology_fini(tine_topology *t) {
    free(t->cores);
    *t = (tine_topology){0};
}

bool tine_topology_pins(const tine_topology *t, int workers, int threads) {
    return t->here && t->n > 0 && (long)workers * threads == t->n;
}

void tine_topology_place(const tine_topology *t, int i, int threads, cpu_set_t *cpus, int *node) {
    CPU_ZERO(cpus);
    for (int k = i * threads; k < (i + 1) * threads && k < t->n; k++)
        CPU_OR(cpus, cpus, &t->cores[k].cpus);
    *node = i * threads < t->n ? t->cores[i * threads].node : -1;
}
