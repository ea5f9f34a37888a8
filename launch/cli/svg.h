/* What the SVG pictures of `tine trace` and `tine bench` share. */
#ifndef TINE_LAUNCH_CLI_SVG_H
#define TINE_LAUNCH_CLI_SVG_H

#include <stddef.h>
#include <stdio.h>

/* Begins a picture, light or dark as its reader prefers. `style`: further CSS. `</svg>` ends it. */
void tine_svg_begin(FILE *f, double width, double height, const char *style);
/* At most so many characters of a UTF-8 text, escaped; a control character becomes '?'. */
void tine_svg_text(FILE *f, const char *text, size_t most);

#endif
