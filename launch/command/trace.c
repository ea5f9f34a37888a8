/* `tine trace`: what a trace file says, as tables, as JSON, as a page, as a picture. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "launch/cli/arguments.h"
#include "launch/cli/commands.h"
#include "launch/cli/report.h"
#include "launch/profile/show.h"
#include "transport/base/output.h"

typedef struct trace_options {
    const char *html, *svg;
    bool json;
} trace_options;

static tine_text_style style_of_terminal(void) {
    struct winsize size;
    const char *columns = getenv("COLUMNS"), *color = getenv("NO_COLOR");
    tine_text_style style = {.columns = columns ? atoi(columns) : 0};
    bool terminal = isatty(STDOUT_FILENO);
    if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        style.columns = size.ws_col;
    if (style.columns <= 0) style.columns = 120;
    if (style.columns > 1000) style.columns = 1000;
    style.color = terminal && !(color && *color);
    return style;
}

/* Writes a page (html) or a picture to `path`. */
static bool trace_write(const char *path, bool html, const char *trace, const tine_profile *p,
                        const tine_analysis *a) {
    tine_output f;
    bool good = tine_output_open(&f, path);
    if (good) {
        if (html)
            tine_profile_html(f.stream, trace, p, a);
        else
            tine_profile_svg(f.stream, p, a);
        good = tine_output_close(&f, path);
    }
    if (!good) fprintf(stderr, "tine trace: %s cannot be written: %s\n", path, strerror(errno));
    return good;
}

static int trace_show(const char *path, const trace_options *o) {
    tine_profile p;
    tine_analysis a;
    char why[512];
    bool good = true;
    if (!tine_profile_read(&p, path, why, sizeof why)) {
        fprintf(stderr, "tine trace: %s\n", why);
        return 2;
    }
    tine_analyse(&a, &p);
    if (o->html) good = trace_write(o->html, true, path, &p, &a) && good;
    if (o->svg) good = trace_write(o->svg, false, path, &p, &a) && good;
    if (o->json)
        tine_json_print(tine_profile_json(path, &p, &a));
    else if (!o->html && !o->svg)
        tine_profile_print(stdout, path, &p, &a, style_of_terminal());
    tine_analysis_fini(&a);
    tine_profile_fini(&p);
    return good ? 0 : 1;
}

int tine_command_trace(int argc, char **argv) {
    trace_options o = {0};
    const tine_option options[] = {
        {"--html", "FILE", "write one page to look at: zoom, pan, search, arrows", TINE_OPTION_TEXT,
         &o.html, 0, 0},
        {"--svg", "FILE", "write a picture of the time line", TINE_OPTION_TEXT, &o.svg, 0, 0},
        {"--json", NULL, "print one JSON object; times in seconds", TINE_OPTION_FLAG, &o.json, 0,
         0},
        {0},
    };
    const tine_usage usage = {
        "trace",
        "FILE",
        "Reads a trace that TINE_TRACE, --trace or tine_trace_write made, in the Trace Event\n"
        "Format, and prints: per function the tasks and their times (total: from start to end,\n"
        "self: without what it calls or waits for); per worker what it did; how many tasks ran\n"
        "at once; the critical path through forks and waits; latencies; the longest times in\n"
        "which a worker ran nothing, with the cause; a time line as wide as the terminal.",
        options,
        1,
        1};
    int code = tine_arguments_parse(&usage, &argc, argv);
    return code >= 0 ? code : trace_show(argv[1], &o);
}
