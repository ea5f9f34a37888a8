/* `tine info`: shows what this machine offers and what Tine would use. Starts nothing. */
#include <cblas.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernels/isa.h"
#include "kernels/gemm.h"
#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "runtime/settings/cores.h"
#include "runtime/settings/settings.h"
#include "transport/shm/lane.h"
#include "transport/transport.h"

static void info_kernels(void) {
    const struct tine_cpu *cpu = tine_cpu();
    const struct tine_kernel_choice *choice = tine_kernel_choice();
    printf("cpu           %s\n", cpu->brand[0] ? cpu->brand : "unknown");
    printf("cores         %d usable by this process, %ld in the machine\n", tine_cores_available(),
           sysconf(_SC_NPROCESSORS_ONLN));
    if (choice->error[0]) {
        printf("kernels       %s\n", choice->error);
        return;
    }
    const struct tine_gemm_kernel *f32 = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_F32);
    const struct tine_gemm_kernel *bf16 = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_BF16);
    printf(
        "kernels       float32: %s, bfloat16: %s%s\n", f32 ? f32->name : tine_isa_name(choice->f32),
        bf16 ? bf16->name : "rounded, computed in float32", choice->forced ? " (TINE_KERNEL)" : "");
    for (enum tine_isa isa = TINE_ISA_PORTABLE; isa < TINE_ISA_COUNT; isa++) {
        const char *obstacle = tine_isa_obstacle(cpu, isa);
        printf("  %-12s%s%s\n", tine_isa_name(isa), obstacle ? "not usable: " : "usable",
               obstacle ? obstacle : "");
    }
}

static void info_blas(void) {
    const char *preset = getenv("OPENBLAS_CORETYPE");
    printf("blas          %s\n", openblas_get_config());
    printf("  core        %s%s%s%s\n", openblas_get_corename(),
           preset ? " (OPENBLAS_CORETYPE=" : "", preset ? preset : "",
           preset ? " in the environment)" : "");
}

static void info_transports(void) {
    const tine_transport_info *info;
    printf("transports\n");
    for (size_t i = 0; (info = tine_transport_info_at(i)); i++) {
        char url[32], why[256];
        snprintf(url, sizeof url, "%s://", info->scheme);
        const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
        printf("  %-12s%s\n", info->scheme, ops ? ops->version() : why);
    }
    const char *obstacle = tine_shm_obstacle();
    printf("  %-12s%s%s\n", "lane",
           obstacle ? "not usable: "
                    : "usable: shared memory with peers on this host, over ipc and tcp",
           obstacle ? obstacle : "");
}

int tine_command_info(int argc, char **argv) {
    static const tine_option options[] = {{0}};
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
        fprintf(stderr, "tine info: %s\n", tine_error_message());
        return 2;
    }
    printf("tine          " TINE_VERSION "\n");
    info_kernels();
    info_blas();
    info_transports();
    tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(&settings, rows, TINE_SETTINGS_MAX);
    printf("settings\n");
    for (size_t i = 0; i < n && i < TINE_SETTINGS_MAX; i++)
        printf("  %-24s%-16s%-13s%s\n", rows[i].variable, rows[i].value, rows[i].origin,
               rows[i].help);
    tine_settings_fini(&settings);
    return 0;
}
