/* See terminal.h. Signals only set flags: the view's loop looks at them several times a second. */
#include "launch/top/terminal.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios terminal_before;
static bool terminal_is_open;
static volatile sig_atomic_t terminal_end, terminal_stop, terminal_change;
static char keys[64];
static size_t n_keys, at_key;

static void on_terminal_signal(int signal) {
    if (signal == SIGWINCH)
        terminal_change = 1;
    else if (signal == SIGTSTP)
        terminal_stop = 1;
    else
        terminal_end = 1;
}

static bool terminal_enter(void) {
    struct termios raw = terminal_before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return false;
    fputs("\033[?1049h\033[?25l", stdout); /* the other screen; no cursor */
    fflush(stdout);
    return true;
}

static void terminal_leave(void) {
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
}

bool tine_terminal_open(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGTSTP};
    const struct sigaction action = {.sa_handler = on_terminal_signal};
    if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &terminal_before) != 0) return false;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
    terminal_is_open = terminal_enter();
    return terminal_is_open;
}

void tine_terminal_close(void) {
    if (terminal_is_open) terminal_leave();
    terminal_is_open = false;
}

bool tine_terminal_ended(void) { return terminal_end; }

bool tine_terminal_changed(void) {
    if (terminal_stop) {
        terminal_stop = 0;
        terminal_leave();
        raise(SIGSTOP);
        terminal_enter();
        terminal_change = 1;
    }
    bool changed = terminal_change;
    terminal_change = 0;
    return changed;
}

void tine_terminal_size(int *columns, int *lines) {
    struct winsize size;
    *columns = 80;
    *lines = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return;
    if (size.ws_col > 0) *columns = size.ws_col;
    if (size.ws_row > 0) *lines = size.ws_row;
}

/* ---- keys ---- */

static const struct {
    const char *bytes;
    int key;
} sequences[] = {
    {"\033[A", TINE_KEY_UP},   {"\033[B", TINE_KEY_DOWN},     {"\033OA", TINE_KEY_UP},
    {"\033OB", TINE_KEY_DOWN}, {"\033[5~", TINE_KEY_PAGE_UP}, {"\033[6~", TINE_KEY_PAGE_DOWN},
    {"k", TINE_KEY_UP},        {"j", TINE_KEY_DOWN}};

static void keys_read(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    memmove(keys, keys + at_key, n_keys - at_key);
    n_keys -= at_key;
    at_key = 0;
    if (n_keys == sizeof keys || poll(&in, 1, 0) <= 0) return;
    ssize_t n = read(STDIN_FILENO, keys + n_keys, sizeof keys - n_keys);
    if (n > 0) n_keys += (size_t)n;
    if (n == 0 && in.revents & POLLHUP) terminal_end = 1;
}

int tine_terminal_key(void) {
    keys_read();
    if (at_key == n_keys) return TINE_KEY_NONE;
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        size_t n = strlen(sequences[i].bytes);
        if (n_keys - at_key < n || memcmp(keys + at_key, sequences[i].bytes, n) != 0) continue;
        at_key += n;
        return sequences[i].key;
    }
    return (unsigned char)keys[at_key++];
}
