/* Where processes on other hosts can connect to one on this host. */
#ifndef TINE_LAUNCH_COMMAND_REACH_H
#define TINE_LAUNCH_COMMAND_REACH_H

#include <stdbool.h>
#include <stddef.h>

/* An address in a URL: an IPv6 one has brackets. */
typedef struct tine_reach_address {
    char text[64];
    bool loopback;
} tine_reach_address;

/* The address of this host on the way to `host`. False, with a sentence. */
bool tine_reach(const char *host, tine_reach_address *out, char *why, size_t why_size);
/* A free port of this host, which stays reserved while *fd is open: the kernel gives it to no
 * other process, and a listener with SO_REUSEADDR, as libzmq's, can open it. False with errno. */
bool tine_reach_port(int *fd, int *port);

#endif
