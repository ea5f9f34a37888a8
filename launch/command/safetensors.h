/* A strict reader of safetensors files (https://github.com/huggingface/safetensors, "Format"):
 * eight bytes of header length, little-endian, a JSON header, then the tensors' bytes.
 *
 * A file is accepted whole or refused with one sentence. Refused is all that the format forbids and
 * that a careless reader would trust: a header that is longer than the file, offsets out of range,
 * overlapping, or leaving holes, a size that is not the shape's product, a product that overflows,
 * an unknown dtype, a rank past TINE_MAX_RANK, anything that is not JSON. */
#ifndef TINE_LAUNCH_COMMAND_SAFETENSORS_H
#define TINE_LAUNCH_COMMAND_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/tine.h"

typedef struct tine_safetensor {
    const char *name;
    const char *dtype_name; /* as in the file: "F32" */
    tine_dtype dtype;       /* 0: a type of safetensors that Tine has not (F16, BOOL …) */
    int rank;
    int64_t shape[TINE_MAX_RANK];
    int64_t elements;
    const void *data; /* in the file's mapping, row-major, perhaps unaligned */
    size_t size;
} tine_safetensor;

typedef struct tine_safetensors tine_safetensors;

/* Maps the file. Errors: EINVAL (not a good file), EIO (cannot be read), ENOMEM; `why` then holds a
 * sentence without the path. */
tine_error tine_safetensors_open(tine_safetensors **out, const char *path, char *why,
                                 size_t why_size);
/* The same over bytes of the caller's, which must outlive it. */
tine_error tine_safetensors_parse(tine_safetensors **out, const void *bytes, size_t size, char *why,
                                  size_t why_size);
void tine_safetensors_close(tine_safetensors *s); /* accepts NULL */

size_t tine_safetensors_count(const tine_safetensors *s);
const tine_safetensor *tine_safetensors_at(const tine_safetensors *s,
                                           size_t i); /* in the order of their bytes */
/* NULL: none */
const tine_safetensor *tine_safetensors_find(const tine_safetensors *s, const char *name);
/* A string of __metadata__, or NULL. */
const char *tine_safetensors_meta(const tine_safetensors *s, const char *key);

#endif
