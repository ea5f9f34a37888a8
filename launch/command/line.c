/* See line.h. */
#include "launch/command/line.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "transport/base/text.h"
#include "transport/base/vector.h"
#include "transport/transport.h"
#include "transport/zmq/key.h"

extern char **environ;

/* Takes the word. */
static void line_take(tine_line *l, char *word) {
    char **words = word ? tine_grow(l->words, &l->room, l->n + 2, sizeof *words) : NULL;
    if (!words) {
        free(word);
        l->failed = true;
        return;
    }
    l->words = words;
    words[l->n++] = word;
    words[l->n] = NULL;
}

void tine_line_add(tine_line *l, const char *word) { line_take(l, strdup(word)); }

void tine_line_add_format(tine_line *l, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    line_take(l, tine_text_formatv(format, ap));
    va_end(ap);
}

void tine_line_add_all(tine_line *l, char *const *words) {
    for (; *words; words++) tine_line_add(l, *words);
}

static void line_add_mca(tine_line *l, const char *name, const char *value) {
    tine_line_add(l, "--mca");
    tine_line_add(l, name);
    tine_line_add(l, value);
}

void tine_line_add_network(tine_line *l, const tine_hosts *hosts, bool keepalive,
                           const tine_option_pairs *mca) {
    if (keepalive) {
        line_add_mca(l, "oob_tcp_keepalive_time", "5");
        line_add_mca(l, "oob_tcp_keepalive_intvl", "1");
        line_add_mca(l, "oob_tcp_keepalive_probes", "5");
    }
    if (hosts->user) {
        tine_line_add(l, "--mca");
        tine_line_add(l, "plm_rsh_args");
        tine_line_add_format(l, "-l %s", hosts->user);
    }
    for (int i = 0; i < mca->n; i++) line_add_mca(l, mca->items[i][0], mca->items[i][1]);
}

void tine_line_add_environment(tine_line *l) {
    for (char **e = environ; *e; e++) {
        if (strncmp(*e, "TINE_", 5)) continue;
        tine_line_add(l, "-x");
        tine_line_add_format(l, "%.*s", (int)strcspn(*e, "="), *e);
    }
}

void tine_line_print(const tine_line *l, FILE *to) {
    for (size_t i = 0; i < l->n; i++) {
        const char *a = l->words[i];
        bool plain =
            *a &&
            strspn(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@%") ==
                strlen(a);
        if (i) fputc(' ', to);
        if (plain) {
            fputs(a, to);
            continue;
        }
        fputc('\'', to);
        for (; *a; a++) fputs(*a == '\'' ? "'\\''" : (char[]){*a, 0}, to);
        fputc('\'', to);
    }
    fputc('\n', to);
    fflush(to);
}

void tine_line_fini(tine_line *l) {
    for (size_t i = 0; i < l->n; i++) free(l->words[i]);
    free(l->words);
    *l = (tine_line){0};
}

void tine_line_key_provide(const char *endpoint) {
    char key[TINE_ZMQ_KEY_SIZE];
    const char *security = getenv("TINE_SECURITY");
    unsigned flags = tine_transport_flags(endpoint);
    if (!(flags & TINE_TRANSPORT_REMOTE) || flags & TINE_TRANSPORT_RANKS) return;
    if (security && strcmp(security, "none") == 0) return;
    if (getenv("TINE_KEY") || getenv("TINE_KEY_FILE") || !tine_zmq_key_make(key)) return;
    setenv("TINE_KEY", key, 1);
}
