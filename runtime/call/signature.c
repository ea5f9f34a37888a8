/* See signature.h. The error sentences are those of Python, which callers know. */
#include "runtime/call/signature.h"
#include "transport/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void skip_space(const char **p) {
    while (isspace((unsigned char)**p)) ++*p;
}

static char *parse_identifier(const char **p) {
    const char *from = *p;
    if (!isalpha((unsigned char)**p) && **p != '_') return NULL;
    while (isalnum((unsigned char)**p) || **p == '_') ++*p;
    return strndup(from, (size_t)(*p - from));
}

static tine_value *parse_string(const char **p) {
    char quote = *(*p)++;
    const char *end = strchr(*p, quote);
    if (!end) return NULL;
    tine_value *v =
        tine_utf8_valid(*p, (size_t)(end - *p)) ? tine_string_of(*p, (size_t)(end - *p)) : NULL;
    *p = end + 1;
    return v;
}

static tine_value *parse_number(const char *text) {
    char *end;
    errno = 0;
    long long i = strtoll(text, &end, 0);
    if (*end == 0 && errno == 0 && end != text) return tine_int(i);
    if (*end == 0 && errno == ERANGE) return NULL;
    double d = tine_text_double(text, &end);
    return *end == 0 && end != text ? tine_float(d) : NULL;
}

/* A number, true, false, none or a 'string'. */
static tine_value *parse_default(const char **p) {
    if (**p == '\'' || **p == '"') return parse_string(p);
    char word[64];
    size_t n = strcspn(*p, ", \t\n");
    if (n == 0 || n >= sizeof word) return NULL;
    memcpy(word, *p, n);
    word[n] = 0;
    *p += n;
    if (strcasecmp(word, "none") == 0) return tine_none();
    if (strcasecmp(word, "true") == 0) return tine_bool(true);
    if (strcasecmp(word, "false") == 0) return tine_bool(false);
    return parse_number(word);
}

/* "|alias" and so on, behind a name. */
static bool parse_aliases(tine_parameter *made, const char **p) {
    while (**p == '|') {
        ++*p;
        char **to = &made->aliases[made->n_aliases];
        if (made->n_aliases == TINE_ALIASES || !(*to = parse_identifier(p))) return false;
        made->n_aliases++;
    }
    return true;
}

static bool is_named(const tine_parameter *p, const char *key) {
    if (strcmp(p->name, key) == 0) return true;
    for (size_t i = 0; i < p->n_aliases; i++)
        if (strcmp(p->aliases[i], key) == 0) return true;
    return false;
}

struct parser {
    tine_signature *s;
    bool after_star, after_default;
    const char *wrong;
};

static bool has_parameter(const tine_signature *s, const char *name) {
    for (size_t i = 0; i < s->n; i++)
        if (is_named(&s->parameters[i], name)) return true;
    return false;
}

/* One parameter up to its comma. False: `wrong` is the reason. */
static bool parse_parameter(struct parser *q, const char **p) {
    tine_signature *s = q->s;
    int stars = 0;
    if (s->n > 0 && s->parameters[s->n - 1].kind == TINE_PARAMETER_REST_NAMED)
        return q->wrong = "a parameter follows **", false;
    while (**p == '*' && stars < 2) stars++, ++*p;
    if (stars == 1 && q->after_star) return q->wrong = "a second *", false;
    if (stars == 1) q->after_star = true;
    skip_space(p);
    if (stars == 1 && (**p == ',' || **p == 0)) return true;
    char *name = parse_identifier(p);
    if (!name) return q->wrong = "a name is missing", false;
    tine_parameter *made = &s->parameters[s->n];
    bool twice = has_parameter(s, name);
    *made = (tine_parameter){.name = name};
    bool good = parse_aliases(made, p);
    for (size_t i = 0; i < made->n_aliases; i++)
        twice = twice || has_parameter(s, made->aliases[i]);
    s->n++;
    if (!good) return q->wrong = "an alias is missing, or there are more than 3", false;
    if (twice) return q->wrong = "a name is used twice", false;
    if (stars) {
        made->kind = stars == 1 ? TINE_PARAMETER_REST : TINE_PARAMETER_REST_NAMED;
        return true;
    }
    made->kind = q->after_star ? TINE_PARAMETER_KEYWORD : TINE_PARAMETER_ANY;
    if (!q->after_star) s->n_positional++;
    skip_space(p);
    if (**p == '=') {
        ++*p;
        skip_space(p);
        if (!(made->fallback = parse_default(p)))
            return q->wrong = "a default is not a number, true, false, none or 'string' (an int "
                              "has 64 bits)",
                   false;
        q->after_default = true;
    } else if (q->after_default && !q->after_star) {
        return q->wrong = "a parameter without a default follows one with", false;
    }
    return true;
}

static size_t find_kind(const tine_signature *s, enum tine_parameter_kind kind) {
    for (size_t i = 0; i < s->n; i++)
        if (s->parameters[i].kind == kind) return i;
    return s->n;
}

tine_signature *tine_signature_parse(const char *text, char *why, size_t why_size) {
    size_t most = 1;
    for (const char *p = text; *p; p++) most += *p == ',';
    tine_pool *pool = tine_current.pool; /* defaults outlive the task that registers late */
    tine_current.pool = NULL;
    struct parser q = {.s = calloc(1, sizeof *q.s + most * sizeof *q.s->parameters)};
    const char *p = text;
    if (!q.s) q.wrong = "no memory";
    skip_space(&p);
    while (q.s && *p) {
        if (!parse_parameter(&q, &p)) break;
        skip_space(&p);
        if (*p == 0) break;
        if (*p != ',') {
            q.wrong = "a comma is missing";
            break;
        }
        p++;
        skip_space(&p);
        if (*p == 0) q.wrong = "nothing follows the last comma";
    }
    tine_current.pool = pool;
    if (!q.wrong) {
        q.s->rest = find_kind(q.s, TINE_PARAMETER_REST);
        q.s->rest_named = find_kind(q.s, TINE_PARAMETER_REST_NAMED);
        return q.s;
    }
    snprintf(why, why_size, "%s at \"%s\" of \"%s\"", q.wrong, p, text);
    tine_signature_free(q.s);
    return NULL;
}

void tine_signature_free(tine_signature *s) {
    for (size_t i = 0; s && i < s->n; i++) {
        free(s->parameters[i].name);
        for (size_t k = 0; k < s->parameters[i].n_aliases; k++) free(s->parameters[i].aliases[k]);
        tine_value_unref(s->parameters[i].fallback);
    }
    free(s);
}

static const char *plural(size_t n) { return n == 1 ? "" : "s"; }

static tine_error refuse_too_many(const tine_signature *s, const char *name, size_t given) {
    size_t required = 0;
    for (size_t i = 0; i < s->n_positional; i++) required += !s->parameters[i].fallback;
    const char *were = given == 1 ? "was" : "were";
    if (required == s->n_positional)
        return tine_error_set(TINE_EINVAL, "%s() takes %zu positional argument%s but %zu %s given",
                              name, required, plural(required), given, were);
    return tine_error_set(TINE_EINVAL,
                          "%s() takes from %zu to %zu positional arguments but %zu %s given", name,
                          required, s->n_positional, given, were);
}

static tine_error refuse_missing(const tine_signature *s, const char *name, tine_value **bound,
                                 enum tine_parameter_kind kind) {
    size_t count = 0, done = 0, n = 0;
    char names[512] = "";
    for (size_t i = 0; i < s->n; i++) count += !bound[i] && s->parameters[i].kind == kind;
    for (size_t i = 0; i < s->n && n < sizeof names; i++) {
        if (bound[i] || s->parameters[i].kind != kind) continue;
        const char *before = done == 0          ? ""
                             : done + 1 < count ? ", "
                             : count > 2        ? ", and "
                                                : " and ";
        n += (size_t)snprintf(names + n, sizeof names - n, "%s'%s'", before, s->parameters[i].name);
        done++;
    }
    return tine_error_set(TINE_EINVAL, "%s() missing %zu required %s argument%s: %s", name, count,
                          kind == TINE_PARAMETER_ANY ? "positional" : "keyword-only", plural(count),
                          names);
}

static size_t find_parameter(const tine_signature *s, const char *key) {
    for (size_t i = 0; i < s->n; i++)
        if (s->parameters[i].kind <= TINE_PARAMETER_KEYWORD && is_named(&s->parameters[i], key))
            return i;
    return s->n;
}

static tine_error bind_positional(const tine_signature *s, const char *name,
                                  const tine_arguments *a, tine_value **bound) {
    size_t rest = s->rest;
    size_t n = a->n_positional < s->n_positional ? a->n_positional : s->n_positional;
    for (size_t i = 0; i < s->n; i++) bound[i] = i < n ? tine_value_ref(a->positional[i]) : NULL;
    if (rest == s->n)
        return a->n_positional > n ? refuse_too_many(s, name, a->n_positional) : TINE_OK;
    bound[rest] = tine_list_of(a->positional + n, a->n_positional - n);
    return bound[rest] ? TINE_OK : tine_last_error();
}

static tine_error bind_named(const tine_signature *s, const char *name, const tine_arguments *a,
                             tine_value **bound) {
    size_t rest = s->rest_named, n_rest = 0;
    const char **keys = NULL;
    tine_value **items = NULL;
    tine_error e = TINE_OK;
    if (a->n_named == 0 && rest == s->n) return TINE_OK;
    if (rest < s->n) {
        keys = calloc(a->n_named + 1, sizeof *keys);
        items = calloc(a->n_named + 1, sizeof *items);
        if (!keys || !items)
            e = tine_error_set(TINE_ENOMEM, "no memory for the arguments of %s()", name);
    }
    for (size_t i = 0; i < a->n_named && e == TINE_OK; i++) {
        size_t at = find_parameter(s, a->keys[i]);
        if (at < s->n && bound[at])
            e = tine_error_set(TINE_EINVAL, "%s() got multiple values for argument '%s'", name,
                               a->keys[i]);
        else if (at < s->n)
            bound[at] = tine_value_ref(a->named[i]);
        else if (rest == s->n)
            e = tine_error_set(TINE_EINVAL, "%s() got an unexpected keyword argument '%s'", name,
                               a->keys[i]);
        else
            keys[n_rest] = a->keys[i], items[n_rest++] = a->named[i];
    }
    if (e == TINE_OK && rest < s->n) {
        bound[rest] = tine_dict_of(keys, items, n_rest);
        if (!bound[rest]) e = tine_last_error();
    }
    free(keys);
    free(items);
    return e;
}

/* To the kind that the default declares: C11's true is an int, and 1 may stand for 1.0. */
static tine_error bind_convert(const tine_parameter *p, const char *name, tine_value **v) {
    tine_kind wanted = p->fallback ? p->fallback->kind : TINE_NONE, kind = (*v)->kind;
    tine_value *converted = NULL;
    if (wanted == TINE_BOOL && kind == TINE_INT && (*v)->i >= 0 && (*v)->i <= 1)
        converted = tine_bool((*v)->i);
    else if (wanted == TINE_BOOL && kind == TINE_INT)
        return tine_error_set(TINE_EINVAL, "%s(): argument '%s' must be a bool, 0 or 1, not %lld",
                              name, p->name, (long long)(*v)->i);
    else if (wanted == TINE_BOOL && kind != TINE_BOOL)
        return tine_error_set(TINE_EINVAL, "%s(): argument '%s' must be bool, not %s", name,
                              p->name, tine_kind_name(kind));
    else if (wanted == TINE_FLOAT && kind == TINE_INT && tine_int_is_double((*v)->i))
        converted = tine_float((double)(*v)->i);
    else
        return TINE_OK;
    if (!converted) return tine_last_error();
    tine_value_unref(*v);
    *v = converted;
    return TINE_OK;
}

tine_error tine_signature_bind(const tine_signature *s, const char *name, const tine_arguments *a,
                               tine_value **bound) {
    tine_pool *pool = tine_current.pool;
    tine_current.pool = NULL;
    tine_error e = bind_positional(s, name, a, bound);
    if (e == TINE_OK) e = bind_named(s, name, a, bound);
    size_t missed[2] = {0, 0};
    for (size_t i = 0; i < s->n && e == TINE_OK; i++) {
        if (bound[i]) {
            e = bind_convert(&s->parameters[i], name, &bound[i]);
            continue;
        }
        bound[i] = tine_value_ref(s->parameters[i].fallback);
        if (!bound[i]) missed[s->parameters[i].kind == TINE_PARAMETER_KEYWORD]++;
    }
    if (e == TINE_OK && missed[0]) e = refuse_missing(s, name, bound, TINE_PARAMETER_ANY);
    if (e == TINE_OK && missed[1]) e = refuse_missing(s, name, bound, TINE_PARAMETER_KEYWORD);
    for (size_t i = 0; i < s->n && e != TINE_OK; i++) {
        tine_value_unref(bound[i]);
        bound[i] = NULL;
    }
    tine_current.pool = pool;
    return e;
}
