/* The scenes of tests/support/progress.h between ranks:   mpirun -n 3 build/mpi/progress argument   mpirun -n 2 … result */
#include <stdio.h>
#include <string.h>

#include "runtime/tine.h"
#include "tests/support/progress.h"

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL)) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    bool argument = argc > 1 && !strcmp(argv[1], "argument");
    const char *wrong = argument ? progress_of_an_argument() : progress_of_a_result();
    if (wrong) fprintf(stderr, "%s\n", wrong);
    return tine_shutdown() || wrong;
}
