/* A strict reader of safetensors files (https://github.com/huggingface/safetensors, "Format"):
 * eight bytes of header length, little-endian, a JSON header, then the tensors' bytes.
 *
 * A file is accepted as a whole or refused with one sentence. Refused are: a header longer than the
 * file, offsets that are out of range, overlap or leave gaps, a size that is not the product of the
 * shape, a product that overflows, a rank past TINE_MAX_RANK, a key that is there twice or holds
 * \u0000, and a header that is not JSON. A tensor of a dtype that is not known here is accepted;
 * its size is not checked. The tables made of a header take at most twice its size. */
#ifndef TINE_RUNTIME_SAFETENSORS_SAFETENSORS_H
#define TINE_RUNTIME_SAFETENSORS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/tine.h"

typedef struct tine_safetensor {
    const char *name;
    const char *dtype_name; /* as in the file: "F32" */
    const int64_t *shape;
    int64_t elements;
    tine_dtype dtype; /* 0: a type that Tine does not have (F16, BOOL …) */
    int rank;
    const void *data; /* in the file's mapping, row-major, may be unaligned */
    size_t size;
} tine_safetensor;

typedef struct tine_safetensors tine_safetensors;

/* Maps the file. Errors: EINVAL (not a valid file), EIO (cannot be read), ENOMEM; `why` then holds
 * a sentence without the path. */
tine_error tine_safetensors_open(tine_safetensors **out, const char *path, char *why,
                                 size_t why_size);
/* Parses the caller's bytes, which must outlive the result. */
tine_error tine_safetensors_parse(tine_safetensors **out, const void *bytes, size_t size, char *why,
                                  size_t why_size);
void tine_safetensors_close(tine_safetensors *s); /* accepts NULL */

size_t tine_safetensors_count(const tine_safetensors *s);
/* In the order of their bytes. NULL: i is out of range. */
const tine_safetensor *tine_safetensors_at(const tine_safetensors *s, size_t i);
/* NULL: there is none. */
const tine_safetensor *tine_safetensors_find(const tine_safetensors *s, const char *name);
/* A string of __metadata__, or NULL. */
const char *tine_safetensors_meta(const tine_safetensors *s, const char *key);

#endif
