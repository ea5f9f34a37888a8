/* `tine run -n N PROGRAM`: composes the mpirun command line under which N ranks run well, prints
 * it, and replaces itself by it. What mpirun would refuse in a page of text is refused before, in
 * one sentence.
 *
 * Rank 0 coordinates and sleeps while workers compute, so N ranks need (N - 1) x threads cores. If
 * the ranks take all cores exactly, or those of a batch system's job, each is bound to its own: of
 * a part of a host's cores mpirun takes the first ones, for each job the same. If the coordinator
 * has to share, nothing is bound, and mpirun is told that there are more ranks than slots. More
 * workers x threads than cores needs --oversubscribe. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/command/hosts.h"
#include "launch/command/line.h"
#include "launch/command/login.h"
#include "launch/command/survive.h"
#include "runtime/settings/cores.h"
#include "transport/base/text.h"
#include "transport/launcher.h"
#include "transport/transport.h"

enum { MAX_RANKS = 1 << 16, MAX_THREADS = 4096 };

typedef struct run_plan {
    long ranks, threads;
    int slots; /* cores on all hosts; 0: not known here */
    const char *hosts_text, *hostfile;
    tine_hosts hosts;
    tine_option_pairs mca;
    bool by_srun;
    bool dry, as_root, oversubscribe, survive;
    const char *mpirun;
    tine_line line;
} run_plan;

static int run_fail(int code, const char *text) {
    fprintf(stderr, "tine run: %s\n", text);
    return code;
}

/* Where the ranks are to run. -1: continue. */
static int hosts_find(run_plan *p) {
    char why[400];
    tine_hosts *h = &p->hosts;
    if (p->hosts_text && p->hostfile)
        return run_fail(2, "--hosts and --hostfile exclude each other: give one of them");
    bool good = p->hosts_text ? tine_hosts_parse(h, p->hosts_text, why, sizeof why)
                : p->hostfile ? tine_hosts_file(h, p->hostfile, why, sizeof why)
                              : tine_hosts_allocated(h, why, sizeof why);
    if (good && h->n_items && !h->batch) {
        tine_hosts job = {0};
        good = !tine_hosts_allocated(&job, why, sizeof why) ||
               tine_hosts_within(h, &job, p->oversubscribe, why, sizeof why);
        tine_hosts_fini(&job);
    }
    if (!good) {
        fprintf(stderr, "tine run: %s%s\n", p->hosts_text ? "--hosts: " : "", why);
        return 2;
    }
    if (!p->ranks) p->ranks = h->tasks ? h->tasks : h->batch ? h->cores / p->threads : 0;
    if (!p->ranks) return run_fail(2, "the number of ranks is missing: tine run -n N PROGRAM");
    p->slots = tine_hosts_cores_for(h, (int)p->threads);
    return -1;
}

/* Leaves the program and its arguments in argv[1…]. -1: continue. */
static int plan_parse(run_plan *p, int *argc, char **argv) {
    const tine_option options[] = {
        {"-n", "N",
         "ranks: one coordinator and N-1 workers (default: the tasks of a batch system's job)",
         TINE_OPTION_NUMBER, &p->ranks, 1, MAX_RANKS},
        {"--hosts", "A:4,B:4",
         "run on these hosts, with this many cores of each (without a number: all, which mpirun "
         "finds out; not with --dry-run); also USER@A, h[1-3]:4",
         TINE_OPTION_TEXT, &p->hosts_text, 0, 0},
        {"--hostfile", "FILE", "the same from a file for mpirun: lines [USER@]NAME slots=N",
         TINE_OPTION_TEXT, &p->hostfile, 0, 0},
        {"--threads", "T", "threads of each worker (default: TINE_THREADS, else 1)",
         TINE_OPTION_NUMBER, &p->threads, 1, MAX_THREADS},
        {"--mca", "NAME VALUE", "pass a parameter on to mpirun; at most 16", TINE_OPTION_PAIRS,
         &p->mca, 0, 0},
        {"--survive", NULL,
         "workers over ZeroMQ, which may die and are started again, on hosts that may vanish",
         TINE_OPTION_FLAG, &p->survive, 0, 0},
        {"--oversubscribe", NULL, "allow more workers x threads than cores", TINE_OPTION_FLAG,
         &p->oversubscribe, 0, 0},
        {"--allow-run-as-root", NULL,
         "pass this to mpirun, which refuses to run as root without it", TINE_OPTION_FLAG,
         &p->as_root, 0, 0},
        {"--dry-run", NULL, "print the mpirun line on standard output and stop", TINE_OPTION_FLAG,
         &p->dry, 0, 0},
        {0},
    };
    const tine_usage usage = {
        .name = "run",
        .operands = "PROGRAM [ARGUMENT...]",
        .text = "Starts N ranks of PROGRAM under Open MPI's mpirun: rank 0 coordinates, the others "
                "are\nworkers. Prints the mpirun line on standard error, then runs it. In a job of "
                "Slurm, PBS, LSF\nor Grid Engine it takes the job's hosts; in one of Slurm without "
                "mpirun it composes srun's\nline.\n\nWith --survive the program coordinates on "
                "this host, and N-1 workers join it over tcp:// with a\nkey. One mpirun (in a job "
                "of Slurm: srun) for each host starts them and is started again\nwhen it ends. "
                "The exit status is the program's.",
        .options = options,
        .operands_max = TINE_OPERANDS_PROGRAM};
    const char *threads = getenv("TINE_THREADS");
    int code = tine_arguments_parse(&usage, argc, argv);
    if (code >= 0) return code;
    if (!p->threads && threads) {
        char *end;
        p->threads = strtol(threads, &end, 10);
        if (end == threads || *end || p->threads < 1 || p->threads > MAX_THREADS)
            return run_fail(2, "TINE_THREADS: expected a number of threads from 1 to 4096");
    }
    if (!p->threads) p->threads = 1;
    if (*argc < 2) return run_fail(2, "the program is missing: tine run -n N PROGRAM");
    return hosts_find(p);
}

static bool is_program(const char *path) {
    struct stat st;
    if (access(path, X_OK) || stat(path, &st)) return false;
    errno = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
    return S_ISREG(st.st_mode);
}

static bool path_has(const char *name) {
    char path[4096];
    const char *dirs = getenv("PATH");
    for (const char *at = dirs ? dirs : ""; *at;) {
        int n = (int)strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/%s", n, at, name);
        if (is_program(path)) return true;
        at += n + (at[n] == ':');
    }
    return false;
}

static bool srun_find(run_plan *p) {
    p->by_srun = p->hosts.batch && !strcmp(p->hosts.batch, "Slurm") && path_has("srun");
    if (p->by_srun) p->mpirun = "srun";
    return p->by_srun;
}

/* Sets p->mpirun to Open MPI's; in a job of Slurm, where there is none, to srun. -1: continue. */
static int mpirun_find(run_plan *p) {
    static const char *const names[] = {"mpirun.openmpi", "mpirun", "mpiexec.openmpi"};
    char command[64], text[128], other[128] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(command, sizeof command, "%s --version 2>/dev/null", names[i]);
        FILE *out = popen(command, "r");
        if (!out) continue;
        bool some = fgets(text, sizeof text, out);
        while (some && fgetc(out) != EOF) {
        }
        pclose(out);
        if (!some) continue;
        if (strstr(text, "Open MPI") || strstr(text, "OpenRTE")) {
            p->mpirun = names[i];
            return -1;
        }
        text[strcspn(text, "\n")] = 0;
        snprintf(other, sizeof other, "%s", text);
    }
    if (srun_find(p)) return -1;
    if (!*other)
        return run_fail(1,
                        "mpirun is not installed: install Open MPI (apt-get install openmpi-bin)");
    fprintf(stderr,
            "tine run: the mpirun in PATH is another MPI's (its version is \"%s\"), but mpi:// "
            "needs Open MPI: apt-get install openmpi-bin, which provides mpirun.openmpi\n",
            other);
    return 1;
}

static int program_check(const char *name) {
    if (strchr(name, '/')) {
        if (is_program(name)) return -1;
    } else {
        if (path_has(name)) return -1;
        if (is_program(name)) {
            fprintf(stderr,
                    "tine run: %s is not in PATH; for the one in this directory write ./%s\n", name,
                    name);
            return 1;
        }
    }
    fprintf(stderr, "tine run: %s: %s\n", name, strerror(errno));
    return 1;
}

static bool root_allowed(const run_plan *p) {
    const char *a = getenv("OMPI_ALLOW_RUN_AS_ROOT"), *b = getenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM");
    return geteuid() != 0 || p->as_root || (a && b && !strcmp(a, "1") && !strcmp(b, "1"));
}

/* The cores of hosts without a number: mpirun starts its daemons there to find out. Sets the slots
 * of all; 0: it failed. */
static void slots_query(run_plan *p) {
    char line[512], name[256];
    int n, all = 0;
    char *command =
        tine_text_format("%s %s --display-allocation --host '%s' -n 1 true 2>/dev/null", p->mpirun,
                         p->as_root ? "--allow-run-as-root" : "", p->hosts.list);
    FILE *out = command ? popen(command, "r") : NULL;
    while (out && fgets(line, sizeof line, out)) {
        const char *at = strstr(line, " slots=");
        if (!at || sscanf(at, " slots=%d", &n) != 1 || n < 1) continue;
        all += n;
        p->slots += n / (int)p->threads * (int)p->threads;
        if (sscanf(line, " %255[^: ]", name) == 1) tine_hosts_cores_set(&p->hosts, name, n);
    }
    if (!p->slots) p->slots = all; /* as in tine_hosts_cores_for */
    if (out) pclose(out);
    free(command);
}

static int slots_check(run_plan *p) {
    if (!p->hosts.n) p->slots = tine_cores_available();
    if (p->hosts.list && !p->slots && !p->dry) slots_query(p);
    if (!p->slots || p->oversubscribe) return -1;
    long need = (p->ranks - 1) * p->threads, most = p->slots / p->threads + 1;
    if (need <= p->slots) return -1;
    fprintf(stderr,
            "tine run: %ld ranks are %ld workers of %ld thread%s, but there %s %d core%s: "
            "use -n %ld, or add --oversubscribe, which is slower\n",
            p->ranks, p->ranks - 1, p->threads, p->threads > 1 ? "s" : "",
            p->slots > 1 ? "are" : "is", p->slots, p->slots > 1 ? "s" : "", most);
    return 1;
}

static int plan_check(run_plan *p, const char *program) {
    tine_launcher l;
    char why[512];
    if (tine_launcher_detect(&l) && l.size > 1)
        return run_fail(1, "this process is already a rank of a job: start "
                           "tine run outside of mpirun");
    int code = program_check(program);
    if (code < 0 && !(p->survive && srun_find(p))) code = mpirun_find(p);
    if (code >= 0) return code;
    if (!p->survive && !tine_transport_for("mpi://", why, sizeof why)) return run_fail(1, why);
    if (!p->by_srun && !root_allowed(p))
        return run_fail(1, "mpirun refuses to run as root: become another user, "
                           "or add --allow-run-as-root");
    if (!p->by_srun && !p->survive && !p->dry &&
        !tine_login_check(&p->hosts, &p->mca, program, why, sizeof why))
        return run_fail(1, why);
    return slots_check(p);
}

static bool is_bound(const run_plan *p) {
    long need = p->ranks * p->threads;
    return p->slots && (p->hosts.batch ? need <= p->slots : need == p->slots);
}

/* mpirun fills one host after the other, a slot a rank, whatever PE says: of 2 ranks of 2 threads
 * on a:2,b:2 both came to a, and were refused. */
static void line_add_hosts(run_plan *p) {
    char *list = NULL;
    if (p->threads > 1 && p->hosts.n_items > 1)
        list = tine_hosts_list_for(&p->hosts, (int)p->threads);
    const char *hosts = list && *list ? list : p->hosts.list;
    if (hosts) tine_line_add(&p->line, "--host");
    if (hosts) tine_line_add(&p->line, hosts);
    free(list);
}

static void line_add_placement(run_plan *p) {
    if (is_bound(p)) {
        tine_line_add(&p->line, "--map-by");
        tine_line_add_format(&p->line, "slot:PE=%ld", p->threads);
        tine_line_add(&p->line, "--bind-to");
        tine_line_add(&p->line, "core");
        return;
    }
    long slots = p->hosts.n_items > 1 ? p->slots / p->threads : p->slots;
    if (p->slots ? p->ranks > slots : p->oversubscribe) tine_line_add(&p->line, "--oversubscribe");
    tine_line_add(&p->line, "--bind-to");
    tine_line_add(&p->line, "none");
}

/* The coordinator shares a core where there is none for it. */
static void line_compose_srun(run_plan *p) {
    tine_line *l = &p->line;
    char *names = p->hosts.list ? tine_hosts_names(&p->hosts) : NULL;
    tine_line_add(l, "--mpi=pmix");
    if (names) {
        tine_line_add(l, "-N");
        tine_line_add_format(l, "%d", p->hosts.n_items);
        tine_line_add(l, "-w");
        tine_line_add(l, names);
    }
    free(names);
    tine_line_add(l, "-n");
    tine_line_add_format(l, "%ld", p->ranks);
    if (p->threads > 1) {
        tine_line_add(l, "-c");
        tine_line_add_format(l, "%ld", p->threads);
    }
    if (!p->slots || p->ranks * p->threads > p->slots) tine_line_add(l, "--overcommit");
}

static void line_compose_mpirun(run_plan *p) {
    tine_line *l = &p->line;
    if (p->as_root) tine_line_add(l, "--allow-run-as-root");
    tine_line_add(l, "-n");
    tine_line_add_format(l, "%ld", p->ranks);
    line_add_hosts(p);
    line_add_placement(p);
    tine_line_add_network(l, &p->hosts, p->hosts.n > 0, &p->mca);
    if (p->hosts.list) tine_line_add_environment(l);
}

static void line_compose(run_plan *p, char **program) {
    tine_line_key_provide(getenv("TINE_ENDPOINT"));
    tine_line_add(&p->line, p->mpirun);
    if (p->by_srun)
        line_compose_srun(p);
    else
        line_compose_mpirun(p);
    tine_line_add_all(&p->line, program);
}

/* This process becomes the launcher. */
static int plan_execute(run_plan *p, char **program) {
    line_compose(p, program);
    if (p->line.failed) return run_fail(1, "no memory");
    tine_line_print(&p->line, p->dry ? stdout : stderr);
    if (p->slots && p->ranks > p->slots && p->ranks - 1 <= p->slots / p->threads)
        fprintf(stderr,
                "tine run: %ld ranks on %d cores: the coordinator shares a core with a worker, and "
                "sleeps while it waits\n",
                p->ranks, p->slots);
    if (p->dry) return 0;
    execvp(p->mpirun, p->line.words);
    fprintf(stderr, "tine run: %s: %s\n", p->mpirun, strerror(errno));
    return 1;
}

static int plan_survive(const run_plan *p, char **program) {
    return tine_survive(&(tine_survive_plan){.launcher = p->mpirun,
                                             .by_srun = p->by_srun,
                                             .as_root = p->as_root,
                                             .dry = p->dry,
                                             .workers = p->ranks - 1,
                                             .threads = p->threads,
                                             .hosts = &p->hosts,
                                             .mca = &p->mca,
                                             .program = program});
}

int tine_command_run(int argc, char **argv) {
    run_plan p = {0};
    char count[32];
    int code = plan_parse(&p, &argc, argv);
    if (code < 0) code = plan_check(&p, argv[1]);
    if (code >= 0) return code;
    snprintf(count, sizeof count, "%ld", p.threads);
    if (p.threads > 1) setenv("TINE_THREADS", count, 1);
    code = p.survive ? plan_survive(&p, argv + 1) : plan_execute(&p, argv + 1);
    tine_line_fini(&p.line);
    tine_hosts_fini(&p.hosts);
    return code;
}
