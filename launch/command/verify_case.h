/* One file of `tine verify`: reads it (verify_case.c), forks its model and compares the result
 * (verify_compute.c). */
#ifndef TINE_LAUNCH_COMMAND_VERIFY_CASE_H
#define TINE_LAUNCH_COMMAND_VERIFY_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/safetensors/safetensors.h"
#include "runtime/tine.h"

enum { TINE_VERIFY_ANSWERS = 3 };
extern const char *const tine_verify_answer_names[TINE_VERIFY_ANSWERS]; /* output, h_n, c_n */

typedef struct tine_verify_lstm { /* arguments of torch.nn.LSTM, from its weights */
    int64_t input_size, hidden_size, num_layers, proj_size;
    bool bias, bidirectional, batch_first;
} tine_verify_lstm;

typedef struct tine_verify_answer {
    bool compared;
    double rtol, atol; /* an element may be wrong by atol + rtol x |expected| */
    double error;      /* the largest absolute error; NaN where only one of the two is NaN */
    double excess;     /* the largest error as a multiple of what is allowed: up to 1 is right */
} tine_verify_answer;

typedef struct tine_verify_case {
    const char *path;
    tine_safetensors *file;
    bool ensemble, failed;
    size_t models;         /* of an ensemble */
    tine_verify_lstm lstm; /* else */
    /* the input's shape does not show which dimension is the batch: both ways are computed */
    bool batch_first_open;
    const char *batch_first_said; /* in the metadata; NULL: nothing */
    tine_future **futures;        /* one, one a way, or one a model */
    size_t n_futures;
    tine_verify_answer answers[TINE_VERIFY_ANSWERS];
} tine_verify_case;

/* Reads and checks a file. Errors: as tine_safetensors_open, and EINVAL if the file holds no LSTM
 * or ensemble with its answers; `why` then holds a sentence. */
tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size);
/* Tensor `prefix``name` is in the file. */
bool tine_verify_has(const tine_verify_case *c, const char *prefix, const char *name);
/* F32, F64 or BF16 */
bool tine_verify_floating(const tine_safetensor *t);
/* The tensor has a part in the computation or the comparison. */
bool tine_verify_uses(const tine_verify_case *c, const tine_safetensor *t);
/* The configuration of an ensemble's cell, 0 forward or 1 backward. */
tine_error tine_verify_cell(tine_verify_case *c, size_t model, int cell, tine_verify_lstm *out,
                            char *why, size_t why_size);
/* Creates the modules and forks them. tine_verify_finish reports failures. */
void tine_verify_start(tine_verify_case *c);
/* Waits and fills in `answers`. On failure tine_error_message() says why. */
tine_error tine_verify_finish(tine_verify_case *c);
/* All answers are right within their tolerance. */
bool tine_verify_within(const tine_verify_case *c);
void tine_verify_close(tine_verify_case *c); /* accepts a zeroed one */

#endif
