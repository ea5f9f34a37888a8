/* Named amounts, "gpu=2,disk=1": what a worker offers (its slots), and what a task takes of it. */
#ifndef TINE_RUNTIME_WIRE_RESOURCES_H
#define TINE_RUNTIME_WIRE_RESOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TINE_RESOURCES_MAX = 16,     /* different ones in one text */
    TINE_RESOURCE_NAME_MAX = 31, /* bytes */
    TINE_RESOURCE_AMOUNT_MAX = 1000000000,
    TINE_RESOURCES_TEXT_MAX = 1024, /* bytes, which the longest text without spaces is below */
};

typedef struct tine_resources {
    uint32_t n;
    struct tine_resource {
        char name[TINE_RESOURCE_NAME_MAX + 1];
        uint32_t amount;      /* not 0 */
    } of[TINE_RESOURCES_MAX]; /* by name */
} tine_resources;

/* Reads "gpu=2, disk": without a number the amount is 1. A name has letters, digits and "_-.", and
 * occurs once. NULL and "" are none. NULL on success, else what is wrong, as a clause. */
const char *tine_resources_parse(const char *text, tine_resources *out);
/* "disk=1,gpu=2": the same for the same ones, however they were written. */
void tine_resources_write(const tine_resources *r, char text[TINE_RESOURCES_TEXT_MAX + 1]);
/* Its place among them; -1: it is not there. */
int tine_resources_find(const tine_resources *r, const char *name);
/* Whether each of `taken` is in `offered`, at least as much. */
bool tine_resources_cover(const tine_resources *offered, const tine_resources *taken);

#endif
