/* MPI itself. It can be initialised once in a process, and the side that initialised it has to
 * finalise it: Tine does both, on first use and at exit, unless the user does. In a rank that
 * serves it finalises in any case. A rank that exits while a transport is open leaves in the
 * middle of the job, and the other ranks would wait for it for ever: that ends the job, with a
 * message that names the rank. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/launcher.h"
#include "transport/mpi/internal.h"

typedef struct kept {
    struct kept *next;
    MPI_Request req;
    void *thing;
    void (*free_thing)(void *);
} kept;

/* Like a transport: used by one thread at a time. */
static struct {
    tine_mpi_world shared;
    bool ready, ours;
    pid_t pid;
    int open;
    kept *kept;
} world;

static void world_at_exit(int status, void *unused) {
    (void)unused;
    int finalised = 0;
    if (getpid() != world.pid) return; /* a child that the program has forked */
    MPI_Finalized(&finalised);
    if (finalised) return;
    if (world.open) {
        char why[96];
        snprintf(why, sizeof why, "it called exit(%d) in the middle of the job", status);
        tine_mpi_end_job(world.shared.rank, why, status, !tine_mpi_ends_together());
    }
    /* A rank that served cannot finalise what its program initialised: tine_init did not return. */
    if (!world.ours && world.shared.rank == 0) return;
    sigset_t before;
    tine_mpi_sigpipe_block(&before);
    MPI_Finalize();
}

static int world_refuse(char *why, size_t why_size, const char *text) {
    snprintf(why, why_size, "%s", text);
    return -EIO;
}

static int world_initialise(char *why, size_t why_size) {
    tine_launcher l;
    if (!tine_launcher_rank(&l))
        return world_refuse(why, why_size,
                            "mpi:// needs a launcher: start the program with `tine "
                            "run -n N PROGRAM` or mpirun");
    if (!l.usable) return world_refuse(why, why_size, l.why);
    int provided = MPI_THREAD_SINGLE;
    sigset_t before;
    tine_mpi_sigpipe_block(&before);
    int err = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided);
    tine_mpi_sigpipe_restore(&before);
    if (err != MPI_SUCCESS) return world_refuse(why, why_size, "MPI_Init_thread failed");
    world.ours = true;
    if (provided < MPI_THREAD_SERIALIZED)
        return world_refuse(why, why_size,
                            "this MPI provides less than MPI_THREAD_SERIALIZED, "
                            "which Tine needs: use an Open MPI built with threads");
    return 0;
}

/* The user's own calls may be made at the same time as Tine's. */
static int world_adopt(char *why, size_t why_size) {
    int provided = MPI_THREAD_SINGLE;
    MPI_Query_thread(&provided);
    if (provided == MPI_THREAD_MULTIPLE) return 0;
    return world_refuse(why, why_size,
                        "MPI was initialised below MPI_THREAD_MULTIPLE, "
                        "but both the program and Tine call it: "
                        "use MPI_Init_thread(.., MPI_THREAD_MULTIPLE, ..), "
                        "or start with OMPI_MPI_THREAD_LEVEL=3 in the environment");
}

bool tine_mpi_world_post_hello(tine_mpi_world *w) {
    tine_mpi_slot *s = w->hello;
    return MPI_Irecv(s->bytes, TINE_MPI_SLOT, MPI_BYTE, MPI_ANY_SOURCE, TINE_MPI_TAG_HELLO, w->comm,
                     &s->req) == MPI_SUCCESS;
}

/* Once in a process, by all ranks together. */
static int world_join(tine_mpi_world *w, char *why, size_t why_size) {
    tine_mpi_started();
    if (MPI_Comm_dup(MPI_COMM_WORLD, &w->comm) != MPI_SUCCESS ||
        !tine_mpi_finalise_together(w->comm))
        return world_refuse(why, why_size, "MPI_Comm_dup failed");
    MPI_Comm_set_errhandler(w->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(w->comm, &w->rank);
    MPI_Comm_size(w->comm, &w->size);
    if (w->rank == 0) {
        w->hello = aligned_alloc(64, (sizeof *w->hello + 63) & ~(size_t)63);
        if (!w->hello || !tine_mpi_world_post_hello(w))
            return world_refuse(why, why_size, "mpi://: no memory");
    }
    world.pid = getpid();
    on_exit(world_at_exit, NULL);
    tine_mpi_watchdog_start(w->rank);
    return 0;
}

int tine_mpi_world_open(tine_mpi_world **out, char *why, size_t why_size) {
    int initialised = 0, finalised = 0, err = 0;
    MPI_Initialized(&initialised);
    MPI_Finalized(&finalised);
    if (finalised)
        return world_refuse(why, why_size,
                            "MPI was finalised already and cannot be "
                            "started again in this process");
    if (!world.ready) {
        err = initialised ? world_adopt(why, why_size) : world_initialise(why, why_size);
        if (!err) err = world_join(&world.shared, why, why_size);
        if (err) return err;
        world.ready = true;
    }
    if (world.shared.openings >= INT32_MAX / TINE_MPI_TAGS / 2 - 1)
        return world_refuse(why, why_size, "mpi:// was opened too often in this process");
    world.shared.openings++;
    world.open++;
    *out = &world.shared;
    return 0;
}

void tine_mpi_world_close(void) { world.open--; }

void tine_mpi_world_keep(MPI_Request req, void *thing, void (*free_thing)(void *)) {
    kept *k = malloc(sizeof *k);
    if (!k) return; /* leaks the memory, which MPI still uses */
    *k = (kept){world.kept, req, thing, free_thing};
    world.kept = k;
}

void tine_mpi_world_sweep(void) {
    for (kept **at = &world.kept; *at;) {
        kept *k = *at;
        int done = 0;
        MPI_Test(&k->req, &done, MPI_STATUS_IGNORE);
        if (!done) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        k->free_thing(k->thing);
        free(k);
    }
}

const char *tine_mpi_world_version(void) {
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int n = 0;
    if (!text[0]) {
        MPI_Get_library_version(text, &n);
        text[strcspn(text, ",\n")] = 0;
    }
    return text;
}
