/* The simulator's command:
 *
 *     sim --seeds N [--first S]    runs seeds S to S+N-1 and prints what happened in them
 *     sim --seed S [--verbose]     runs one seed
 *
 * It fails (exit 1, or an abort that prints the command to repeat the seed) when a check fails, or
 * when a kind of fault never happened in a range of a thousand seeds or more. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

enum {
    LANES_OF = 8, /* every eighth seed has lanes: making them takes longer than all the rest */
    N_LANE_ROWS = 6
};

static uint64_t current;
static const char *self;

static void on_abort(int signal_number) {
    char text[256];
    int n = snprintf(text, sizeof text, "to replay: %s --seed %llu --verbose\n", self,
                     (unsigned long long)current);
    if (write(STDERR_FILENO, text, (size_t)n) < 0) _exit(2);
    fflush(stdout);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static int usage(void) {
    fprintf(stderr, "usage: %s --seeds N [--first S] | --seed S [--verbose]\n", self);
    return 2;
}

static int report(const sim_counts *c, uint64_t seeds, const char *no_lanes, double seconds) {
    const struct {
        const char *name;
        uint64_t n;
    } rows[] = {{"tasks run", c->tasks},
                {"objects put", c->objects},
                {"suspended", c->suspended},
                {"forks out of credit", c->starved},
                {"forks past the bytes", c->full},
                {"workers joined", c->joins},
                {"workers killed", c->kills},
                {"messages dropped", c->drops},
                {"duplicates and late replies", c->duplicates},
                {"stale replies dropped", c->stale},
                {"large messages overtaken", c->overtaken},
                {"attempts repeated", c->retried},
                {"forks lost", c->lost},
                {"forks cancelled", c->cancelled},
                {"bad peers", c->bad_peers},
                {"stops", c->stops},
                {"run logs of dead workers", c->logs},
                {"results as arguments", c->dependents},
                {"tasks sent ahead", c->ahead},
                {"results that stayed", c->stayed},
                {"of these fetched", c->fetched},
                {"made again", c->again},
                {"roots cancelled", c->roots_cancelled},
                {"of these by deadlines", c->expired},
                {"nested forks cancelled", c->forks_cancelled},
                {"running tasks told", c->told},
                {"workers ended by force", c->ends},
                {"workers held for memory", c->held},
                {"of these ended", c->ended_held},
                {"tasks with a label", c->labelled},
                {"tasks that take slots", c->taking},
                {"of these with inputs", c->taking_of},
                {"their results as arguments", c->taken_by},
                {"tasks that keep some", c->holding},
                {"tasks of one worker", c->pinned},
                {"of these failed there", c->misplaced},
                {"values yielded", c->yielded},
                {"yields out of credit", c->refused_yields},
                {"values arrived", c->arrived},
                {"streams ended", c->streams},
                {"snapshots", c->snapshots},
                {"calls of one instance", c->turns},
                {"instances made anew", c->renewed},
                {"runs of initialisers", c->initialised},
                {"workers ended when asked", c->retired},
                {"fetched from workers", c->reached},
                {"not to be had there", c->unreached},
                {"of these cut, or lost", c->reached_late},
                {"grains of stencils", c->grains},
                {"DONEs of passed results", c->told_passed},
                {"passed between workers", c->passed},
                {"of these by a dead one", c->passed_dead},
                {"passed too early, or late", c->passed_late},
                {"could not be passed", c->not_passed},
                {"lost with their sender", c->passed_lost},
                {"pairs that broke", c->passes_broken},
                {"workers that left", c->left},
                {"tasks given back", c->returned},
                {"tasks that stayed local", c->local},
                {"of these lost", c->lost_local},
                {"forks asked for", c->demands},
                {"answers of quiet workers", c->quiet},
                {"programs with a deadlock", c->stalls},
                {"deadlocks broken", c->deadlocks},
                {"promises made", c->promises},
                {"of these set", c->promises_set},
                {"with futures inside", c->promises_of_futures},
                {"failed", c->promises_failed},
                {"released open", c->promises_released},
                {"open at the end", c->promises_open},
                {"set after a cancel", c->promises_late},
                {"set twice", c->promises_again},
                {"circles", c->promises_refused},
                {"set by other threads", c->promises_remote},
                {"forks that wait for one", c->awaits},
                {"for several", c->awaits_several},
                {"failed with an argument", c->awaits_failed},
                {"cancelled meanwhile", c->awaits_cancelled},
                {"ended by their deadlines", c->fork_deadlines},
                {"futures cancelled", c->futures_cancelled},
                {"futures of callbacks", c->thens},
                {"futures of all", c->alls},
                {"futures of the first", c->anys},
                {"buffers lent", c->lent},
                {"of these lent back", c->lent_back},
                {"of these lent on", c->lent_on},
                {"holders of buffers killed", c->holders_died},
                {"lanes ended with leases", c->lanes_aside},
                {"doorbells lost", c->bells_lost}};
    int missing = 0;
    size_t n = sizeof rows / sizeof *rows - (no_lanes ? N_LANE_ROWS : 0);
    if (no_lanes) printf("without lanes: %s\n", no_lanes);
    printf("%llu seeds, %llu events, %.1f s\n", (unsigned long long)seeds,
           (unsigned long long)c->events, seconds);
    for (size_t i = 0; i < n; i++) {
        printf("  %-28s %llu\n", rows[i].name, (unsigned long long)rows[i].n);
        if (rows[i].n || seeds < 1000) continue;
        fprintf(stderr, "sim: never happened: %s\n", rows[i].name);
        missing = 1;
    }
    return missing;
}

int main(int argc, char **argv) {
    uint64_t seeds = 1000, first = 1;
    bool verbose = false;
    self = argv[0];
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--verbose")) {
            verbose = true;
        } else if (i + 1 < argc && !strcmp(argv[i], "--seeds")) {
            seeds = strtoull(argv[++i], NULL, 10);
        } else if (i + 1 < argc && !strcmp(argv[i], "--first")) {
            first = strtoull(argv[++i], NULL, 10);
        } else if (i + 1 < argc && !strcmp(argv[i], "--seed")) {
            first = strtoull(argv[++i], NULL, 10);
            seeds = 1;
        } else {
            return usage();
        }
    }
    const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE};
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) signal(fatal[i], on_abort);
    sim_counts counts = {0};
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    const char *none = NULL; /* why there are no lanes */
    for (current = first; current < first + seeds; current++) {
        sim_run(current, verbose, &counts);
        if (!none && current % LANES_OF == 0) none = sim_lanes_run(current, &counts);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    return report(&counts, seeds, none,
                  (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
}
