/* The scenes of tests/support/progress.h between ranks:   mpirun -n 3 build/mpi/progress SCENE
 * (result, short: -n 2) */
#include <stdio.h>
#include <string.h>

#include "runtime/tine.h"
#include "tests/support/progress.h"

static const struct {
    const char *name;
    const char *(*play)(void);
} scenes[] = {{"result", progress_of_a_result},
              {"short", progress_of_short_results},
              {"argument", progress_of_an_argument},
              {"small", progress_while_small_results_come},
              {"past", progress_past_what_a_transport_queues},
              {"queued", progress_of_queued_forks},
              {"lock", progress_with_a_lock_held},
              {"program", progress_with_a_lock_held_by_the_program},
              {"release", progress_of_a_release}};

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    const char *wrong = "no such scene";
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        if (argc > 1 && !strcmp(argv[1], scenes[i].name)) wrong = scenes[i].play();
    if (wrong) fprintf(stderr, "%s\n", wrong);
    return tine_shutdown() || wrong;
}
