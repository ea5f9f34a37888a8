/* Lines to standard error. See log.h.
 *
 * The last few different lines are remembered, so that two that alternate (of a peer that connects
 * again and again, say) are suppressed like one that repeats. How often a line was suppressed is
 * written when it comes again later, when its place is needed, or at exit. */
#include "transport/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transport/base/clock.h"
#include "transport/base/text.h"

enum { LINE_MAX_BYTES = 1024, REMEMBERED = 8, QUIET_NS = 1000000000 };

typedef struct line {
    char text[LINE_MAX_BYTES];
    int64_t written_at;
    uint64_t suppressed; /* times suppressed since written_at */
} line;

static atomic_int level_now = TINE_LOG_WARN;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* Guards `lines`. Nothing else is locked while it is held. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static line lines[REMEMBERED];

void tine_log_level_set(int level) {
    atomic_store_explicit(&level_now, level, memory_order_relaxed);
}

static bool log_enabled(int level) {
    return level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

const char *tine_log_level_name(int level) {
    return level >= 0 && level <= TINE_LOG_DEBUG ? level_names[level] : "?";
}

int tine_log_level_parse(const char *name) {
    for (int i = 0; i <= TINE_LOG_DEBUG; i++)
        if (strcmp(name, level_names[i]) == 0) return i;
    return -1;
}

static void write_text(const char *text, uint64_t suppressed) {
    char out[LINE_MAX_BYTES + 96];
    int n = suppressed ? snprintf(out, sizeof out, "tine[%d]: %s (%llu more like this)\n",
                                  (int)getpid(), text, (unsigned long long)suppressed)
                       : snprintf(out, sizeof out, "tine[%d]: %s\n", (int)getpid(), text);
    for (const char *p = out; n > 0;) {
        ssize_t written = write(STDERR_FILENO, p, (size_t)n);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return;
        p += written;
        n -= (int)written;
    }
}

/* The place of this text; if there is none, the one that was written longest ago. */
static line *line_find(const char *text, bool *known) {
    line *oldest = &lines[0];
    for (line *l = lines; l < lines + REMEMBERED; l++) {
        if (l->written_at != 0 && strcmp(l->text, text) == 0) {
            *known = true;
            return l;
        }
        if (l->written_at < oldest->written_at) oldest = l;
    }
    *known = false;
    return oldest;
}

static void line_write_suppressed(line *l) {
    if (l->suppressed > 0) write_text(l->text, l->suppressed);
    l->suppressed = 0;
}

static void line_write(const char *text, int64_t now) {
    bool known;
    line *l = line_find(text, &known);
    if (known && now - l->written_at < QUIET_NS) {
        l->suppressed++;
        return;
    }
    line_write_suppressed(l);
    write_text(text, 0);
    if (!known) memcpy(l->text, text, strlen(text) + 1);
    l->written_at = now;
}

void tine_log(int level, const char *format, ...) {
    if (!log_enabled(level)) return;
    int saved = errno;
    char text[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, format);
    locale_t locale = tine_text_locale_enter();
    bool cut = vsnprintf(text, sizeof text, format, ap) >= (int)sizeof text;
    tine_text_locale_leave(locale);
    if (cut) tine_text_mend(text);
    va_end(ap);
    char *shown = tine_text_printable(text, false);
    snprintf(text, sizeof text, "%s", shown ? shown : "no memory for a line");
    tine_text_mend(text);
    free(shown);
    pthread_mutex_lock(&lock);
    line_write(text, tine_clock_ns());
    pthread_mutex_unlock(&lock);
    errno = saved;
}

void tine_log_flush(void) {
    pthread_mutex_lock(&lock);
    for (line *l = lines; l < lines + REMEMBERED; l++) line_write_suppressed(l);
    pthread_mutex_unlock(&lock);
}
