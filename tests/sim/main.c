/* The simulator's command:
 *
 *     sim --seeds N [--first S]    runs seeds S to S+N-1 and prints what happened in them
 *     sim --seed S [--verbose]     runs one seed
 *
 * It fails (exit 1, or an abort that prints the command to repeat the seed) when a check fails, or
 * when a kind of fault never happened in a range of a thousand seeds or more. */
#include <signal.h>
#include <stddef.h>
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

/* What a report names; the last N_LANE_ROWS are counted where there are lanes. */
static const struct {
    const char *name;
    size_t at;
} report_rows[] = {{"tasks run", offsetof(sim_counts, tasks)},
                   {"objects put", offsetof(sim_counts, objects)},
                   {"suspended", offsetof(sim_counts, suspended)},
                   {"forks out of credit", offsetof(sim_counts, starved)},
                   {"forks past the bytes", offsetof(sim_counts, full)},
                   {"workers joined", offsetof(sim_counts, joins)},
                   {"workers killed", offsetof(sim_counts, kills)},
                   {"messages dropped", offsetof(sim_counts, drops)},
                   {"duplicates and late replies", offsetof(sim_counts, duplicates)},
                   {"stale replies dropped", offsetof(sim_counts, stale)},
                   {"large messages overtaken", offsetof(sim_counts, overtaken)},
                   {"attempts repeated", offsetof(sim_counts, retried)},
                   {"forks lost", offsetof(sim_counts, lost)},
                   {"forks cancelled", offsetof(sim_counts, cancelled)},
                   {"bad peers", offsetof(sim_counts, bad_peers)},
                   {"stops", offsetof(sim_counts, stops)},
                   {"run logs of dead workers", offsetof(sim_counts, logs)},
                   {"results as arguments", offsetof(sim_counts, dependents)},
                   {"tasks sent ahead", offsetof(sim_counts, ahead)},
                   {"results that stayed", offsetof(sim_counts, stayed)},
                   {"of these fetched", offsetof(sim_counts, fetched)},
                   {"made again", offsetof(sim_counts, again)},
                   {"roots cancelled", offsetof(sim_counts, roots_cancelled)},
                   {"of these by deadlines", offsetof(sim_counts, expired)},
                   {"nested forks cancelled", offsetof(sim_counts, forks_cancelled)},
                   {"running tasks told", offsetof(sim_counts, told)},
                   {"workers ended by force", offsetof(sim_counts, ends)},
                   {"workers held for memory", offsetof(sim_counts, held)},
                   {"of these ended", offsetof(sim_counts, ended_held)},
                   {"tasks with a label", offsetof(sim_counts, labelled)},
                   {"tasks that take slots", offsetof(sim_counts, taking)},
                   {"of these with inputs", offsetof(sim_counts, taking_of)},
                   {"their results as arguments", offsetof(sim_counts, taken_by)},
                   {"tasks that keep some", offsetof(sim_counts, holding)},
                   {"tasks of one worker", offsetof(sim_counts, pinned)},
                   {"of these failed there", offsetof(sim_counts, misplaced)},
                   {"values yielded", offsetof(sim_counts, yielded)},
                   {"yields out of credit", offsetof(sim_counts, refused_yields)},
                   {"values arrived", offsetof(sim_counts, arrived)},
                   {"streams ended", offsetof(sim_counts, streams)},
                   {"snapshots", offsetof(sim_counts, snapshots)},
                   {"calls of one instance", offsetof(sim_counts, turns)},
                   {"instances made anew", offsetof(sim_counts, renewed)},
                   {"runs of initialisers", offsetof(sim_counts, initialised)},
                   {"workers ended when asked", offsetof(sim_counts, retired)},
                   {"fetched from workers", offsetof(sim_counts, reached)},
                   {"not to be had there", offsetof(sim_counts, unreached)},
                   {"of these cut, or lost", offsetof(sim_counts, reached_late)},
                   {"grains of stencils", offsetof(sim_counts, grains)},
                   {"DONEs of passed results", offsetof(sim_counts, told_passed)},
                   {"passed between workers", offsetof(sim_counts, passed)},
                   {"of these by a dead one", offsetof(sim_counts, passed_dead)},
                   {"passed too early, or late", offsetof(sim_counts, passed_late)},
                   {"could not be passed", offsetof(sim_counts, not_passed)},
                   {"lost with their sender", offsetof(sim_counts, passed_lost)},
                   {"pairs that broke", offsetof(sim_counts, passes_broken)},
                   {"workers that left", offsetof(sim_counts, left)},
                   {"tasks given back", offsetof(sim_counts, returned)},
                   {"tasks that stayed local", offsetof(sim_counts, local)},
                   {"of these lost", offsetof(sim_counts, lost_local)},
                   {"forks asked for", offsetof(sim_counts, demands)},
                   {"answers of quiet workers", offsetof(sim_counts, quiet)},
                   {"programs with a deadlock", offsetof(sim_counts, stalls)},
                   {"deadlocks broken", offsetof(sim_counts, deadlocks)},
                   {"promises made", offsetof(sim_counts, promises)},
                   {"of these set", offsetof(sim_counts, promises_set)},
                   {"with futures inside", offsetof(sim_counts, promises_of_futures)},
                   {"failed", offsetof(sim_counts, promises_failed)},
                   {"released open", offsetof(sim_counts, promises_released)},
                   {"open at the end", offsetof(sim_counts, promises_open)},
                   {"set after a cancel", offsetof(sim_counts, promises_late)},
                   {"set twice", offsetof(sim_counts, promises_again)},
                   {"circles", offsetof(sim_counts, promises_refused)},
                   {"set by other threads", offsetof(sim_counts, promises_remote)},
                   {"forks that wait for one", offsetof(sim_counts, awaits)},
                   {"for several", offsetof(sim_counts, awaits_several)},
                   {"failed with an argument", offsetof(sim_counts, awaits_failed)},
                   {"cancelled meanwhile", offsetof(sim_counts, awaits_cancelled)},
                   {"ended by their deadlines", offsetof(sim_counts, fork_deadlines)},
                   {"futures cancelled", offsetof(sim_counts, futures_cancelled)},
                   {"futures of callbacks", offsetof(sim_counts, thens)},
                   {"futures of all", offsetof(sim_counts, alls)},
                   {"futures of the first", offsetof(sim_counts, anys)},
                   {"links down for a while", offsetof(sim_counts, links_down)},
                   {"silent workers waited for", offsetof(sim_counts, waited_for)},
                   {"given up", offsetof(sim_counts, given_up)},
                   {"heard again", offsetof(sim_counts, heard)},
                   {"buffers lent", offsetof(sim_counts, lent)},
                   {"of these lent back", offsetof(sim_counts, lent_back)},
                   {"of these lent on", offsetof(sim_counts, lent_on)},
                   {"holders of buffers killed", offsetof(sim_counts, holders_died)},
                   {"lanes ended with leases", offsetof(sim_counts, lanes_aside)},
                   {"doorbells lost", offsetof(sim_counts, bells_lost)}};

static int report(const sim_counts *c, uint64_t seeds, const char *no_lanes, double seconds) {
    int missing = 0;
    size_t n = sizeof report_rows / sizeof *report_rows - (no_lanes ? N_LANE_ROWS : 0);
    if (no_lanes) printf("without lanes: %s\n", no_lanes);
    printf("%llu seeds, %llu events, %.1f s\n", (unsigned long long)seeds,
           (unsigned long long)c->events, seconds);
    for (size_t i = 0; i < n; i++) {
        uint64_t count = *(const uint64_t *)((const char *)c + report_rows[i].at);
        printf("  %-28s %llu\n", report_rows[i].name, (unsigned long long)count);
        if (count || seeds < 1000) continue;
        fprintf(stderr, "sim: never happened: %s\n", report_rows[i].name);
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
