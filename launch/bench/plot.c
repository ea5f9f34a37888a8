/* Results as an SVG picture: a panel for each plotted measure and each value of the panel key, in
 * it a curve for each combination of the other keys. A bar is a confidence interval. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "launch/bench/results.h"
#include "launch/cli/svg.h"

enum {
    PLOT_WIDTH = 300,
    PLOT_HEIGHT = 210,
    PLOT_LEFT = 58,
    PLOT_TOP = 30,
    PLOT_BELOW = 34,
    PLOT_COLUMNS = 3,
    PLOT_TICKS = 24, /* at most, on the x axis */
    PLOT_CURVES = 8, /* colours */
    LEGEND_ROW = 16,
    PLOT_HEAD = 30
};
/* M. Okabe and K. Ito, Color Universal Design, 2008: colour-blind readers can tell them apart. */
static const char *const plot_colors[PLOT_CURVES] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                     "#e69f00", "#56b4e9", "#7f7f7f", "#b8a800"};

/* Texts in the order in which they appear. */
typedef struct plot_names {
    char (*items)[TINE_RESULT_NAME_MAX];
    size_t n;
} plot_names;

typedef struct plot_panel {
    FILE *f;
    const tine_results *r;
    const char *value; /* of the panel key; NULL: there is none */
    int measure;
    double left, top;
    double low, high; /* of the y axis; its logarithms */
    const plot_names *curves, *ticks;
    double last_x; /* of numbers on the x axis */
} plot_panel;

static size_t names_index(plot_names *names, const char *text) {
    for (size_t i = 0; i < names->n; i++)
        if (!strcmp(names->items[i], text)) return i;
    snprintf(names->items[names->n], sizeof *names->items, "%s", text);
    return names->n++;
}

static const char *curve_name(const tine_results *r, const tine_result *row,
                              char out[static TINE_RESULT_NAME_MAX]) {
    tine_result one = *row;
    for (int i = 0; i < TINE_RESULT_KEYS; i++)
        if (i == r->form->x || r->form->keys[i].aside) one.keys[i][0] = 0;
    return tine_result_name(r->form, &one, r->form->panel, out);
}

/* ---- one panel ---- */

static bool panel_has(const plot_panel *p, const tine_result *row) {
    return (!p->value || !strcmp(row->keys[p->r->form->panel], p->value)) &&
           !isnan(row->figures[p->measure].value) &&
           (!p->r->form->logarithmic || row->figures[p->measure].low > 0);
}

static double panel_x(const plot_panel *p, const tine_result *row) {
    const char *text = row->keys[p->r->form->x];
    double at;
    if (p->r->form->keys[p->r->form->x].number) {
        at = p->last_x > 0 ? strtod(text, NULL) / (p->last_x * 1.08) : 0;
    } else {
        at = ((double)names_index((plot_names *)p->ticks, text) + 0.5) / (double)p->ticks->n;
    }
    return p->left + at * PLOT_WIDTH;
}

static double panel_y(const plot_panel *p, double value) {
    if (p->r->form->logarithmic) value = log10(value);
    return p->top + PLOT_HEIGHT * (1 - (value - p->low) / (p->high - p->low));
}

static void panel_scale(plot_panel *p) {
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < p->r->n; i++) {
        if (!panel_has(p, &p->r->rows[i])) continue;
        low = fmin(low, p->r->rows[i].figures[p->measure].low);
        high = fmax(high, p->r->rows[i].figures[p->measure].high);
    }
    if (p->r->form->logarithmic) {
        p->low = isfinite(low) ? floor(log10(low)) : 0;
        p->high = high > 0 ? ceil(log10(high)) : 1;
        if (p->high <= p->low) p->high = p->low + 1;
        return;
    }
    if (p->measure == p->r->form->ideal) high = fmax(high, p->last_x);
    p->low = 0;
    p->high = high > 0 ? 1.06 * high : 1;
}

/* A step of 1, 2 or 5 times a power of ten: four to eight on the axis. */
static double tick_step(double range) {
    double power = pow(10, floor(log10(range / 4)));
    double digits = range / 4 / power;
    return power * (digits >= 5 ? 5 : digits >= 2 ? 2 : 1);
}

static void tick_y(const plot_panel *p, double value) {
    double y = panel_y(p, value);
    fprintf(p->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", p->left, y,
            p->left + PLOT_WIDTH, y);
    fprintf(p->f, "<text class=\"axis y\" x=\"%.1f\" y=\"%.1f\">%g</text>\n", p->left - 5, y + 4,
            value);
}

static void panel_axes(const plot_panel *p) {
    const tine_result_form *form = p->r->form;
    if (form->logarithmic)
        for (double e = p->low; e <= p->high; e++) tick_y(p, pow(10, e));
    else
        for (double step = tick_step(p->high), v = 0; v <= p->high; v += step)
            tick_y(p, fabs(v) < step / 2 ? 0 : v);
    for (size_t i = 0; i < p->ticks->n; i++) {
        tine_result row = {0};
        tine_result_key_set(&row, form->x, "%s", p->ticks->items[i]);
        fprintf(p->f, "<text class=\"axis\" x=\"%.1f\" y=\"%d\">", panel_x(p, &row),
                (int)p->top + PLOT_HEIGHT + 15);
        tine_svg_text(p->f, p->ticks->items[i], 12);
        fputs("</text>", p->f);
    }
    fprintf(p->f, "<text class=\"axis\" x=\"%.1f\" y=\"%d\">%s</text>\n",
            p->left + PLOT_WIDTH / 2.0, (int)p->top + PLOT_HEIGHT + 29, form->keys[form->x].name);
    fprintf(p->f, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\">", p->left, p->top - 9);
    if (p->value) tine_svg_text(p->f, p->value, 20);
    fprintf(p->f, "%s%s</text>\n", p->value ? ": " : "", form->measures[p->measure].label);
}

/* Curves side by side do not hide each other's bars. */
static double curve_shift(const plot_panel *p, size_t curve) {
    return 4 * ((double)curve - (double)(p->curves->n - 1) / 2);
}

static void curve_point(const plot_panel *p, const tine_result *row, size_t curve, bool *drawn,
                        double last[2]) {
    const tine_estimate *e = &row->figures[p->measure];
    const char *color = plot_colors[curve % PLOT_CURVES];
    double x = panel_x(p, row) + curve_shift(p, curve), y = panel_y(p, e->value);
    if (*drawn && p->r->form->keys[p->r->form->x].number)
        fprintf(p->f, "<path d=\"M%.1f %.1fL%.1f %.1f\" stroke=\"%s\"/>", last[0], last[1], x, y,
                color);
    if (e->high > e->low)
        fprintf(p->f, "<path d=\"M%.1f %.1fV%.1fm-3 0h6M%.1f %.1fh6\" stroke=\"%s\"/>", x,
                panel_y(p, e->low), panel_y(p, e->high), x - 3, panel_y(p, e->low), color);
    fprintf(p->f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", x, y, color);
    *drawn = true;
    last[0] = x;
    last[1] = y;
}

static void panel_curves(const plot_panel *p) {
    char name[TINE_RESULT_NAME_MAX];
    for (size_t c = 0; c < p->curves->n; c++) {
        bool drawn = false;
        double last[2];
        for (size_t i = 0; i < p->r->n; i++)
            if (panel_has(p, &p->r->rows[i]) &&
                !strcmp(curve_name(p->r, &p->r->rows[i], name), p->curves->items[c]))
                curve_point(p, &p->r->rows[i], c, &drawn, last);
    }
}

static void panel_draw(plot_panel *p) {
    panel_scale(p);
    panel_axes(p);
    if (p->measure == p->r->form->ideal)
        fprintf(p->f, "<path class=\"ideal\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", p->left,
                panel_y(p, 0), p->left + PLOT_WIDTH / 1.08, panel_y(p, p->last_x));
    panel_curves(p);
}

/* ---- the picture ---- */

static void legend_draw(FILE *f, const plot_names *curves) {
    for (size_t i = 0; i < curves->n; i++) {
        double y = PLOT_HEAD + (double)i * LEGEND_ROW;
        fprintf(f, "<circle cx=\"%d\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>", PLOT_LEFT + 4, y + 6,
                plot_colors[i % PLOT_CURVES]);
        fprintf(f, "<text x=\"%d\" y=\"%.1f\">", PLOT_LEFT + 16, y + 10);
        tine_svg_text(f, curves->items[i], 120);
        fputs("</text>\n", f);
    }
}

static void title_draw(FILE *f, const tine_results *r) {
    json_object *cpu = NULL;
    fprintf(f, "<text class=\"title\" x=\"%d\" y=\"18\">", PLOT_LEFT);
    tine_svg_text(f, r->form->title, 120);
    if (json_object_object_get_ex(r->machine, "cpu", &cpu) && cpu) {
        fputs(", ", f);
        tine_svg_text(f, json_object_get_string(cpu), 60);
    }
    fputs(", ", f);
    tine_svg_text(f, r->date, 10);
    fputs("</text>\n", f);
}

static plot_names plot_names_room(const tine_results *r) {
    return (plot_names){.items = calloc(r->n + 1, sizeof(char[TINE_RESULT_NAME_MAX]))};
}

static size_t measures_plotted(const tine_result_form *form) {
    size_t n = 0;
    for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++)
        n += form->measures[i].plotted;
    return n;
}

static void panels_draw(plot_panel panel, const plot_names *values, double top) {
    const tine_result_form *form = panel.r->form;
    size_t at = 0;
    for (size_t v = 0; v < values->n; v++)
        for (int i = 0; i < TINE_RESULT_MEASURES && form->measures[i].name; i++) {
            if (!form->measures[i].plotted) continue;
            panel.value = form->panel >= 0 ? values->items[v] : NULL;
            panel.measure = i;
            panel.left = PLOT_LEFT + (double)(at % PLOT_COLUMNS) * (PLOT_WIDTH + PLOT_LEFT);
            size_t row = at / PLOT_COLUMNS;
            panel.top = top + PLOT_TOP + (double)row * (PLOT_TOP + PLOT_HEIGHT + PLOT_BELOW);
            at++;
            panel_draw(&panel);
        }
}

void tine_results_plot(FILE *f, const tine_results *r) {
    plot_names curves = plot_names_room(r), values = plot_names_room(r), ticks = plot_names_room(r);
    plot_panel panel = {.f = f, .r = r, .curves = &curves, .ticks = &ticks};
    char name[TINE_RESULT_NAME_MAX];
    for (size_t i = 0; i < r->n && curves.items && values.items && ticks.items; i++) {
        const char *x = r->rows[i].keys[r->form->x];
        names_index(&curves, curve_name(r, &r->rows[i], name));
        names_index(&values, r->form->panel >= 0 ? r->rows[i].keys[r->form->panel] : "");
        if (ticks.n < PLOT_TICKS || !r->form->keys[r->form->x].number) names_index(&ticks, x);
        panel.last_x = fmax(panel.last_x, strtod(x, NULL));
    }
    size_t panels = values.n * measures_plotted(r->form);
    size_t columns = panels < PLOT_COLUMNS ? panels : PLOT_COLUMNS;
    size_t rows = (panels + PLOT_COLUMNS - 1) / PLOT_COLUMNS;
    double top = PLOT_HEAD + (double)curves.n * LEGEND_ROW;
    tine_svg_begin(
        f, PLOT_LEFT / 2.0 + 14 + (double)columns * (PLOT_WIDTH + PLOT_LEFT),
        top + (double)rows * (PLOT_TOP + PLOT_HEIGHT + PLOT_BELOW),
        ".title{font-weight:bold}.axis.y{text-anchor:end}path{fill:none;stroke-width:1.5}"
        ".ideal{stroke:#98a2b3;stroke-dasharray:4 3}");
    title_draw(f, r);
    legend_draw(f, &curves);
    panels_draw(panel, &values, top);
    fputs("</svg>\n", f);
    free(curves.items);
    free(values.items);
    free(ticks.items);
}
