/* Physical cores and where workers go on machines that hwloc invents, and quotas of control groups
 * in files of the test's own. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/settings/cores.h"
#include "runtime/settings/topology.h"

static tine_topology invented(const char *machine) {
    tine_topology t;
    setenv("HWLOC_SYNTHETIC", machine, 1);
    tine_topology_get(&t);
    if (strcmp(t.source, "hwloc, another machine") != 0) {
        tine_topology_fini(&t);
        cr_skip_test("SKIP: there is no libhwloc");
    }
    return t;
}

Test(topology, hardware_threads_are_not_cores, .timeout = 20) {
    tine_topology t = invented("pack:1 core:4 pu:2");
    cr_expect_eq(t.n, 4);
    cr_expect_eq(t.cpus, 8);
    cr_expect_eq(t.nodes, 1);
    for (int i = 0; i < 4; i++) cr_expect_eq(CPU_COUNT(&t.cores[i].cpus), 2);
    cr_expect_eq(tine_cores_available(), 4);
    cr_expect(!tine_topology_pins(&t, 4, 1), "nothing is pinned by the map of another machine");
    tine_topology_fini(&t);
}

/* Worker i has a core of its own, of its node, beside worker i - 1. */
static void each_worker_has_a_place(const char *machine, int cores, int nodes, int threads) {
    tine_topology t = invented(machine);
    cpu_set_t used, cpus;
    int node, before = 0, workers = cores / threads;
    cr_assert_eq(t.n, cores);
    cr_expect_eq(t.nodes, nodes);
    t.here = true;
    cr_expect(tine_topology_pins(&t, workers, threads));
    cr_expect(!tine_topology_pins(&t, workers - 1, threads));
    cr_expect(!tine_topology_pins(&t, workers + 1, threads));
    CPU_ZERO(&used);
    for (int i = 0; i < workers; i++, before = node) {
        tine_topology_place(&t, i, threads, &cpus, &node);
        cr_expect_eq(CPU_COUNT(&cpus), t.cpus / workers);
        cr_expect_eq(node, i * nodes / workers);
        cr_expect(node >= before);
        CPU_AND(&cpus, &cpus, &used);
        cr_expect_eq(CPU_COUNT(&cpus), 0, "worker %d shares a core", i);
        tine_topology_place(&t, i, threads, &cpus, &node);
        CPU_OR(&used, &used, &cpus);
    }
    cr_expect_eq(CPU_COUNT(&used), t.cpus);
    tine_topology_fini(&t);
}

Test(topology, two_sockets, .timeout = 20) {
    each_worker_has_a_place("pack:2 [numa] core:8 pu:1", 16, 2, 1);
    each_worker_has_a_place("pack:2 [numa] core:8 pu:2", 16, 2, 4);
}
Test(topology, a_hundred_and_twenty_eight_cores, .timeout = 20) {
    each_worker_has_a_place("pack:2 [numa] core:64 pu:2", 128, 2, 1);
    each_worker_has_a_place("pack:1 numa:4 core:32 pu:1", 128, 4, 2);
}

/* Linux may number the first threads of all cores before the second ones. */
Test(topology, threads_of_a_core_are_found_by_the_map_and_not_by_their_numbers, .timeout = 20) {
    tine_topology t = invented("pack:2 core:2 pu:2(indexes=0,4,1,5,2,6,3,7)");
    for (int i = 0; i < 4; i++) {
        cr_expect(CPU_ISSET(i, &t.cores[i].cpus) && CPU_ISSET(i + 4, &t.cores[i].cpus));
        cr_expect_eq(t.cores[i].package, i / 2);
    }
    tine_topology_fini(&t);
}

Test(topology, the_affinity_mask_bounds_the_cores_of_this_machine, .timeout = 20) {
    cpu_set_t one;
    tine_topology t;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    tine_topology_get(&t);
    cr_expect(t.here);
    cr_expect_eq(t.n, 1);
    cr_expect(CPU_EQUAL(&t.cores[0].cpus, &one));
    tine_topology_fini(&t);
}

static void quota_is(const char *files, const char *groups, int cores) {
    char command[1200], list[64], root[64], dir[] = "/tmp/tine-quota-XXXXXX";
    cr_assert(mkdtemp(dir));
    snprintf(list, sizeof list, "%s/groups", dir);
    snprintf(root, sizeof root, "%s/root", dir);
    snprintf(command, sizeof command,
             "cd %s && printf '%s' >groups && mkdir root && cd root && "
             "put() { mkdir -p \"${1%%/*}\" && echo \"$2\" >\"$1\"; }; %s",
             dir, groups, files);
    cr_assert_eq(system(command), 0, "%s", command);
    cr_expect_eq(tine_cores_by_quota(list, root), cores, "%s", files);
    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

Test(topology, the_least_quota_of_nested_groups_holds, .timeout = 20) {
    quota_is("put ./a/b/cpu.max 'max 100000'", "0::/a/b\n", 0);
    quota_is("put ./a/b/cpu.max '250000 100000'", "0::/a/b\n", 3);
    quota_is("put ./a/b/cpu.max '800000 100000'; put ./a/cpu.max '200000 100000'", "0::/a/b\n", 2);
    quota_is("put ./cpu.max '50000 100000'; put ./x/cpu.max '800000 100000'", "0::/\n", 1);
    const char *v1 = "put ./cpu,cpuacct/a/b/cpu.cfs_quota_us -1; "
                     "put ./cpu,cpuacct/a/b/cpu.cfs_period_us 100000; "
                     "put ./cpu,cpuacct/a/cpu.cfs_quota_us 400000; "
                     "put ./cpu,cpuacct/a/cpu.cfs_period_us 100000";
    quota_is(v1, "4:memory:/m\n3:cpu,cpuacct:/a/b\n", 4);
    quota_is(v1, "3:cpuset:/a/b\n2:cpu,cpuacct:/other\n", 0);
    quota_is("put ./unified/g/cpu.max '100000 100000'", "1:name=systemd:/\n0::/g\n", 1);
}
