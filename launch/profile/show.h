/* How a profile is shown: as text for a terminal, as JSON, as a page and as a picture. */
#ifndef TINE_LAUNCH_PROFILE_SHOW_H
#define TINE_LAUNCH_PROFILE_SHOW_H

#include <json-c/json.h>
#include <stdio.h>

#include "launch/profile/analysis.h"

typedef struct tine_text_style {
    int columns; /* of the terminal */
    bool color;
} tine_text_style;

void tine_profile_print(FILE *f, const char *path, const tine_profile *p, const tine_analysis *a,
                        tine_text_style style);
/* Times in s. A new object. */
json_object *tine_profile_json(const char *path, const tine_profile *p, const tine_analysis *a);
/* One page that needs no other file. */
void tine_profile_html(FILE *f, const char *path, const tine_profile *p, const tine_analysis *a);
void tine_profile_svg(FILE *f, const tine_profile *p, const tine_analysis *a);

/* "12.3 ms", "1.20 s"; "12.3 MB": into `out`, which they return. */
enum { TINE_SHOWN_MAX = 24 };
const char *tine_show_ns(int64_t ns, char out[static TINE_SHOWN_MAX]);
const char *tine_show_bytes(uint64_t bytes, char out[static TINE_SHOWN_MAX]);
/* "lstm runs", "bilstm waits for its worker"; into `out`, which it returns. */
const char *tine_show_path(const tine_profile *p, const tine_path_part *part, char *out,
                           size_t size);

#endif
