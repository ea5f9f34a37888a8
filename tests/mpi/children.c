/* A rank's program and a task start another Tine program:   mpirun -n 2 build/mpi/children COMMAND
 * It is no rank of the job (tests/transport/mpi/test_children.c). */
#include <stdio.h>
#include <stdlib.h>

#include "runtime/tine.h"

TINE_FUNCTION(children_shell, "command") { return tine_int(system(tine_arg_string(task, 0))); }

int main(int argc, char **argv) {
    if (tine_init(&argc, argv, NULL) || argc < 2) {
        fprintf(stderr, "%s\n", tine_error_message());
        return 1;
    }
    int from_program = system(argv[1]);
    tine_value *v = NULL;
    tine_future *f = tine_fork("children_shell", argv[1]);
    tine_error e = tine_wait(f, &v);
    int from_task = e ? -1 : (int)tine_as_int(v);
    tine_release(v);
    tine_release(f);
    printf("from the program %d, from a task %d\n", from_program, from_task);
    return tine_shutdown();
}
