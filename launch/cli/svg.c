/* See svg.h. */
#include "launch/cli/svg.h"

#include <stdbool.h>

void tine_svg_begin(FILE *f, double width, double height, const char *style) {
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
            "font-family=\"sans-serif\" font-size=\"11\">\n",
            width, height);
    fprintf(f,
            "<style>svg{background:#fff}text{fill:#1d2430}"
            ".axis{fill:#667085;text-anchor:middle}line{stroke:#dfe3ea}%s"
            "@media(prefers-color-scheme:dark){svg{background:#14181f}text{fill:#e4e8ef}"
            "line{stroke:#2b3340}}</style>\n",
            style);
}

void tine_svg_text(FILE *f, const char *text, size_t most) {
    for (size_t n = 0; *text; text++) {
        bool first = ((unsigned char)*text & 0xc0) != 0x80;
        if (first && n++ == most) return;
        if (*text == '<')
            fputs("&lt;", f);
        else if (*text == '&')
            fputs("&amp;", f);
        else if ((unsigned char)*text >= 0x20)
            fputc(*text, f);
        else
            fputc('?', f);
    }
}
