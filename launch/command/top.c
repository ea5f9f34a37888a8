/* `tine top`: a live view of a running job, or one snapshot of it: a table, JSON, metrics. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/observe/metrics.h"
#include "launch/top/rates.h"
#include "launch/top/terminal.h"
#include "launch/top/view.h"
#include "launch/top/watch.h"
#include "runtime/tine.h"
#include "transport/base/clock.h"
#include "transport/base/text.h"

enum { CONNECT_SECONDS = 5, TURN_NS = 50000000, RATE_NS = 500000000 };

typedef struct top {
    tine_watch watch;
    tine_view view;
    long interval; /* seconds */
    bool once, json, prometheus;
    int64_t next; /* when to ask again */
    int question; /* the key whose action is to be confirmed; 0: none */
    uint64_t task;
    int64_t worker;
    char *below;
} top;

/* ---- one snapshot ---- */

static bool top_take(top *t) {
    size_t before = t->watch.n;
    int64_t end = tine_clock_ns() + (int64_t)CONNECT_SECONDS * TINE_NS_PER_SECOND * 2;
    while (!t->watch.up && !t->watch.ended) tine_watch_run(&t->watch, -1);
    tine_watch_ask(&t->watch, TINE_OBSERVE_STATE, 0, 0);
    while (t->watch.n == before && !t->watch.ended && tine_clock_ns() < end)
        tine_watch_run(&t->watch, TURN_NS);
    return t->watch.n > before;
}

/* Takes two snapshots: for the rates between them, and for the memory that workers are asked
 * for. */
static int top_once(top *t) {
    if (!top_take(t)) return 1;
    for (int64_t end = tine_clock_ns() + RATE_NS, now;
         (now = tine_clock_ns()) < end && !t->watch.ended;)
        tine_watch_run(&t->watch, end - now);
    if (!t->watch.ended && !top_take(t) && !t->watch.now) return 1;
    if (t->prometheus)
        tine_metrics_write(stdout, t->watch.value);
    else if (t->json)
        tine_json_print(json_object_get(t->watch.now));
    else
        tine_view_draw(stdout, t->watch.now, &t->view);
    t->watch.lost = false;
    return 0;
}

/* ---- the live view ---- */

static void top_say(top *t, char *text) {
    free(t->below);
    t->below = text;
    t->view.below = text;
}

/* What the key would do, to be confirmed. */
static void top_question(top *t, int key) {
    json_object *w = tine_view_selected(t->watch.now, &t->view);
    const char *task = tine_rates_text(w, "task");
    t->question = 0;
    if (!w) return;
    t->worker = (int64_t)tine_rates_number(w, "id");
    t->task = (uint64_t)json_object_get_int64(tine_rates_field(w, "task_id"));
    if (key == 'c' && !t->task) {
        top_say(t, tine_text_format("worker %lld runs no task", (long long)t->worker));
        return;
    }
    t->question = key;
    if (key == 'c')
        top_say(t, tine_text_format("cancel task \"%.60s\" on worker %lld? y/n", task,
                                    (long long)t->worker));
    else
        top_say(t, tine_text_format("end worker %lld (pid %.0f) and start another one? y/n",
                                    (long long)t->worker, tine_rates_number(w, "pid")));
}

static void top_confirm(top *t, int key) {
    int question = t->question;
    t->question = 0;
    top_say(t, NULL);
    if (key != 'y' && key != 'Y') return;
    tine_watch_ask(&t->watch, question == 'c' ? TINE_OBSERVE_CANCEL : TINE_OBSERVE_RESTART, t->task,
                   (uint32_t)t->worker);
}

/* False: the end. */
static bool top_key(top *t, int key) {
    if (!t->watch.now) return key != 'q';
    if (t->question) {
        top_confirm(t, key);
        return true;
    }
    switch (key) {
    case 'q': return false;
    case TINE_KEY_UP: tine_view_move(t->watch.now, &t->view, -1); break;
    case TINE_KEY_DOWN: tine_view_move(t->watch.now, &t->view, 1); break;
    case TINE_KEY_PAGE_UP: tine_view_move(t->watch.now, &t->view, -10); break;
    case TINE_KEY_PAGE_DOWN: tine_view_move(t->watch.now, &t->view, 10); break;
    case 's':
        t->view.sort = (t->view.sort + 1) % TINE_VIEW_SORTS;
        top_say(t, tine_text_format("sorted by %s", tine_view_sort_name(&t->view)));
        break;
    case 'c':
    case 'r': top_question(t, key); break;
    default: top_say(t, NULL);
    }
    return true;
}

/* In one write, so that the terminal never shows half of it. */
static void top_draw(top *t) {
    char *text = NULL;
    size_t size = 0;
    tine_terminal_size(&t->view.columns, &t->view.lines);
    FILE *f = open_memstream(&text, &size);
    if (!f) return;
    tine_view_draw(f, t->watch.now, &t->view);
    if (fclose(f) == 0) fwrite(text, 1, size, stdout);
    fflush(stdout);
    free(text);
}

/* One snapshot at a time; an action that was confirmed is asked for at once. */
static void top_ask(top *t) {
    if (!t->watch.up || t->watch.asked || tine_clock_ns() < t->next) return;
    tine_watch_ask(&t->watch, TINE_OBSERVE_STATE, 0, 0);
    t->next = tine_clock_ns() + t->interval * TINE_NS_PER_SECOND;
}

static int top_live(top *t) {
    size_t drawn = 0;
    t->view.interactive = true;
    bool going = true;
    while (going && !t->watch.ended && !tine_terminal_ended()) {
        top_ask(t);
        tine_watch_run(&t->watch, TURN_NS);
        bool redraw = tine_terminal_changed() || t->watch.n > drawn;
        if (t->watch.answer) {
            top_say(t, t->watch.answer);
            t->watch.answer = NULL;
        }
        for (int key; going && (key = tine_terminal_key()) != TINE_KEY_NONE; redraw = true)
            going = top_key(t, key);
        if (redraw && t->watch.now) top_draw(t);
        drawn = t->watch.n;
    }
    return 0;
}

/* ---- the command ---- */

static void top_fail(const char *why) {
    char *shown = tine_text_printable(why, false);
    fprintf(stderr, "tine top: %s\n", shown ? shown : "no memory");
    free(shown);
}

static int top_run(top *t) {
    const char *no_color = getenv("NO_COLOR"), *columns = getenv("COLUMNS");
    bool live = !t->once && !t->json && !t->prometheus && tine_terminal_open();
    t->view.color = live && !(no_color && *no_color);
    t->view.columns = columns && atoi(columns) > 0 ? atoi(columns) : 200;
    int code = live ? top_live(t) : top_once(t);
    tine_terminal_close();
    if (t->watch.ended && t->watch.lost) {
        top_fail(t->watch.why);
        return 1;
    }
    if (live && t->watch.ended) printf("%s\n", t->watch.why);
    if (code != 0) top_fail("the job does not answer");
    return code;
}

static int top_open_and_run(top *t, const char *job, int *argc, char **argv) {
    tine_settings s = {0};
    int code = 2;
    char *endpoint = tine_watch_find(job); /* before the settings: it may find the key */
    if (endpoint && tine_settings_resolve(&s, NULL, argc, argv) == TINE_OK &&
        tine_watch_open(&t->watch, endpoint, &s, CONNECT_SECONDS) == TINE_OK)
        code = top_run(t);
    else
        top_fail(tine_error_message());
    tine_watch_close(&t->watch);
    tine_settings_fini(&s);
    free(endpoint);
    free(t->below);
    return code;
}

/* The operand: the argument that is no setting. */
static const char *top_operand(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "--tine-", 7) != 0) return argv[i];
    return NULL;
}

int tine_command_top(int argc, char **argv) {
    top t = {.interval = 1};
    const char *key = NULL;
    const tine_option options[] = {
        {"--once", NULL, "print one snapshot and end", TINE_OPTION_FLAG, &t.once, 0, 0},
        {"--json", NULL, "print one snapshot as a JSON object", TINE_OPTION_FLAG, &t.json, 0, 0},
        {"--prometheus", NULL, "print one snapshot in Prometheus' text exposition format",
         TINE_OPTION_FLAG, &t.prometheus, 0, 0},
        {"--interval", "S", "seconds between two snapshots (1)", TINE_OPTION_NUMBER, &t.interval, 1,
         3600},
        {"--key", "FILE", "the job's key (`tine key FILE`), where the job needs one",
         TINE_OPTION_TEXT, &key, 0, 0},
        {0},
    };
    const tine_usage usage = {
        "top",
        "[ENDPOINT|PID]",
        "Shows a running job: its workers, what they run, queues, functions, recent failures.\n"
        "The job is named by its endpoint or by the pid of its program; by default it is the only\n"
        "one of this user at a private endpoint. Keys: up and down select a worker, s sorts by\n"
        "another column, c cancels the worker's task, r ends the worker and has another one\n"
        "started, q quits. Exit code 2 where no job is found, 1 where it does not answer.",
        options,
        0,
        1};
    int code = tine_arguments_parse(&usage, &argc, argv);
    if (code >= 0) return code;
    if (key && setenv("TINE_KEY_FILE", key, 1) != 0) {
        perror("tine top");
        return 1;
    }
    return top_open_and_run(&t, top_operand(argc, argv), &argc, argv);
}
