/* Reading the JSON header of a safetensors file into tables; see safetensors.h. */
#ifndef TINE_RUNTIME_SAFETENSORS_HEADER_H
#define TINE_RUNTIME_SAFETENSORS_HEADER_H

#include "runtime/safetensors/json.h"
#include "runtime/safetensors/safetensors.h"

struct tine_safetensors {
    char *text; /* names, dtypes and metadata, decoded */
    tine_safetensor *tensors;
    int64_t *dimensions;           /* all shapes */
    uint32_t *by_offset, *by_name; /* indices of tensors */
    uint32_t *metadata;            /* offsets in text of keys, each followed by its value; sorted */
    size_t n, n_metadata;
    void *mapping; /* NULL: the caller's bytes */
    size_t mapping_size;
};

typedef struct tine_header_reader {
    tine_json_reader json;
    const uint8_t *data; /* the section behind the header */
    uint64_t size;
    tine_safetensors *s;
    bool counting; /* the first pass: there are no tables yet */
    bool metadata_seen;
    size_t text, dimensions; /* used so far */
    size_t text_room;
    char *why;
    size_t why_size;
} tine_header_reader;

/* Puts a sentence into `why`, without control characters. Returns TINE_EINVAL. */
tine_error tine_header_refuse(const tine_header_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One pass over the header: counts tensors, dimensions and metadata, and fills in the tables unless
 * `counting`. */
tine_error tine_header_read(tine_header_reader *r);

#endif
