/* `tine info`: shows what this machine offers and what Tine would use. Starts nothing. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/blas.h"
#include "kernels/isa.h"
#include "kernels/gemm.h"
#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/command/info_shared.h"
#include "runtime/settings/cores.h"
#include "runtime/settings/settings.h"
#include "runtime/settings/topology.h"
#include "transport/shm/lane.h"
#include "transport/transport.h"

static void info_kernels(void) {
    const struct tine_cpu *cpu = tine_cpu();
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    printf("cpu           %s\n", cpu->brand[0] ? cpu->brand : "unknown");
    printf("cores         %d usable by this process, %ld CPUs in the machine\n",
           tine_cores_available(), sysconf(_SC_NPROCESSORS_ONLN));
    if (choice->error[0]) {
        printf("kernels       %s\n", choice->error);
        return;
    }
    const struct tine_gemm_kernel *f32 = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_F32);
    const struct tine_gemm_kernel *bf16 = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_BF16);
    const struct tine_gemm_kernel *int8 = tine_gemm_choose(TINE_ISA_AUTO, TINE_GEMM_INT8);
    printf("kernels       float32: %s", f32 ? f32->name : tine_isa_name(choice->f32));
    printf(", bfloat16: %s, int8: %s%s\n", bf16 ? bf16->name : "rounded, computed in float32",
           int8 ? int8->name : "none", choice->forced ? " (TINE_KERNEL)" : "");
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        const char *obstacle = tine_isa_obstacle(cpu, isa);
        printf("  %-12s%s%s\n", tine_isa_name(isa), obstacle ? "not usable: " : "usable",
               obstacle ? obstacle : "");
    }
}

static void info_blas(void) {
    const char *preset = getenv("OPENBLAS_CORETYPE");
    const struct tine_blas *blas = tine_blas();
    printf("blas          %s\n",
           blas ? blas->openblas_get_config() : "libopenblas.so.0 cannot be loaded");
    if (!blas) return;
    printf("  core        %s%s%s%s\n", blas->openblas_get_corename(),
           preset ? " (OPENBLAS_CORETYPE=" : "", preset ? preset : "",
           preset ? " in the environment)" : "");
}

static void info_lane(bool on) {
    const char *obstacle = on ? tine_shm_obstacle() : "TINE_LANE=off";
    printf("  %-12s%s%s\n", "lane",
           !on        ? "not used: "
           : obstacle ? "not usable: "
                      : "usable: shared memory with peers on this host, over ipc and tcp",
           obstacle ? obstacle : "");
}

static void info_transports(const tine_settings *s) {
    const tine_transport_info *info;
    printf("transports\n");
    for (size_t i = 0; (info = tine_transport_info_at(i)); i++) {
        char url[32], why[256];
        snprintf(url, sizeof url, "%s://", info->scheme);
        const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
        printf("  %-12s%s\n", info->scheme, ops ? ops->version() : why);
    }
    info_lane(s->lane);
    tine_info_shared();
}

/* "0-3,8" */
static void info_cpus(const cpu_set_t *cpus) {
    const char *between = "";
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, cpus)) continue;
        int last = cpu;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus)) last++;
        printf("%s%d", between, cpu);
        if (last > cpu) printf("-%d", last);
        between = ",";
        cpu = last;
    }
}

static void info_place(const tine_topology *t, int i, int threads) {
    cpu_set_t cpus;
    int node;
    tine_topology_place(t, i, threads, &cpus, &node);
    const tine_core *first = &t->cores[i * threads];
    printf("  worker %-6d", i);
    if (first->package >= 0) printf("package %d, ", first->package);
    if (node >= 0) printf("node %d, ", node);
    printf("core%s %d", threads > 1 ? "s" : "", first->number);
    if (threads > 1) printf("-%d", t->cores[(i + 1) * threads - 1].number);
    printf(", CPUs ");
    info_cpus(&cpus);
    printf("\n");
}

/* Where the workers of these settings go, or would go on another machine (HWLOC_SYNTHETIC). */
static void info_topology(const tine_settings *s) {
    tine_topology t;
    tine_topology_get(&t);
    printf("topology      ");
    if (t.packages) printf("%d package%s, ", t.packages, t.packages == 1 ? "" : "s");
    if (t.nodes) printf("%d NUMA node%s, ", t.nodes, t.nodes == 1 ? "" : "s");
    printf("%d core%s, %d CPUs usable by this process (%s)\n", t.n, t.n == 1 ? "" : "s", t.cpus,
           t.source);
    bool here = t.here;
    t.here = true;
    bool pinned = tine_topology_pins(&t, s->workers, s->threads);
    t.here = here;
    printf("workers       %d of %d thread%s: %s\n", s->workers, s->threads,
           s->threads == 1 ? "" : "s",
           !pinned       ? "not pinned, for they do not take all cores exactly"
           : t.nodes < 2 ? "each pinned to cores of its own"
                         : "each pinned to cores of its own, and to memory of their node");
    for (int i = 0; pinned && i < s->workers; i++) info_place(&t, i, s->threads);
    tine_topology_fini(&t);
}

int tine_command_info(int argc, char **argv) {
    static bool topology;
    static const tine_option options[] = {{"--topology", NULL,
                                           "print the cores and where workers go, and nothing else",
                                           TINE_OPTION_FLAG, &topology, 0, 0},
                                          {0}};
    topology = false;
    static const tine_usage usage = {"info",
                                     "",
                                     "Prints the CPU, the kernels chosen, BLAS and its core, the "
                                     "transports, and the settings in force.",
                                     options,
                                     0,
                                     0};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    tine_settings settings = {0};
    if (tine_settings_resolve(&settings, NULL, &argc, argv)) {
        return tine_command_refuse("info", 2, "%s", tine_error_message());
    }
    if (topology) {
        info_topology(&settings);
        tine_settings_fini(&settings);
        return 0;
    }
    printf("tine          " TINE_VERSION "\n");
    info_kernels();
    info_blas();
    info_transports(&settings);
    tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(&settings, rows, TINE_SETTINGS_MAX);
    printf("settings\n");
    for (size_t i = 0; i < n && i < TINE_SETTINGS_MAX; i++)
        printf("  %-24s%-16s%-13s%s\n", rows[i].variable, rows[i].value, rows[i].origin,
               rows[i].help);
    tine_settings_fini(&settings);
    return 0;
}
