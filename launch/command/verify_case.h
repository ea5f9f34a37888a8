/* One file of `tine verify`: reads it (verify_case.c), forks its model and compares the result
 * (verify_compute.c). */
#ifndef TINE_LAUNCH_COMMAND_VERIFY_CASE_H
#define TINE_LAUNCH_COMMAND_VERIFY_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/safetensors/safetensors.h"
#include "runtime/tine.h"
#include "workers/modules/cells.h"

enum { TINE_VERIFY_ANSWERS = 3 };
extern const char *const tine_verify_answer_names[TINE_VERIFY_ANSWERS]; /* output, h_n, c_n */

typedef struct tine_verify_answer {
    bool compared;
    double rtol, atol; /* an element may be wrong by atol + rtol x |expected| */
    double error;      /* the largest absolute error; NaN where only one of the two is NaN */
    double excess;     /* the largest error as a multiple of what is allowed: up to 1 is right */
} tine_verify_answer;

typedef struct tine_verify_case {
    const char *path;
    tine_safetensors *file;
    tine_cells cells;
    tine_value *weights; /* its state_dict, float32 */
    bool failed;
    /* the input's shape does not show which dimension is the batch: both ways are computed */
    bool batch_first_open;
    const char *batch_first_said; /* in the metadata; NULL: nothing */
    tine_future *futures[2];      /* one a way */
    size_t n_futures;
    tine_verify_answer answers[TINE_VERIFY_ANSWERS];
} tine_verify_case;

/* Reads and checks a file. Errors: as tine_safetensors_open, and EINVAL if the file holds no model
 * of cells with its answers; `why` then holds a sentence. */
tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size);
/* The model is one cell, not a pair or an ensemble. */
bool tine_verify_single(const tine_verify_case *c);
/* F32, F64 or BF16 */
bool tine_verify_floating(const tine_safetensor *t);
/* A tensor of the file; what is of another floating type as float32. */
tine_value *tine_verify_tensor(const tine_safetensor *t);
/* The tensor has a part in the computation or the comparison. */
bool tine_verify_uses(const tine_verify_case *c, const tine_safetensor *t);
/* Creates the module and forks it. tine_verify_finish reports failures. */
void tine_verify_start(tine_verify_case *c);
/* Waits and fills in `answers`. On failure tine_error_message() says why. */
tine_error tine_verify_finish(tine_verify_case *c);
/* All answers are right within their tolerance. */
bool tine_verify_within(const tine_verify_case *c);
void tine_verify_close(tine_verify_case *c); /* accepts a zeroed one */

#endif
