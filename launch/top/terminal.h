/* The terminal of an interactive view: its own screen, keys one by one, its size; all as it was
 * before once the view ends, whatever ends it. */
#ifndef TINE_LAUNCH_TOP_TERMINAL_H
#define TINE_LAUNCH_TOP_TERMINAL_H

#include <stdbool.h>

bool tine_terminal_open(void); /* false: standard input and output are no terminal */
void tine_terminal_close(void);

enum { TINE_KEY_NONE, TINE_KEY_UP = 256, TINE_KEY_DOWN, TINE_KEY_PAGE_UP, TINE_KEY_PAGE_DOWN };
/* The next key that was pressed: its character, or TINE_KEY_…; never blocks. */
int tine_terminal_key(void);
void tine_terminal_size(int *columns, int *lines);
/* Whether a signal asked for the end; whether the screen has to be drawn anew (its size changed, or
 * the program was continued). */
bool tine_terminal_ended(void);
bool tine_terminal_changed(void);

#endif
