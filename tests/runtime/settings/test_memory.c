/* The memory that control groups leave, from files in their format. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/settings/memory.h"

static char root[64];
static char groups[128];

static void put(const char *path, const char *text) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", root, path);
    FILE *f = fopen(name, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}
static void make(const char *path) {
    char name[256];
    snprintf(name, sizeof name, "%s/%s", root, path);
    cr_assert_eq(mkdir(name, 0700), 0);
}
static void begin(void) {
    snprintf(root, sizeof root, "/tmp/tine-memory-XXXXXX");
    cr_assert(mkdtemp(root));
    snprintf(groups, sizeof groups, "%s/groups", root);
}
static void end(void) {
    static const char *const paths[] = {"groups",
                                        "a/b/memory.max",
                                        "a/memory.max",
                                        "memory/c/memory.limit_in_bytes",
                                        "a/b",
                                        "a",
                                        "memory/c",
                                        "memory",
                                        ""};
    char name[256];
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        snprintf(name, sizeof name, "%s/%s", root, paths[i]);
        remove(name);
    }
}

Test(settings_memory, the_least_limit_of_a_group_and_those_above_it, .init = begin, .fini = end) {
    cr_assert_eq(tine_memory_by_group(groups, root), 0, "there is no file");
    put("groups", "0::/a/b\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 0, "there are no groups");
    make("a");
    make("a/b");
    put("a/b/memory.max", "max\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 0);
    put("a/memory.max", "4096000\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 4096000);
    put("a/b/memory.max", "8192000\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 4096000);
}

Test(settings_memory, version_1, .init = begin, .fini = end) {
    put("groups", "5:cpu,cpuacct:/x\n4:memory:/c\n");
    make("memory");
    make("memory/c");
    put("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 0, "version 1 writes no \"max\"");
    put("memory/c/memory.limit_in_bytes", "123456789\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 123456789);
}

Test(settings_memory, version_1_with_two_controllers_in_one_hierarchy, .init = begin, .fini = end) {
    put("groups", "6:cpu,memory_other:/d\n5:cpu,memory:/c\n");
    make("memory");
    make("memory/c");
    make("memory/d");
    put("memory/c/memory.limit_in_bytes", "123456789\n");
    put("memory/d/memory.limit_in_bytes", "4096000\n");
    cr_assert_eq(tine_memory_by_group(groups, root), 123456789);
}

Test(settings_memory, the_machine_has_some) { cr_assert_gt(tine_memory_available(), 1 << 20); }
