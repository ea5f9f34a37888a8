/* Signals of this process, to be read from a descriptor. A signalfd would need all threads to block
 * them, and those that a library starts need not. */
#ifndef TINE_LAUNCH_COMMAND_SIGNALS_H
#define TINE_LAUNCH_COMMAND_SIGNALS_H

#include <stdbool.h>

typedef struct tine_signal {
    int number;
    bool by_kernel; /* a terminal has sent it to its whole foreground group */
} tine_signal;

/* Catches the signals of a list that ends with 0; one that this process ignores stays ignored.
 * Programs that it starts have them at their defaults. Returns a descriptor to poll, for the life
 * of the process; -1 with errno. Call it once. */
int tine_signals_catch(const int *numbers);
/* The next one that has come. False: none is left. */
bool tine_signals_next(int fd, tine_signal *out);

#endif
