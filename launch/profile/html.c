/* The page: viewer.html, with the profile in the place of its mark. */
#include <string.h>

#include "launch/profile/show.h"

/* viewer.html as a string. */
extern const char tine_viewer_html[];
__asm__(".pushsection .rodata\n"
        ".global tine_viewer_html\n"
        ".hidden tine_viewer_html\n"
        "tine_viewer_html:\n"
        ".incbin \"launch/profile/viewer.html\"\n"
        ".byte 0\n"
        ".popsection\n");

/* JSON as it may stand in a page: `<` is only in strings, where it could end the script. */
static void html_json(FILE *f, json_object *o) {
    const char *text =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    for (; *text; text++)
        if (*text == '<')
            fputs("\\u003c", f);
        else
            fputc(*text, f);
    json_object_put(o);
}

static void html_names(FILE *f, const tine_profile *p) {
    json_object *names = json_object_new_array(), *rows = json_object_new_array();
    char name[256];
    for (size_t i = 0; i < p->n_names; i++)
        json_object_array_add(names, json_object_new_string(p->names[i]));
    for (size_t i = 0; i < p->n_rows; i++) {
        json_object *row = json_object_new_object();
        tine_profile_row_name(p, (int32_t)i, name, sizeof name);
        json_object_object_add(row, "name", json_object_new_string(name));
        json_object_object_add(row, "worker", json_object_new_boolean(p->rows[i].worker));
        json_object_object_add(row, "depth", json_object_new_int(p->rows[i].depth));
        json_object_object_add(row, "first", json_object_new_int64(p->rows[i].first));
        json_object_object_add(row, "n", json_object_new_int64(p->rows[i].n));
        json_object_array_add(rows, row);
    }
    fputs(",\"names\":", f);
    html_json(f, names);
    fputs(",\"rows\":", f);
    html_json(f, rows);
}

/* Flat lists of numbers; viewer.html knows how many belong to one record. */
static void html_records(FILE *f, const tine_profile *p) {
    fputs(",\"slices\":[", f);
    for (size_t i = 0; i < p->n_slices; i++) {
        const tine_slice *s = &p->slices[i];
        fprintf(f, "%s%lld,%lld,%d,%d,%d,%d", i ? "," : "", (long long)s->begin,
                (long long)(s->end - s->begin), s->name, s->kind, s->depth, s->task);
    }
    fputs("],\"tasks\":[", f);
    for (size_t i = 0; i < p->n_tasks; i++) {
        const tine_profiled_task *t = &p->tasks[i];
        fprintf(f, "%s%d,%d,%d,%d,%lld,%lld,%llu", i ? "," : "", t->name, t->fork, t->wait,
                t->parent, (long long)t->forked, (long long)t->waited,
                (unsigned long long)t->bytes_in + (unsigned long long)t->bytes_out);
    }
    fputs("],\"spans\":[", f);
    for (size_t i = 0; i < p->n_suspended; i++) {
        const tine_span *s = &p->suspended[i];
        fprintf(f, "%s%lld,%lld,%d,%d", i ? "," : "", (long long)s->begin, (long long)s->end,
                s->name, s->row);
    }
    fputs("]", f);
}

void tine_profile_html(FILE *f, const char *path, const tine_profile *p, const tine_analysis *a) {
    static const char mark[] = "<!--DATA-->";
    const char *at = strstr(tine_viewer_html, mark);
    fwrite(tine_viewer_html, 1, (size_t)(at - tine_viewer_html), f);
    fputs("<script id=\"data\" type=\"application/json\">{\"file\":", f);
    html_json(f, json_object_new_string(path));
    fprintf(f, ",\"end\":%lld,\"analysis\":", (long long)p->end);
    html_json(f, tine_profile_json(path, p, a));
    html_names(f, p);
    html_records(f, p);
    fputs("}</script>", f);
    fputs(at + sizeof mark - 1, f);
}
