/* Settings: the order of the sources, and the messages for invalid values. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/settings/cores.h"
#include "runtime/settings/settings.h"
#include "tests/support/capture.h"
#include "transport/base/log.h"

#define N(a) (sizeof(a) / sizeof *(a))

static tine_settings resolved(const tine_options *o, int *argc, char **argv) {
    tine_settings s;
    cr_assert_eq(tine_settings_resolve(&s, o, argc, argv), TINE_OK, "%s", tine_error_message());
    return s;
}

static const char *origin_of(const tine_settings *s, const char *name) {
    tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(s, rows, N(rows));
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0) return rows[i].origin;
    cr_assert_fail("no setting %s", name);
    return NULL;
}

static const char *value_of(const tine_settings *s, const char *name) {
    static tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(s, rows, N(rows));
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0) return rows[i].value;
    cr_assert_fail("no setting %s", name);
    return NULL;
}

Test(settings, defaults, .timeout = 20) {
    tine_settings s = resolved(NULL, NULL, NULL);
    cr_expect_null(s.endpoint);
    cr_expect_eq(s.workers, tine_cores_available());
    cr_expect_eq(s.await_workers, s.workers);
    cr_expect_eq(s.threads, 1);
    cr_expect_eq(s.stack_size, 256 << 10);
    cr_expect_eq(s.max_pending, 131072);
    cr_expect_eq(s.max_pending_bytes, (size_t)1 << 30);
    cr_expect_eq(s.max_frame, (size_t)64 << 30);
    cr_expect_gt(s.max_memory, 1 << 20, "a part of what this process may use");
    cr_expect_eq(s.retries, 3);
    cr_expect_eq(s.connect_timeout, 30);
    cr_expect_eq(s.heartbeat, 1);
    cr_expect_eq(s.grace, 25);
    cr_expect_eq(s.rejoin, 0);
    cr_expect_eq(s.lane, 1);
    cr_expect_eq(s.log_level, TINE_LOG_WARN);
    cr_expect_null(s.trace);
    cr_expect(!s.security && !s.key_file && !s.key);
    cr_expect_null(s.worker);
    cr_expect_str_eq(s.token, "");
    tine_setting_row rows[TINE_SETTINGS_MAX];
    size_t n = tine_settings_rows(&s, rows, N(rows));
    cr_expect_eq(n, 26);
    cr_expect_gt(s.arena, 0);
    cr_expect_eq(s.stay_bytes, 64 << 10);
    for (size_t i = 0; i < n; i++) cr_expect_str_eq(rows[i].origin, "default");
    tine_settings_fini(&s);
    tine_settings_fini(&s);
}

Test(settings, the_command_line_is_over_the_environment_is_over_the_program, .timeout = 20) {
    tine_options o = {
        .workers = 2, .threads = 2, .retries = 5, .log_level = "error", .endpoint = "tcp://a:1"};
    setenv("TINE_THREADS", "3", 1);
    setenv("TINE_RETRIES", "6", 1);
    setenv("TINE_ENDPOINT", "", 1);
    char *argv[] = {"program", "--tine-retries=7", "input", "--tine-stack-size=1M",
                    "--",      "--tine-workers=x", NULL};
    int argc = N(argv) - 1;
    tine_settings s = resolved(&o, &argc, argv);
    cr_expect_eq(s.workers, 2);
    cr_expect_str_eq(origin_of(&s, "workers"), "program");
    cr_expect_eq(s.threads, 3);
    cr_expect_str_eq(origin_of(&s, "threads"), "environment");
    cr_expect_eq(s.retries, 7);
    cr_expect_str_eq(origin_of(&s, "retries"), "command line");
    cr_expect_eq(s.stack_size, 1 << 20);
    cr_expect_eq(s.log_level, TINE_LOG_ERROR);
    cr_expect_str_eq(s.endpoint, "tcp://a:1", "an empty variable counts as none");
    cr_assert_eq(argc, 4);
    cr_expect_str_eq(argv[1], "input");
    cr_expect_str_eq(argv[2], "--");
    cr_expect_str_eq(argv[3], "--tine-workers=x");
    cr_expect_null(argv[4]);
    tine_settings_fini(&s);
}

Test(settings, no_workers_here, .timeout = 20) {
    tine_options o = {.workers = -1, .await_workers = 3, .retries = -1};
    tine_settings s = resolved(&o, NULL, NULL);
    cr_expect_eq(s.workers, 0);
    cr_expect_eq(s.await_workers, 3);
    cr_expect_eq(s.retries, 0);
    tine_settings_fini(&s);
    setenv("TINE_WORKERS", "0", 1);
    s = resolved(NULL, NULL, NULL);
    cr_expect_eq(s.workers, 0);
    cr_expect_eq(s.await_workers, 0);
    tine_settings_fini(&s);
}

/* A size is unsigned: -1 is its largest value. */
Test(settings, minus_one_is_zero_for_each_number_that_may_be_zero, .timeout = 20) {
    tine_options o = {.max_memory = (size_t)-1, .arena = (size_t)-1, .trace_seconds = -1};
    tine_settings s = resolved(&o, NULL, NULL);
    cr_expect_eq(s.max_memory, 0);
    cr_expect_eq(s.arena, 0);
    cr_expect_eq(s.trace_seconds, 0);
    tine_settings_fini(&s);
    o = (tine_options){.max_frame = (size_t)-1};
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
}

Test(settings, workers_times_threads_fit_the_cores, .timeout = 20) {
    setenv("TINE_THREADS", "1024", 1);
    tine_settings s = resolved(NULL, NULL, NULL);
    cr_expect_eq(s.workers, 1);
    tine_settings_fini(&s);
    setenv("SLURM_CPUS_ON_NODE", "1", 1);
    if (tine_cores_available() > 1) setenv("SLURM_JOB_ID", "7", 1);
    cr_expect_eq(tine_cores_available(), 1);
    setenv("SLURM_CPUS_ON_NODE", "100000", 1);
    setenv("SLURM_CPUS_PER_TASK", "1", 1);
    cr_expect_eq(tine_cores_available(), 1);
    setenv("SLURM_CPUS_PER_TASK", "none", 1);
    unsetenv("SLURM_CPUS_ON_NODE");
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_expect_eq(tine_cores_available(), 1);
}

Test(settings, sizes_and_seconds, .timeout = 20) {
    const struct {
        const char *text, *shown;
        size_t size;
    } good[] = {{"65536", "64K", 65536},         {"64k", "64K", 65536},
                {"1000000", "1000000", 1000000}, {"3M", "3M", 3 << 20},
                {"2G", "2G", (size_t)2 << 30},   {"1T", "1T", (size_t)1 << 40},
                {"1536K", "1536K", 1536 << 10}};
    for (size_t i = 0; i < N(good); i++) {
        setenv("TINE_MAX_FRAME", good[i].text, 1);
        tine_settings s = resolved(NULL, NULL, NULL);
        cr_expect_eq(s.max_frame, good[i].size, "%s", good[i].text);
        cr_expect_str_eq(value_of(&s, "max-frame"), good[i].shown);
        tine_settings_fini(&s);
    }
    setenv("TINE_HEARTBEAT", "0.25", 1);
    setenv("TINE_CONNECT_TIMEOUT", "2.000001", 1);
    tine_settings s = resolved(NULL, NULL, NULL);
    cr_expect_eq(s.heartbeat, 0.25);
    cr_expect_str_eq(value_of(&s, "heartbeat"), "0.25");
    cr_expect_str_eq(value_of(&s, "connect-timeout"), "2.000001");
    tine_settings_fini(&s);
}

static void refused(const char *variable, const char *text, const char *sentence) {
    setenv(variable, text, 1);
    tine_settings s = {.workers = 4711};
    cr_expect_eq(tine_settings_resolve(&s, NULL, NULL, NULL), TINE_EINVAL, "%s=%s", variable, text);
    cr_expect_eq(s.workers, 4711, "nothing is written on failure");
    cr_expect_str_eq(tine_error_message(), sentence);
    unsetenv(variable);
}

Test(settings, what_is_wrong_is_refused_by_name, .timeout = 20) {
    refused("TINE_WORKERS", "abc", "TINE_WORKERS=abc: expected a whole number from 0 to 4096");
    refused("TINE_WORKERS", "4097", "TINE_WORKERS=4097: expected a whole number from 0 to 4096");
    refused("TINE_WORKERS", "-1", "TINE_WORKERS=-1: expected a whole number from 0 to 4096");
    refused("TINE_WORKERS", " 1", "TINE_WORKERS= 1: expected a whole number from 0 to 4096");
    refused("TINE_WORKERS", "1.5", "TINE_WORKERS=1.5: expected a whole number from 0 to 4096");
    refused("TINE_WORKERS", "99999999999999999999",
            "TINE_WORKERS=99999999999999999999: expected a whole number from 0 to 4096");
    refused("TINE_STACK_SIZE", "1K",
            "TINE_STACK_SIZE=1K: expected a whole number from 16K to 1T (K, M, G, T: 1024s)");
    refused("TINE_STACK_SIZE", "64KB",
            "TINE_STACK_SIZE=64KB: expected a whole number from 16K to 1T (K, M, G, T: 1024s)");
    refused(
        "TINE_STACK_SIZE", "99999999T",
        "TINE_STACK_SIZE=99999999T: expected a whole number from 16K to 1T (K, M, G, T: 1024s)");
    refused("TINE_HEARTBEAT", "nan", "TINE_HEARTBEAT=nan: expected seconds from 0.01 to 3600");
    refused("TINE_HEARTBEAT", "1e3", "TINE_HEARTBEAT=1e3: expected seconds from 0.01 to 3600");
    refused("TINE_HEARTBEAT", "0", "TINE_HEARTBEAT=0: expected seconds from 0.01 to 3600");
    refused("TINE_LOG_LEVEL", "loud", "TINE_LOG_LEVEL=loud: expected error, warn, info or debug");
    refused("TINE_LANE", "0", "TINE_LANE=0: expected on or off");
    refused("TINE_RETRIES", "-1", "TINE_RETRIES=-1: expected a whole number from 0 to 1000");
}

static void refused_argument(const char *argument, const char *sentence) {
    char copy[64];
    snprintf(copy, sizeof copy, "%s", argument);
    char *argv[] = {"program", copy, "rest", NULL};
    int argc = 3;
    tine_settings s = {.workers = 4711};
    cr_expect_eq(tine_settings_resolve(&s, NULL, &argc, argv), TINE_EINVAL);
    cr_expect_str_eq(tine_error_message(), sentence);
    cr_expect(argc == 3 && argv[1] == copy, "argv is as before");
}

Test(settings, arguments_that_are_wrong, .timeout = 20) {
    refused_argument("--tine-workers=", "--tine-workers=: expected a whole number from 0 to 4096");
    refused_argument("--tine-workers", "--tine-workers: expected --tine-workers=VALUE");
    refused_argument("--tine-wrokers=3",
                     "--tine-wrokers=3: no such setting; the nearest is --tine-workers=VALUE");
    refused_argument("--tine-log=3",
                     "--tine-log=3: no such setting; the nearest is --tine-log-level=VALUE");
    refused_argument("--tine-max_frame=3",
                     "--tine-max_frame=3: no such setting; the nearest is --tine-max-frame=VALUE");
    refused_argument("--tine-", "--tine-: no such setting; the nearest is --tine-lane=VALUE");
}

Test(settings, a_struct_that_is_wrong, .timeout = 20) {
    tine_settings s = {0};
    tine_options o = {.workers = 5000};
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
    cr_expect_str_eq(tine_error_message(),
                     "tine_options.workers=5000: expected a whole number from 0 to 4096");
    o = (tine_options){.heartbeat = -2};
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
    o = (tine_options){.log_level = "x"};
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
    cr_expect_str_eq(tine_error_message(),
                     "tine_options.log_level=x: expected error, warn, info or debug");
    o = (tine_options){.stack_size = 7};
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
    o = (tine_options){.slots = "gpu=2,gpu"};
    cr_expect_eq(tine_settings_resolve(&s, &o, NULL, NULL), TINE_EINVAL);
    cr_expect_str_eq(tine_error_message(),
                     "tine_options.slots=gpu=2,gpu: a resource is named twice");
}

Test(settings, a_worker_inherits_what_its_coordinator_was_given, .timeout = 20) {
    char *argv[] = {"program",
                    "--tine-stack-size=1M",
                    "--tine-heartbeat=0.5",
                    "--tine-lane=off",
                    "--tine-labels=big,left",
                    "--tine-slots=gpu=2",
                    "--tine-log-level=debug",
                    "--tine-trace=x.json",
                    NULL};
    int argc = N(argv) - 1;
    tine_settings s = resolved(NULL, &argc, argv);
    char **environment = tine_settings_forward(&s);
    cr_assert_not_null(environment);
    for (char **v = environment; *v; v++) cr_assert_eq(putenv(*v), 0);
    setenv("TINE_WORKER", "ipc:///x", 1);
    setenv("TINE_TOKEN", "abc.1", 1);
    tine_settings worker = resolved(NULL, NULL, NULL);
    cr_expect_eq(worker.stack_size, 1 << 20);
    cr_expect_eq(worker.heartbeat, 0.5);
    cr_expect_eq(worker.lane, 0);
    cr_expect_eq(worker.log_level, TINE_LOG_DEBUG);
    cr_expect_str_eq(worker.labels, "big,left");
    cr_expect_str_eq(worker.slots, "gpu=2");
    cr_expect_null(worker.trace, "the coordinator writes it");
    cr_expect_str_eq(worker.worker, "ipc:///x");
    cr_expect_str_eq(worker.token, "abc.1");
    for (char **v = environment; *v; v++) {
        (*v)[strcspn(*v, "=")] = 0;
        unsetenv(*v);
    }
    tine_settings_forward_free(environment);
    tine_settings_fini(&s);
    tine_settings_fini(&worker);
}

/* ---- unknown variables ---- */

static void warn_unknown(void) {
    tine_log_level_set(TINE_LOG_INFO);
    tine_settings_warn_unknown();
}

static void warn_misspelt(void) {
    tine_log_level_set(TINE_LOG_WARN);
    tine_settings_warn_unknown();
}

Test(settings, a_misspelt_variable_is_a_warning_with_the_nearest_name, .timeout = 20) {
    setenv("TINE_THRAEDS", "3", 1);
    setenv("TINE_OF_THE_PROGRAMS_OWN", "3", 1);
    char *text = capture_standard_error(warn_misspelt);
    cr_expect_eq(capture_count(text, "TINE_THRAEDS: no such setting; it is ignored; the nearest is "
                                     "TINE_THREADS"),
                 1, "%s", text);
    cr_expect_eq(capture_count(text, "TINE_OF_THE_PROGRAMS_OWN"), 0, "%s", text);
    free(text);
}

Test(settings, unknown_variables_are_logged_at_level_info, .timeout = 20) {
    setenv("TINE_WROKERS", "3", 1);
    setenv("TINE_WORKERS", "3", 1);
    setenv("TINE_KERNEL", "avx2", 1);
    char *text = capture_standard_error(warn_unknown);
    cr_expect_eq(capture_count(text, "environment variable TINE_WROKERS: no such setting"), 1, "%s",
                 text);
    cr_expect_eq(capture_count(text, "variable TINE_WORKERS"), 0);
    cr_expect_eq(capture_count(text, "TINE_KERNEL"), 0);
    free(text);
}
