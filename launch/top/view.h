/* The picture of a snapshot: lines of text for a terminal, each at most as wide as it is. */
#ifndef TINE_LAUNCH_TOP_VIEW_H
#define TINE_LAUNCH_TOP_VIEW_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct tine_view {
    int columns, lines; /* lines 0: as many as there are rows */
    bool interactive;   /* marks the selected worker, ends each line for a terminal */
    bool color;
    int sort;          /* < TINE_VIEW_SORTS */
    int64_t selected;  /* a worker's id; 0: none yet */
    const char *below; /* the last line; NULL: the keys */
} tine_view;

enum { TINE_VIEW_SORTS = 6 };

void tine_view_draw(FILE *f, json_object *snapshot, tine_view *v);
/* Selects the worker that stands n rows below the selected one. */
void tine_view_move(json_object *snapshot, tine_view *v, int n);
/* The selected worker; NULL: it is gone. */
json_object *tine_view_selected(json_object *snapshot, const tine_view *v);
const char *tine_view_sort_name(const tine_view *v);

#endif
