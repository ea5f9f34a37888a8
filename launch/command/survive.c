/* See survive.h.
 *
 * The program listens at a tcp:// endpoint that the hosts can reach. On each host mpirun or srun
 * starts one `tine supervise`, which starts the host's workers, replaces those that die, and ends
 * with status 0. Nobody calls MPI_Init, so Open MPI does not end the job with a process. */
#include "launch/command/survive.h"

#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch/command/line.h"
#include "launch/command/reach.h"
#include "launch/command/survive_watch.h"
#include "launch/internal.h"
#include "transport/base/process.h"
#include "transport/base/text.h"

typedef struct survive_host {
    const char *name;
    int cores;
    long workers;
    tine_reach_address address; /* of the starting host, on the way to this one */
    tine_line line;
} survive_host;

typedef struct survive_job {
    const tine_survive_plan *plan;
    survive_host *hosts;
    int n;
    char *endpoint; /* the program's */

    int reserved, port;
    char command[PATH_MAX]; /* this executable */
    tine_presence presence;
    int presence_port;
} survive_job;

static int survive_refuse(const char *format, const char *a, const char *b) {
    fprintf(stderr, "tine run: ");
    fprintf(stderr, format, a, b);
    fputc('\n', stderr);
    return 2;
}

/* ---- hosts ---- */

/* Without a list: this host. */
static int hosts_take(survive_job *j) {
    const tine_hosts *from = j->plan->hosts;
    j->n = from->n_items ? from->n_items : 1;
    j->hosts = calloc((size_t)j->n, sizeof *j->hosts);
    if (!j->hosts) return survive_refuse("no memory%s%s", "", "");
    j->hosts[0] = (survive_host){.name = "localhost", .cores = 1};
    for (int i = 0; i < from->n_items; i++) {
        j->hosts[i].name = from->items[i].name;
        j->hosts[i].cores = from->items[i].cores;
        if (!j->hosts[i].cores)
            return survive_refuse("the cores of the host %s are not known: write %s:CORES",
                                  j->hosts[i].name, j->hosts[i].name);
    }
    return -1;
}

/* Fills one host after the other, as mpirun does; with more workers than cores again from the
 * first. */
static void hosts_fill(survive_job *j) {
    for (long left = j->plan->workers; left > 0;)
        for (int i = 0; i < j->n && left > 0; i++) {
            long some = j->hosts[i].cores / j->plan->threads;
            if (some < 1) some = 1;
            if (some > left) some = left;
            j->hosts[i].workers += some;
            left -= some;
        }
}

/* ---- the endpoint ---- */

/* The one that the program's arguments or the environment set; NULL: none. */
static const char *endpoint_given(const survive_job *j) {
    static const char option[] = "--tine-endpoint=";
    const char *found = getenv("TINE_ENDPOINT");
    for (char **a = j->plan->program + 1; *a && strcmp(*a, "--"); a++)
        if (!strncmp(*a, option, strlen(option))) found = *a + strlen(option);
    return found && *found ? found : NULL;
}

/* Workers on all hosts connect to the same text. */
static int endpoint_check(survive_job *j, const char *url) {
    unsigned flags = tine_transport_flags(url);
    const char *host = url + strlen("tcp://");
    char name[IF_NAMESIZE];
    if (flags & TINE_TRANSPORT_RANKS)
        return survive_refuse("endpoint %s: with --survive workers join over tcp://: %s", url,
                              "unset it, or leave out --survive");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(host, ":"),
             flags & TINE_TRANSPORT_REMOTE ? host : "");
    if (!(flags & TINE_TRANSPORT_REMOTE) || !tine_url_is_common(url) || *host == '*' ||
        if_nametoindex(name))
        return survive_refuse("endpoint %s: the hosts of this job cannot connect to it: %s", url,
                              "name an address of this host, tcp://ADDRESS:PORT, or none");
    j->endpoint = strdup(url);
    return j->endpoint ? -1 : survive_refuse("no memory%s%s", "", "");
}

/* Listens at the address that all hosts can reach or, if they need several, at all addresses. */
static int endpoint_choose(survive_job *j) {
    const char *common = NULL;
    char why[256];
    bool several = false;
    for (int i = 0; i < j->n; i++) {
        tine_reach_address *a = &j->hosts[i].address;
        if (!tine_reach(j->hosts[i].name, a, why, sizeof why))
            return survive_refuse("%s; %s", why,
                                  "set TINE_ENDPOINT=tcp://ADDRESS:PORT, an address of this host");
        if (a->loopback) continue;
        several = several || (common && strcmp(common, a->text));
        if (!common) common = a->text;
    }
    for (int i = 0; common && i < j->n; i++)
        if (j->hosts[i].address.loopback)
            snprintf(j->hosts[i].address.text, sizeof j->hosts[i].address.text, "%s", common);
    if (!tine_reach_port(&j->reserved, &j->port))
        return survive_refuse("there is no free port for tcp://%s%s", "", "");
    j->endpoint = tine_text_format("tcp://%s:%d",
                                   several  ? "*"
                                   : common ? common
                                            : "127.0.0.1",
                                   j->port);
    return j->endpoint ? -1 : survive_refuse("no memory%s%s", "", "");
}

/* Supervisors connect to the same address, at a port of their own. */
static int presence_listen(survive_job *j) {
    char why[256];
    char *url =
        tine_text_format("%.*s:*", (int)(strrchr(j->endpoint, ':') - j->endpoint), j->endpoint);
    if (!url) return survive_refuse("no memory%s%s", "", "");
    bool listens = tine_presence_listen(&j->presence, url, j->n, why, sizeof why);
    free(url);
    if (!listens) return survive_refuse("endpoint %s: %s", j->endpoint, why);
    j->presence_port = tine_presence_port(&j->presence);
    return -1;
}

/* ---- the command lines ---- */

static void line_launch_mpirun(const survive_job *j, survive_host *h) {
    tine_line_add(&h->line, "-q"); /* the watcher reports in one line what ends */
    if (j->plan->as_root) tine_line_add(&h->line, "--allow-run-as-root");
    tine_line_add(&h->line, "-n");
    tine_line_add(&h->line, "1");
    tine_line_add(&h->line, "--host");
    tine_line_add_format(&h->line, "%s:1", h->name);
    tine_line_add(&h->line, "--bind-to");
    tine_line_add(&h->line, "none");
    tine_line_add_network(&h->line, j->plan->hosts, true, j->plan->mca);
    tine_line_add_environment(&h->line);
}

/* The step shares the job's cores with others, and the job goes on without it. */
static void line_launch_srun(survive_host *h) {
    static const char *const first[] = {"-Q",       "--mpi=none", "--overlap", "--input=none",
                                        "--wait=0", "-K0",        "-N",        "1",
                                        "-n",       "1",          "-w"};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) tine_line_add(&h->line, first[i]);
    tine_line_add(&h->line, h->name);
    tine_line_add(&h->line, "-c");
    tine_line_add_format(&h->line, "%d", h->cores);
}

static void line_add_job(const survive_job *j, survive_host *h, int number) {
    if (!j->presence.transport) return;
    tine_line_add(&h->line, "--job");
    if (j->port)
        tine_line_add_format(&h->line, "tcp://%s:%d,%d", h->address.text, j->presence_port, number);
    else
        tine_line_add_format(&h->line, "%.*s:%d,%d", (int)(strrchr(j->endpoint, ':') - j->endpoint),
                             j->endpoint, j->presence_port, number);
}

static bool line_launch(const survive_job *j, survive_host *h, int number) {
    tine_line_add(&h->line, j->plan->launcher);
    if (j->plan->by_srun)
        line_launch_srun(h);
    else
        line_launch_mpirun(j, h);
    tine_line_add(&h->line, j->command);
    tine_line_add(&h->line, "supervise");
    tine_line_add(&h->line, "-n");
    tine_line_add_format(&h->line, "%ld", h->workers);
    tine_line_add(&h->line, "--threads");
    tine_line_add_format(&h->line, "%ld", j->plan->threads);
    line_add_job(j, h, number);
    if (j->port)
        tine_line_add_format(&h->line, "tcp://%s:%d", h->address.text, j->port);
    else
        tine_line_add(&h->line, j->endpoint);
    tine_line_add_all(&h->line, j->plan->program);
    return !h->line.failed;
}

/* The program's: it starts no workers and waits for those of the hosts. */
static bool variables_make(const survive_job *j, tine_line *out) {
    if (j->port) tine_line_add_format(out, "TINE_ENDPOINT=%s", j->endpoint);
    tine_line_add(out, "TINE_WORKERS=0");
    if (!getenv("TINE_AWAIT_WORKERS"))
        tine_line_add_format(out, "TINE_AWAIT_WORKERS=%ld", j->plan->workers);
    return !out->failed;
}

static void lines_print(const survive_job *j, const tine_line *variables, FILE *to) {
    tine_line program = {0};
    tine_line_add_all(&program, variables->words);
    tine_line_add_all(&program, j->plan->program);
    tine_line_print(&program, to);
    for (int i = 0; i < j->n; i++)
        if (j->hosts[i].workers) tine_line_print(&j->hosts[i].line, to);
    tine_line_fini(&program);
}

/* ---- the job ---- */

enum { MOST_WORKERS = 4096 }; /* of one supervisor */

/* mpirun and srun look through the arguments of the program, and there is no way to quote them. */
static int arguments_check(const survive_job *j) {
    for (char **a = j->plan->program + 1; *a; a++)
        if (!strcmp(*a, ":") ||
            (!j->plan->by_srun && (!strcmp(*a, "--mca") || !strcmp(*a, "-mca"))))
            return survive_refuse("the program's argument \"%s\" would be taken by %s: "
                                  "give it to the program in another way",
                                  *a, j->plan->launcher);
    for (int i = 0; i < j->n; i++)
        if (j->hosts[i].workers > MOST_WORKERS)
            return survive_refuse("more than 4096 workers on the host %s%s", j->hosts[i].name, "");
    return -1;
}

static int survive_prepare(survive_job *j) {
    if (j->plan->workers < 1)
        return survive_refuse("one process has no workers: use -n 2%s%s", " or more", "");
    int code = hosts_take(j);
    if (code >= 0) return code;
    if (!tine_process_executable(j->command, sizeof j->command))
        return survive_refuse("the path of this command cannot be read%s%s", "", "");
    hosts_fill(j);
    code = arguments_check(j);
    if (code >= 0) return code;
    const char *given = endpoint_given(j);
    return given ? endpoint_check(j, given) : endpoint_choose(j);
}

static int survive_run(survive_job *j) {
    tine_line variables = {0};
    tine_survive_host *watched = calloc((size_t)j->n, sizeof *watched);
    int n = 0, code = -1;
    bool good = watched;
    tine_line_key_provide(j->endpoint);
    if (!j->plan->dry && (code = presence_listen(j)) >= 0) good = false;
    for (int i = 0; good && i < j->n; i++) {
        survive_host *h = &j->hosts[i];
        if (!h->workers) continue;
        good = line_launch(j, h, n);
        watched[n++] = (tine_survive_host){.name = h->name, .line = h->line.words};
    }
    if (code < 0 && (!good || !variables_make(j, &variables))) {
        code = survive_refuse("no memory%s%s", "", "");
    } else if (code < 0) {
        lines_print(j, &variables, j->plan->dry ? stdout : stderr);
        code = j->plan->dry ? 0
                            : tine_survive_watch(watched, n, &j->presence, j->plan->program,
                                                 variables.words);
    }
    tine_line_fini(&variables);
    free(watched);
    return code;
}

int tine_survive(const tine_survive_plan *plan) {
    survive_job j = {.plan = plan, .reserved = -1};
    int code = survive_prepare(&j);
    if (code < 0) code = survive_run(&j);
    for (int i = 0; i < j.n && j.hosts; i++) tine_line_fini(&j.hosts[i].line);
    tine_presence_fini(&j.presence);
    if (j.reserved >= 0) close(j.reserved);
    free(j.hosts);
    free(j.endpoint);
    return code;
}
