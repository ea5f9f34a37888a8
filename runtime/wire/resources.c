/* See resources.h. */
#include "runtime/wire/resources.h"

#include <stdio.h>
#include <string.h>

static bool resource_has_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

int tine_resources_find(const tine_resources *r, const char *name) {
    for (uint32_t i = 0; i < r->n; i++)
        if (!strcmp(r->of[i].name, name)) return (int)i;
    return -1;
}

bool tine_resources_cover(const tine_resources *offered, const tine_resources *taken) {
    for (uint32_t i = 0; i < taken->n; i++) {
        int at = tine_resources_find(offered, taken->of[i].name);
        if (at < 0 || offered->of[at].amount < taken->of[i].amount) return false;
    }
    return true;
}

/* The digits at p. False: there are none, or the number is 0 or too large. */
static bool resource_amount(const char **p, uint32_t *out) {
    uint64_t n = 0;
    const char *digits = *p;
    for (; **p >= '0' && **p <= '9' && n <= TINE_RESOURCE_AMOUNT_MAX; ++*p)
        n = n * 10 + (uint64_t)(**p - '0');
    *out = (uint32_t)n;
    return *p > digits && n > 0 && n <= TINE_RESOURCE_AMOUNT_MAX;
}

static const char *resource_parse(const char **p, tine_resources *out) {
    size_t size = 0;
    while (resource_has_letter((*p)[size])) size++;
    if (size == 0) return "a resource has no name; expected NAME=NUMBER,…";
    if (size > TINE_RESOURCE_NAME_MAX) return "a resource's name has more than 31 bytes";
    if (out->n == TINE_RESOURCES_MAX) return "there are more than 16 resources";
    struct tine_resource r = {.amount = 1};
    memcpy(r.name, *p, size);
    *p += size;
    if (tine_resources_find(out, r.name) >= 0) return "a resource is named twice";
    if (**p == '=') {
        ++*p;
        if (!resource_amount(p, &r.amount)) return "an amount is not a number from 1 to 1000000000";
    }
    uint32_t at = out->n++;
    for (; at > 0 && strcmp(out->of[at - 1].name, r.name) > 0; at--) out->of[at] = out->of[at - 1];
    out->of[at] = r;
    return NULL;
}

const char *tine_resources_parse(const char *text, tine_resources *out) {
    const char *p = text ? text : "";
    out->n = 0;
    if (strnlen(p, TINE_RESOURCES_TEXT_MAX + 1) > TINE_RESOURCES_TEXT_MAX)
        return "it has more than 1,024 bytes";
    for (p += strspn(p, " "); *p; p += strspn(p, " ")) {
        const char *wrong = resource_parse(&p, out);
        if (wrong) return wrong;
        p += strspn(p, " ");
        if (!*p) break;
        if (*p++ != ',' || !p[strspn(p, " ")]) return "expected NAME=NUMBER, separated by commas";
    }
    return NULL;
}

void tine_resources_write(const tine_resources *r, char text[TINE_RESOURCES_TEXT_MAX + 1]) {
    int n = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < r->n; i++)
        n += snprintf(text + n, TINE_RESOURCES_TEXT_MAX + 1 - (size_t)n, "%s%s=%u", i ? "," : "",
                      r->of[i].name, r->of[i].amount);
}
