/* When any process of a job is killed, the job ends within 30 s with a status other than 0, says
 * which rank was lost, and leaves no process, no shared memory and no session directory. Each test
 * counts the death that it caused. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/mpirun.h"
#include "tests/support/process.h"

enum { RANKS = 3, START_SECONDS = 60, END_SECONDS = 30 }; /* the ranks last 60 */

typedef struct job {
    pid_t mpirun, ranks[RANKS];
    char id[32]; /* in hexadecimal, as in the names of shared memory */
    int out;
    char tmp[64], text[1 << 16];
    size_t n;
    double killed;
    int status;
} job;

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void become_mpirun(const job *j, int out, char *const args[]) {
    char program[512];
    const char *argv[16] = {"mpirun", "--oversubscribe", "-n", "3"};
    int n = 4;
    snprintf(program, sizeof program, "%s/mpi/death", tine_program_build());
    if (geteuid() == 0) argv[n++] = "--allow-run-as-root";
    argv[n++] = program;
    while (*args) argv[n++] = *args++;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    setenv("TMPDIR", j->tmp, 1);
    setenv("TINE_MODULE_DIR", tine_program_build(), 1);
    setpgid(0, 0);
    dup2(out, 1);
    dup2(out, 2);
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

static job *start(char *const args[]) {
    tine_need_mpirun();
    job *j = calloc(1, sizeof *j);
    int ends[2];
    snprintf(j->tmp, sizeof j->tmp, "/tmp/tine-death-XXXXXX");
    cr_assert(mkdtemp(j->tmp) && pipe(ends) == 0);
    j->mpirun = fork();
    if (j->mpirun == 0) {
        close(ends[0]);
        become_mpirun(j, ends[1], args);
    }
    close(ends[1]);
    j->out = ends[0];
    return j;
}
#define START(...) start((char *[]){__VA_ARGS__, NULL})

/* More of the job's output; false at its end or at the time limit. */
static bool more(job *j, double until) {
    struct pollfd p = {.fd = j->out, .events = POLLIN};
    double left = until - now();
    if (left <= 0 || poll(&p, 1, (int)(left * 1000) + 1) != 1) return false;
    ssize_t n = read(j->out, j->text + j->n, sizeof j->text - 1 - j->n);
    if (n <= 0) return false;
    j->n += (size_t)n;
    return true;
}

static int count(const job *j, const char *what) {
    int n = 0;
    for (const char *at = j->text; (at = strstr(at, what)); at++) n++;
    return n;
}

static void learn(job *j) {
    for (const char *at = j->text; (at = strstr(at, "rank ")); at++) {
        int rank, pid;
        char id[32];
        if (sscanf(at, "rank %d %d %31[0-9a-f]", &rank, &pid, id) != 3 || rank < 0 || rank >= RANKS)
            continue;
        j->ranks[rank] = pid;
        snprintf(j->id, sizeof j->id, "%s", id);
    }
}

static void until_held(job *j, int tasks) {
    double until = now() + START_SECONDS;
    while (count(j, "held ") < tasks && more(j, until)) {
    }
    learn(j);
    cr_assert_eq(count(j, "held "), tasks, "the job did not start: %s", j->text);
    for (int i = 0; i < RANKS; i++)
        cr_assert_neq(j->ranks[i], 0, "rank %d did not identify itself: %s", i, j->text);
}

static void strike(job *j, pid_t pid, int signal) {
    j->killed = now();
    cr_assert_eq(kill(pid, signal), 0, "%s", strerror(errno));
}

/* A zombie is dead: who reaps it is its parent's affair. */
static bool alive(pid_t pid) {
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    int got = fscanf(f, "%*d (%*[^)]) %c", &state);
    fclose(f);
    return got == 1 && state != 'Z' && state != 'X';
}

/* Returns when the process has ended, or at the time limit. */
static void await_end(pid_t pid, double until) {
    int pidfd = process_open(pid);
    double left = until - now();
    if (pidfd < 0) return;
    process_ends(pidfd, left > 0 ? (int)(left * 1000) + 1 : 0);
    close(pidfd);
}

static void await_ranks(const job *j) {
    for (int i = 0; i < RANKS; i++) await_end(j->ranks[i], j->killed + END_SECONDS);
}

static const char *shared_memory_of(const job *j) {
    static char name[300];
    char mark[40];
    DIR *d = opendir("/dev/shm");
    snprintf(mark, sizeof mark, ".%s.", j->id);
    name[0] = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        if (strstr(e->d_name, mark)) snprintf(name, sizeof name, "%s", e->d_name);
    if (d) closedir(d);
    return name;
}

static const char *file_in(const char *dir) {
    static char name[300];
    DIR *d = opendir(dir);
    name[0] = 0;
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') snprintf(name, sizeof name, "%s", e->d_name);
    if (d) closedir(d);
    return name;
}

/* Waits for the end of mpirun and of all ranks, and looks at what they left. */
static void over(job *j) {
    double until = j->killed + END_SECONDS;
    while (more(j, until)) {
    }
    await_ranks(j);
    await_end(j->mpirun, until);
    pid_t reaped = waitpid(j->mpirun, &j->status, WNOHANG);
    double took = now() - j->killed;
    if (!reaped) kill(j->mpirun, SIGKILL);
    for (int i = 0; i < RANKS; i++) {
        cr_expect(!alive(j->ranks[i]), "rank %d is still there after %.1f s: %s", i, took, j->text);
        if (alive(j->ranks[i])) kill(j->ranks[i], SIGKILL);
    }
    cr_expect(reaped == j->mpirun, "mpirun is still there after %.1f s: %s", took, j->text);
    cr_expect(!WIFEXITED(j->status) || WEXITSTATUS(j->status) != 0, "mpirun's status is 0: %s",
              j->text);
    cr_expect_str_empty(shared_memory_of(j), "left in /dev/shm");
    cr_expect_str_empty(file_in(j->tmp), "left in TMPDIR");
    fprintf(stderr, "1 death caused, the job ended after %.2f s\n", took);
    close(j->out);
    rmdir(j->tmp);
    free(j);
}

static void names_rank(const job *j, int rank) {
    char mpirun[64], ours[64];
    snprintf(mpirun, sizeof mpirun, "process rank %d with PID", rank);
    snprintf(ours, sizeof ours, "rank %d (pid %d", rank, (int)j->ranks[rank]);
    cr_expect(strstr(j->text, mpirun) || strstr(j->text, ours), "rank %d is not named: %s", rank,
              j->text);
}

static void read_to_the_end(job *j) {
    while (more(j, j->killed + END_SECONDS)) {
    }
}

Test(mpi_deaths, worker_in_a_task, .timeout = 120) {
    job *j = START("hold");
    until_held(j, RANKS - 1);
    strike(j, j->ranks[2], SIGKILL);
    read_to_the_end(j);
    names_rank(j, 2);
    over(j);
}

Test(mpi_deaths, worker_while_idle, .timeout = 120) {
    job *j = START("idle");
    until_held(j, 1);
    strike(j, j->ranks[1], SIGKILL);
    read_to_the_end(j);
    names_rank(j, 1);
    over(j);
}

Test(mpi_deaths, worker_in_a_large_reply, .timeout = 120) {
    job *j = START("reply");
    until_held(j, 1);
    int rank = atoi(strstr(j->text, "held ") + 5);
    strike(j, j->ranks[rank], SIGKILL);
    kill(j->ranks[0], SIGCONT);
    read_to_the_end(j);
    cr_expect_eq(count(j, "whole"), 0, "the reply was whole before its sender died");
    names_rank(j, rank);
    over(j);
}

Test(mpi_deaths, coordinator, .timeout = 120) {
    job *j = START("hold");
    until_held(j, RANKS - 1);
    strike(j, j->ranks[0], SIGKILL);
    read_to_the_end(j);
    names_rank(j, 0);
    over(j);
}

Test(mpi_deaths, mpirun, .timeout = 120) {
    job *j = START("hold");
    until_held(j, RANKS - 1);
    strike(j, j->mpirun, SIGKILL);
    over(j);
}

/* Named like the files of a job, but of another user's or of one that has ended before. */
Test(mpi_deaths, files_of_other_jobs_stay, .timeout = 120) {
    char top[] = "/tmp/tine-decoy-XXXXXX", ompi[64], session[80], kept[96], segment[96];
    cr_assert(mkdtemp(top));
    snprintf(ompi, sizeof ompi, "%s/ompi.decoy.%u", top, (unsigned)geteuid());
    snprintf(session, sizeof session, "%s/pid.1", ompi);
    snprintf(kept, sizeof kept, "%s/kept", session);
    cr_assert(mkdir(ompi, 0700) == 0 && mkdir(session, 0700) == 0 && mkdir(kept, 0700) == 0);
    setenv("DEATH_DECOY", session, 1);
    job *j = START("hold");
    until_held(j, RANKS - 1);
    snprintf(segment, sizeof segment, "/dev/shm/vader_segment.decoy.%u.%s.0",
             (unsigned)geteuid() + 1, j->id);
    int fd = open(segment, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0, "%s", strerror(errno));
    close(fd);
    strike(j, j->mpirun, SIGKILL);
    read_to_the_end(j);
    await_ranks(j);
    cr_expect_eq(unlink(segment), 0, "shared memory of another user's job was removed");
    cr_expect_eq(rmdir(kept), 0, "the directory of another job was removed");
    over(j);
    rmdir(session);
    rmdir(ompi);
    rmdir(top);
}

Test(mpi_deaths, interrupt, .timeout = 120) {
    job *j = START("hold");
    until_held(j, RANKS - 1);
    strike(j, j->mpirun, SIGINT);
    over(j);
}

Test(mpi_deaths, terminate, .timeout = 120) {
    job *j = START("idle");
    until_held(j, 1);
    strike(j, j->mpirun, SIGTERM);
    read_to_the_end(j);
    cr_expect_eq(count(j, "takes no more tasks"), 0, "the launcher's signal was taken: %s",
                 j->text);
    over(j);
}

static void leaves(job *j) {
    until_held(j, 1);
    j->killed = now();
    int rank = atoi(strstr(j->text, "held ") + 5);
    read_to_the_end(j);
    names_rank(j, rank);
    over(j);
}

Test(mpi_deaths, task_that_exits_with_3, .timeout = 120) { leaves(START("exit", "3")); }
Test(mpi_deaths, task_that_exits_with_0, .timeout = 120) { leaves(START("exit", "0")); }
Test(mpi_deaths, task_that_exits_without_a_word, .timeout = 120) { leaves(START("_exit")); }
