/* The hosts of `tine run`: from --hosts, from a host file, or from a batch system's allocation. */
#ifndef TINE_LAUNCH_COMMAND_HOSTS_H
#define TINE_LAUNCH_COMMAND_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tine_host {
    char *name;
    int cores; /* 0: all that it has */
} tine_host;

typedef struct tine_hosts {
    tine_host *items; /* each host once */
    int n_items;
    char *list; /* for mpirun: "a:4,b:4", `a:auto` for all cores of a; NULL: mpirun knows them */
    char *user; /* who logs in there; NULL: this user */
    int n;      /* hosts, as often as they are named */
    int cores;  /* of all of them; 0: not known here */
    int tasks;  /* that the batch system was asked for; 0: it was not said */
    const char *batch; /* "Slurm", "PBS", "LSF", "Grid Engine"; NULL: none */
} tine_hosts;

/* Reads "a:4,user@b,h[1-3]:2". False, with a sentence. */
bool tine_hosts_parse(tine_hosts *h, const char *text, char *why, size_t why_size);
/* Reads Open MPI's host file: lines "[USER@]NAME [slots=N]". False, with a sentence. */
bool tine_hosts_file(tine_hosts *h, const char *path, char *why, size_t why_size);
/* Reads the allocation in which this process runs, if any. False, with a sentence. */
bool tine_hosts_allocated(tine_hosts *h, char *why, size_t why_size);
/* Of hosts that were named in a job of a batch system: whether they are the job's, with as many
 * cores, or more with `more`. Sets the cores that are not known to the job's. False, with a
 * sentence. */
bool tine_hosts_within(tine_hosts *h, const tine_hosts *job, bool more, char *why, size_t why_size);
/* The cores on which workers of so many threads fit: of a host with 3, 2 threads take 2. */
int tine_hosts_cores_for(const tine_hosts *h, int threads);
/* The list for mpirun in which a slot is `threads` cores, to be freed; NULL: no memory. Hosts with
 * fewer cores are left out. */
char *tine_hosts_list_for(const tine_hosts *h, int threads);
/* "a,b", to be freed; NULL: no memory. */
char *tine_hosts_names(const tine_hosts *h);
/* Sets the cores of a host that is in the list, if they are not known. */
void tine_hosts_cores_set(tine_hosts *h, const char *name, int cores);
void tine_hosts_fini(tine_hosts *h);

#endif
