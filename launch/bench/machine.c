/* See machine.h. */
#include "launch/bench/machine.h"

#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kernels/blas.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"
#include "launch/cli/report.h"
#include "runtime/settings/cores.h"
#include "runtime/tine.h"
#include "transport/base/text.h"
#include "transport/transport.h"

/* Of the machine's cores, and of its CPU time: more counts as not quiet. */
static const double load_quiet = 0.25, steal_quiet = 0.01;

/* The first line of a file of the kernel's; false: it cannot be read. */
static bool line_of(const char *path, char *out, size_t size) {
    FILE *f = fopen(path, "re");
    bool good = f && fgets(out, (int)size, f);
    if (f) fclose(f);
    if (good) out[strcspn(out, "\n")] = 0;
    return good;
}

static double load_now(void) {
    char line[128];
    return line_of("/proc/loadavg", line, sizeof line) ? tine_text_double(line, NULL) : -1;
}

/* proc(5): user nice system idle iowait irq softirq steal, in ticks; guest time is in user. */
static void ticks_now(uint64_t *steal, uint64_t *total) {
    char line[512];
    *steal = *total = 0;
    if (!line_of("/proc/stat", line, sizeof line) || strncmp(line, "cpu ", 4)) return;
    char *at = line + 4;
    for (int i = 0; i < 8; i++) {
        uint64_t ticks = strtoull(at, &at, 10);
        *total += ticks;
        if (i == 7) *steal = ticks;
    }
}

void tine_machine_begin(tine_machine_watch *w) {
    w->load = load_now();
    ticks_now(&w->steal, &w->total);
}

static json_object *text_or_null(const char *text) {
    return text && *text ? json_object_new_string(text) : NULL;
}

static json_object *transports_json(void) {
    json_object *o = json_object_new_object();
    const tine_transport_info *info;
    for (size_t i = 0; (info = tine_transport_info_at(i)); i++) {
        char url[32], why[256];
        snprintf(url, sizeof url, "%s://", info->scheme);
        const tine_transport_ops *ops = tine_transport_for(url, why, sizeof why);
        json_object_object_add(o, info->scheme, ops ? text_or_null(ops->version()) : NULL);
    }
    return o;
}

static void add_software(json_object *o) {
    struct utsname name;
    const struct tine_gemm_kernel *f32 = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_F32);
    const struct tine_gemm_kernel *bf16 = tine_gemm_find(TINE_ISA_AUTO, TINE_GEMM_BF16);
    const struct tine_gemm_kernel *int8 = tine_gemm_choose(TINE_ISA_AUTO, TINE_GEMM_INT8);
    const struct tine_blas *blas = tine_blas();
    bool known = uname(&name) == 0;
    json_object_object_add(o, "tine", json_object_new_string(TINE_VERSION));
    json_object_object_add(o, "kernel_f32", text_or_null(f32 ? f32->name : NULL));
    json_object_object_add(o, "kernel_bf16", text_or_null(bf16 ? bf16->name : NULL));
    json_object_object_add(o, "kernel_int8", text_or_null(int8 ? int8->name : NULL));
    json_object_object_add(o, "blas", text_or_null(blas ? blas->openblas_get_config() : NULL));
    json_object_object_add(o, "blas_core",
                           text_or_null(blas ? blas->openblas_get_corename() : NULL));
    json_object_object_add(o, "transports", transports_json());
    json_object_object_add(o, "host", text_or_null(known ? name.nodename : NULL));
    json_object_object_add(o, "linux", text_or_null(known ? name.release : NULL));
    json_object_object_add(o, "libc", text_or_null(gnu_get_libc_version()));
    json_object_object_add(o, "compiler", text_or_null(__VERSION__));
}

static void warn_of_noise(tine_results *r, int cores, double load, double steal,
                          const char *governor) {
    if (load > load_quiet * cores)
        tine_results_warn(r,
                          "the machine was not quiet: a load of %.2f before the run, on %d "
                          "core%s",
                          load, cores, cores == 1 ? "" : "s");
    if (steal > steal_quiet)
        tine_results_warn(r,
                          "the machine was not quiet: its host took %.1f %% of the CPU time "
                          "during the run (steal)",
                          100 * steal);
    if (*governor && strcmp(governor, "performance") != 0)
        tine_results_warn(r, "the clock of the CPUs varies: the governor is %s, not performance",
                          governor);
}

void tine_machine_end(const tine_machine_watch *w, tine_results *r) {
    json_object *o = json_object_new_object();
    char governor[64];
    uint64_t steal, total;
    ticks_now(&steal, &total);
    double taken = total > w->total ? (double)(steal - w->steal) / (double)(total - w->total) : 0;
    if (!line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor,
                 sizeof governor))
        *governor = 0;
    int cores = tine_cores_available();
    json_object_object_add(o, "cpu", text_or_null(tine_cpu()->brand));
    json_object_object_add(o, "cores", json_object_new_int(cores));
    json_object_object_add(o, "cpus", json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_object_add(
        o, "memory_bytes",
        json_object_new_int64((int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE)));
    add_software(o);
    json_object_object_add(o, "governor", text_or_null(governor));
    json_object_object_add(o, "load_before", tine_json_number(w->load, 4));
    json_object_object_add(o, "load_after", tine_json_number(load_now(), 4));
    json_object_object_add(o, "steal_percent", tine_json_number(100 * taken, 4));
    json_object_put(r->machine);
    r->machine = o;
    warn_of_noise(r, cores, w->load, taken, governor);
}
