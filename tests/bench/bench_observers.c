/* What observing costs a job: `tine top` beside it, an observer that asks 90 times a second (100
 * are allowed), a scraper of TINE_METRICS 20 times a second, and a trace.
 *
 * usage: bench_observers [ROUNDS (31) [WORKERS (1)]]
 *
 * In each round every job runs once without and once with each of them, in an order that changes; a
 * ratio is that of two runs of one round, so what else runs on the machine hits both. Printed are
 * medians with their confidence intervals. Observers are processes of their own and have to share
 * the cores with the job where these are few: their CPU time counts too. */
#include <arpa/inet.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launch/bench/estimate.h"
#include "launch/cli/report.h"
#include "launch/top/watch.h"
#include "runtime/tine.h"

enum { TRIPS = 4000, BURST = 40000, LONG_TASKS = 150, WORK = 1000000, ROUNDS_MAX = 1000 };

TINE_FUNCTION(bench_empty, "") {
    (void)task;
    return tine_none();
}
TINE_FUNCTION(bench_scalar, "x") { return tine_ref((tine_value *)tine_arg(task, 0)); }
/* About 1 ms of computing: a number of steps and not a time, so that a lost core shows. */
TINE_FUNCTION(bench_long, "steps") {
    uint64_t x = 1;
    for (int64_t i = tine_arg_int(task, 0); i > 0; i--) x = x * 6364136223846793005u + 1;
    return tine_int((int64_t)(x >> 1));
}

static void must(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "bench_observers: %s: %s\n", what, tine_error_message());
    exit(1);
}

/* ---- jobs ---- */

static void trips_run(void) {
    for (int i = 0; i < TRIPS; i++) {
        tine_future *f = tine_fork("bench_empty");
        must(tine_wait(f, NULL) == TINE_OK, "a task failed");
        tine_release(f);
    }
}

static void forks_run(const char *function, int n, int64_t argument) {
    tine_future **f = calloc((size_t)n, sizeof(tine_future *));
    for (int i = 0; i < n; i++) f[i] = tine_fork(function, argument);
    for (int i = 0; i < n; i++) {
        must(tine_wait(f[i], NULL) == TINE_OK, "a task failed");
        tine_release(f[i]);
    }
    free(f);
}

static void burst_run(void) { forks_run("bench_scalar", BURST, 1); }
static void long_run(void) { forks_run("bench_long", LONG_TASKS, WORK); }

static const struct {
    const char *name;
    void (*run)(void);
} jobs[] = {{"an empty fork and wait, one by one", trips_run},
            {"pipelined tasks of a scalar", burst_run},
            {"tasks of about 1 ms", long_run}};
enum { JOBS = sizeof jobs / sizeof *jobs };

/* ---- observers ---- */

static char self[4096], port[12];
static pid_t child;
static int child_out;

static void pause_ms(int ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL); }

/* Starts a program on a terminal of its own, and waits until it has shown `words`. */
static void child_start(char *const argv[], const char *words) {
    char text[1 << 16];
    size_t n = 0;
    child = forkpty(&child_out, NULL, NULL, &(struct winsize){.ws_row = 30, .ws_col = 120});
    if (child == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    for (ssize_t got; n < sizeof text - 1; n += (size_t)got) {
        got = read(child_out, text + n, sizeof text - 1 - n);
        must(got > 0, "an observer ended");
        text[n + (size_t)got] = 0;
        if (strstr(text, words)) return;
    }
    must(false, "an observer shows nothing");
}

static void child_stop(void) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(child_out);
}

static void nothing(void) {}

static void top_start(void) {
    char path[4096 + 16], pid[12];
    snprintf(path, sizeof path, "%.*s/../tine", (int)(strrchr(self, '/') - self), self);
    snprintf(pid, sizeof pid, "%d", getpid());
    child_start((char *[]){path, "top", pid, NULL}, "HOST");
}

static void observer_start(void) {
    child_start((char *[]){self, "--observe", (char *)tine_endpoint(), NULL}, "here");
}

static void scraper_start(void) { child_start((char *[]){self, "--scrape", port, NULL}, "here"); }
static void trace_start(void) { must(tine_trace_start() == TINE_OK, "trace"); }
static void trace_stop(void) { must(tine_trace_stop() == TINE_OK, "trace"); }

static const struct {
    const char *name;
    void (*start)(void), (*stop)(void);
} observers[] = {{"nothing", nothing, nothing},
                 {"tine top", top_start, child_stop},
                 {"90 questions/s", observer_start, child_stop},
                 {"20 scrapes/s", scraper_start, child_stop},
                 {"a trace", trace_start, trace_stop}};
enum { OBSERVERS = sizeof observers / sizeof *observers };

static int observe(const char *endpoint) {
    tine_settings s = {0};
    tine_watch w;
    bool good = tine_settings_resolve(&s, NULL, NULL, NULL) == TINE_OK &&
                tine_watch_open(&w, endpoint, &s, 5) == TINE_OK;
    if (!good) return 1;
    while (!w.up && !w.ended) tine_watch_run(&w, -1);
    for (size_t n = 0; !w.ended; pause_ms(11)) {
        tine_watch_ask(&w, TINE_OBSERVE_STATE, 0, 0);
        while (w.n == n && !w.ended) tine_watch_run(&w, -1);
        if (n == 0) printf("here\n"), fflush(stdout);
        n = w.n;
    }
    return 1;
}

static int scrape(const char *at) {
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)atoi(at)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[1 << 16];
    for (bool told = false;; pause_ms(50)) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) return 1;
        if (write(fd, request, strlen(request)) < 0) return 1;
        while (read(fd, text, sizeof text) > 0) continue;
        close(fd);
        if (!told) printf("here\n"), fflush(stdout);
        told = true;
    }
}

/* A port that was free a moment ago. */
static void port_find(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(fd, (struct sockaddr *)&a, size) == 0 &&
             getsockname(fd, (struct sockaddr *)&a, &size) == 0,
         "no port");
    snprintf(port, sizeof port, "%d", ntohs(a.sin_port));
    close(fd);
}

/* ---- rounds ---- */

static double ratios[JOBS][OBSERVERS][ROUNDS_MAX];

static void round_run(int round) {
    for (int job = 0; job < JOBS; job++) {
        double seconds[OBSERVERS];
        for (int i = 0; i < OBSERVERS; i++) {
            int k = (i + round) % OBSERVERS;
            observers[k].start();
            jobs[job].run(); /* after a fork each page is copied once more when it is written */
            double began = tine_seconds();
            jobs[job].run();
            seconds[k] = tine_seconds() - began;
            observers[k].stop();
        }
        for (int k = 0; k < OBSERVERS; k++) ratios[job][k][round] = seconds[k] / seconds[0];
    }
}

static void print(int rounds) {
    for (int job = 0; job < JOBS; job++) {
        printf("\n%s: time beside that of the same job alone, %d rounds\n", jobs[job].name, rounds);
        for (int k = 1; k < OBSERVERS; k++) {
            tine_estimate e = tine_estimate_quantile(ratios[job][k], (size_t)rounds, 0.5);
            printf("  %-16s %6.3f  (%.3f to %.3f)\n", observers[k].name, e.value, e.low, e.high);
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--observe") == 0) return observe(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--scrape") == 0) return scrape(argv[2]);
    int rounds = argc > 1 ? atoi(argv[1]) : 31;
    must(rounds > 0 && rounds <= ROUNDS_MAX, "ROUNDS: 1 to 1000");
    must(readlink("/proc/self/exe", self, sizeof self - 1) > 0, "/proc/self/exe");
    port_find();
    tine_options o = {.metrics = port, .workers = argc > 2 ? atoi(argv[2]) : 1};
    must(tine_init(&argc, argv, &o) == TINE_OK, "tine_init");
    for (int i = 0; i < rounds; i++) round_run(i);
    print(rounds);
    return tine_shutdown();
}
