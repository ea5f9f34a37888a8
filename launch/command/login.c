/* See login.h. What ssh says is reported in its own words: mpirun would add a page of what might
 * be wrong. */
#include "launch/command/login.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/base/process.h"
#include "transport/base/text.h"

enum { AT_A_TIME = 32, SSH_FAILED = 255 };

/* What Open MPI uses where nothing else is set, in a file of its own or in the environment. With
 * arguments of the user's it may log in where ssh alone does not. */
static bool agent_is_ssh(const tine_option_pairs *mca) {
    static const char args[] = ":plm_rsh_args:value:";
    char line[512];
    bool ssh = false, alone = true;
    for (int i = 0; i < mca->n; i++)
        if (!strncmp(mca->items[i][0], "plm", 3)) return false;
    FILE *out = popen("ompi_info --param plm rsh --level 9 --parsable 2>/dev/null", "r");
    while (out && fgets(line, sizeof line, out)) {
        const char *given = strstr(line, args);
        if (strstr(line, ":plm_rsh_agent:value:"))
            ssh = strstr(line, ":value:ssh") || strstr(line, ":value:\"ssh");
        if (given && !strchr("\r\n", given[sizeof args - 1])) alone = false;
    }
    if (out) pclose(out);
    return ssh && alone;
}

/* mpirun starts nothing remotely on a host that has an address of this one. */
static bool host_is_here(const char *name) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM}, *all = NULL;
    char own[256] = "";
    bool here = false;
    gethostname(own, sizeof own - 1);
    if (!strcmp(name, own)) return true;
    if (getaddrinfo(name, NULL, &hints, &all)) return false; /* ssh may know it by another name */
    for (const struct addrinfo *i = all; i && !here; i = i->ai_next) {
        int fd = socket(i->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        here = fd >= 0 && bind(fd, i->ai_addr, i->ai_addrlen) == 0;
        if (fd >= 0) close(fd);
    }
    freeaddrinfo(all);
    return here;
}

/* A command that looks for the program; NULL: it is not looked for, or no memory. */
static char *program_test(const char *program) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+";
    char *path = strchr(program, '/') ? tine_process_absolute(program) : NULL;
    bool good = path && strspn(path, plain) == strlen(path);
    char *command = good ? tine_text_format("test -x %s", path) : NULL;
    free(path);
    return command;
}

/* A host that takes the login and then hangs ends with timeout's code. */
static FILE *login_start(const tine_hosts *h, const char *name, const char *test) {
    char *line =
        tine_text_format("exec timeout 15 ssh -x -o BatchMode=yes -o ConnectTimeout=10 "
                         "-o ControlMaster=no -o LogLevel=ERROR %s%s %s '%s' 2>&1 </dev/null",
                         h->user ? "-l " : "", h->user ? h->user : "", name, test ? test : "true");
    FILE *out = line ? popen(line, "re") : NULL;
    free(line);
    return out;
}

/* mpirun's own ssh can ask at a terminal: for a password, or whether the host's key is right. */
static bool login_may_ask(const char *said) {
    return isatty(STDIN_FILENO) &&
           (strstr(said, "Permission denied") || strstr(said, "Host key verification failed"));
}

/* Whatever else the command ends with says nothing about mpirun's. */
static bool login_end(FILE *out, const char *name, const char *program, char *why,
                      size_t why_size) {
    enum { NOT_EXECUTABLE = 1 };
    char line[256], last[256] = "ssh said nothing";
    while (fgets(line, sizeof line, out)) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line) snprintf(last, sizeof last, "%s", line);
    }
    int status = pclose(out);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (code == SSH_FAILED && !login_may_ask(last))
        snprintf(why, why_size, "host %.80s: mpirun cannot log in: %s", name, last);
    else if (code == NOT_EXECUTABLE && program)
        snprintf(why, why_size,
                 "host %.80s has no program %.200s: it needs the same path on every host", name,
                 program);
    else
        return true;
    return false;
}

/* Of hosts[0 … n[, all at the same time. */
static bool logins_check(const tine_hosts *h, const tine_host *const *hosts, int n,
                         const char *program, char *why, size_t why_size) {
    FILE *out[AT_A_TIME];
    char other[512] = "", *test = program_test(program);
    bool good = true;
    for (int i = 0; i < n; i++) out[i] = login_start(h, hosts[i]->name, test);
    for (int i = 0; i < n; i++)
        if (out[i] && !login_end(out[i], hosts[i]->name, test ? program : NULL, good ? why : other,
                                 good ? why_size : sizeof other))
            good = false;
    free(test);
    return good;
}

bool tine_login_check(const tine_hosts *h, const tine_option_pairs *mca, const char *program,
                      char *why, size_t why_size) {
    const tine_host *remote[AT_A_TIME];
    int n = 0;
    bool asked = false;
    if (h->batch) return true;
    for (int i = 0; i < h->n_items; i++) {
        if (host_is_here(h->items[i].name)) continue;
        if (!asked && !agent_is_ssh(mca)) return true;
        asked = true;
        remote[n++] = &h->items[i];
        if (n < AT_A_TIME) continue;
        if (!logins_check(h, remote, n, program, why, why_size)) return false;
        n = 0;
    }
    return logins_check(h, remote, n, program, why, why_size);
}
