/* Printing as PyTorch does, so that output can be compared with a tutorial's by eye or by diff: the
 * rules for width, decimals, scientific notation and summaries are those of torch/_tensor_str.py
 * (precision 4, line width 80, past 1000 elements three at each edge); floats, strings and
 * containers print as Python's repr does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/value/value.h"
#include "transport/base/text.h"

enum { PRECISION = 4, LINE_WIDTH = 80, EDGE = 3, THRESHOLD = 1000 };

typedef struct format {
    const tine_value *v;
    bool floating, int_mode, sci_mode, summarize, numbers;
    int width;
    double min, max; /* of the magnitudes of what is finite and not 0 */
} format;

static int element_text(const format *k, int64_t i, char *to, size_t room) {
    if (!k->floating) return snprintf(to, room, "%lld", (long long)tine_tensor_int_at(k->v, i));
    double x = tine_tensor_float_at(k->v, i);
    if (isnan(x)) return snprintf(to, room, "nan");
    if (isinf(x)) return snprintf(to, room, x < 0 ? "-inf" : "inf");
    if (k->sci_mode) return snprintf(to, room, "%.*e", PRECISION, x);
    if (k->int_mode) return snprintf(to, room, "%.0f.", x);
    return snprintf(to, room, "%.*f", PRECISION, x);
}

/* Calls fn for each element that will be shown. */
static void format_each_shown(format *k, int dim, int64_t base, void (*fn)(format *k, int64_t i)) {
    if (dim == k->v->tensor.rank) {
        fn(k, base);
        return;
    }
    int64_t n = k->v->tensor.shape[dim];
    for (int64_t i = 0; i < n; i++) {
        if (k->summarize && n > 2 * EDGE && i == EDGE) i = n - EDGE;
        format_each_shown(k, dim + 1, base * n + i, fn);
    }
}

static void format_consider(format *k, int64_t i) {
    double x = tine_tensor_float_at(k->v, i), a = fabs(x);
    if (!isfinite(x) || x == 0) return;
    if (!k->numbers || a < k->min) k->min = a;
    if (!k->numbers || a > k->max) k->max = a;
    k->numbers = true;
    if (x != ceil(x)) k->int_mode = false;
}

static void format_measure(format *k, int64_t i) {
    char text[512];
    double x = k->floating ? tine_tensor_float_at(k->v, i) : 1;
    if (!isfinite(x) || x == 0) return;
    int n = element_text(k, i, text, sizeof text);
    if (n > k->width) k->width = n;
}

static void format_init(format *k, const tine_value *v) {
    tine_dtype t = v->tensor.dtype;
    *k = (format){.v = v, .int_mode = true, .width = 1};
    k->floating = t == TINE_F32 || t == TINE_F64 || t == TINE_BF16;
    k->summarize = v->tensor.elements > THRESHOLD;
    if (k->floating) {
        format_each_shown(k, 0, 0, format_consider);
        k->sci_mode = k->numbers &&
                      (k->max / k->min > 1000 || k->max > 1e8 || (!k->int_mode && k->min < 1e-4));
    }
    format_each_shown(k, 0, 0, format_measure);
}

static void print_element(FILE *to, const format *k, int64_t i) {
    char text[512];
    element_text(k, i, text, sizeof text);
    fprintf(to, "%*s", k->width, text);
}

static void print_indent(FILE *to, int n) { fprintf(to, "%*s", n, ""); }

static void print_vector(FILE *to, const format *k, int64_t base, int indent) {
    int64_t n = k->v->tensor.shape[k->v->tensor.rank - 1];
    int per_line = (LINE_WIDTH - indent) / (k->width + 2), on_line = 0;
    if (per_line < 1) per_line = 1;
    fputc('[', to);
    for (int64_t i = 0; i < n; i++) {
        bool gap = k->summarize && n > 2 * EDGE && i == EDGE;
        if (i > 0 && on_line == per_line) {
            fputs(",\n", to);
            print_indent(to, indent + 1);
            on_line = 0;
        } else if (i > 0) {
            fputs(", ", to);
        }
        on_line++;
        if (gap) {
            fputs(" ...", to);
            i = n - EDGE - 1;
        } else {
            print_element(to, k, base * n + i);
        }
    }
    fputc(']', to);
}

static void print_tensor_rows(FILE *to, const format *k, int dim, int64_t base, int indent) {
    int rank = k->v->tensor.rank;
    if (rank == 0) {
        print_element(to, k, 0);
        return;
    }
    if (dim == rank - 1) {
        print_vector(to, k, base, indent);
        return;
    }
    int64_t n = k->v->tensor.shape[dim];
    fputc('[', to);
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) {
            fputc(',', to);
            for (int j = 0; j < rank - dim - 1; j++) fputc('\n', to);
            print_indent(to, indent + 1);
        }
        if (k->summarize && n > 2 * EDGE && i == EDGE) {
            fputs("...", to);
            i = n - EDGE - 1;
        } else {
            print_tensor_rows(to, k, dim + 1, base * n + i, indent + 1);
        }
    }
    fputc(']', to);
}

/* The rows go through memory: whether the dtype fits behind the last line depends on its length. */
static void print_tensor(FILE *to, const tine_value *v) {
    const int indent = 7; /* "tensor(" */
    char *rows = NULL, size[TINE_MAX_RANK * 22 + 16] = "", dtype[32] = "";
    size_t rows_size = 0, last;
    FILE *mem = open_memstream(&rows, &rows_size);
    if (!mem) return;
    fputs("tensor(", mem);
    if (v->tensor.elements == 0) {
        fputs("[]", mem);
    } else {
        format k;
        format_init(&k, v);
        print_tensor_rows(mem, &k, 0, 0, indent);
    }
    if (fclose(mem) != 0) goto out;
    if (v->tensor.elements == 0 && v->tensor.rank != 1) {
        size_t n = (size_t)snprintf(size, sizeof size, "size=(");
        for (int i = 0; i < v->tensor.rank; i++)
            n += (size_t)snprintf(size + n, sizeof size - n, i ? ", %lld" : "%lld",
                                  (long long)v->tensor.shape[i]);
        snprintf(size + n, sizeof size - n, ")");
    }
    if (v->tensor.dtype != TINE_F32 && (v->tensor.dtype != TINE_I64 || v->tensor.elements == 0))
        snprintf(dtype, sizeof dtype, "dtype=torch.%s", tine_dtype_name(v->tensor.dtype));
    fwrite(rows, 1, rows_size, to);
    const char *newline = memrchr(rows, '\n', rows_size);
    last = newline ? rows_size - (size_t)(newline - rows) : rows_size + 2;
    const char *const suffixes[] = {size, dtype};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(suffixes[i]);
        if (n == 0) continue;
        if (last + n + 2 > LINE_WIDTH) {
            fputs(",\n", to);
            print_indent(to, indent);
            last = indent;
        } else {
            fputs(", ", to);
            last += 2;
        }
        fputs(suffixes[i], to);
        last += n;
    }
    fputc(')', to);
out:
    free(rows);
}

/* The shortest text that reads back as the same double, as Python prints it. */
static void print_float(FILE *to, double d) {
    char text[40];
    if (isnan(d) || isinf(d)) {
        fputs(isnan(d) ? "nan" : d < 0 ? "-inf" : "inf", to);
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, d);
        if (strtod(text, NULL) == d) break;
    }
    snprintf(text, sizeof text, "%.*e", digits - 1, d);
    int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = digits - 1 - exponent;
        fprintf(to, "%.*f", decimals > 1 ? decimals : 1, d);
    } else {
        fprintf(to, "%.*e", digits - 1, d);
    }
}

static void print_quoted(FILE *to, const char *s, size_t n, bool bytes) {
    char quote = memchr(s, '\'', n) && !memchr(s, '"', n) ? '"' : '\'';
    fputc(quote, to);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '\n')
            fputs("\\n", to);
        else if (c == '\t')
            fputs("\\t", to);
        else if (c == '\r')
            fputs("\\r", to);
        else if (c == '\\' || c == (unsigned char)quote)
            fprintf(to, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (bytes && c >= 0x80))
            fprintf(to, "\\x%02x", c);
        else
            fputc(c, to);
    }
    fputc(quote, to);
}

static void print_value(FILE *to, const tine_value *v) {
    switch (v ? v->kind : TINE_NONE) {
    case TINE_NONE: fputs(v ? "None" : "NULL", to); break;
    case TINE_BOOL: fputs(v->b ? "True" : "False", to); break;
    case TINE_INT: fprintf(to, "%lld", (long long)v->i); break;
    case TINE_FLOAT: print_float(to, v->d); break;
    case TINE_STRING: print_quoted(to, v->bytes.data, v->bytes.size, false); break;
    case TINE_BYTES:
        fputc('b', to);
        print_quoted(to, v->bytes.data ? v->bytes.data : "", v->bytes.size, true);
        break;
    case TINE_TENSOR: print_tensor(to, v); break;
    case TINE_LIST:
    case TINE_DICT:
        fputc(v->kind == TINE_LIST ? '[' : '{', to);
        for (size_t i = 0; i < v->list.n; i++) {
            if (i) fputs(", ", to);
            if (v->kind == TINE_DICT) {
                print_quoted(to, v->list.keys[i], strlen(v->list.keys[i]), false);
                fputs(": ", to);
            }
            print_value(to, v->list.items[i]);
        }
        fputc(v->kind == TINE_LIST ? ']' : '}', to);
        break;
    case TINE_FUTURE: fputs("<future>", to); break;
    case TINE_MODULE_REF: fprintf(to, "<module %s>", v->bytes.data); break;
    }
}

void tine_value_write(FILE *to, const tine_value *v) {
    locale_t before = tine_text_locale_enter();
    if (v && v->kind == TINE_STRING)
        fwrite(v->bytes.data, 1, v->bytes.size, to);
    else
        print_value(to, v);
    tine_text_locale_leave(before);
}

void tine_print(const tine_value *v) {
    flockfile(stdout); /* lines of two threads do not mix */
    tine_value_write(stdout, v);
    putc_unlocked('\n', stdout);
    funlockfile(stdout);
}
