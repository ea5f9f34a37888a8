/* One file of `tine verify`: reads it, forks its model, compares the result. */
#ifndef TINE_LAUNCH_COMMAND_VERIFY_CASE_H
#define TINE_LAUNCH_COMMAND_VERIFY_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "launch/command/safetensors.h"
#include "runtime/tine.h"

enum { TINE_VERIFY_ANSWERS = 3 };
extern const char *const tine_verify_answer_names[TINE_VERIFY_ANSWERS]; /* output, h_n, c_n */

typedef struct tine_verify_lstm { /* arguments of torch.nn.LSTM, from its weights */
    int64_t input_size, hidden_size, num_layers, proj_size;
    bool bias, bidirectional, batch_first;
} tine_verify_lstm;

typedef struct tine_verify_case {
    const char *path;
    tine_safetensors *file;
    bool ensemble, failed;
    size_t models;         /* of an ensemble */
    tine_verify_lstm lstm; /* else */
    tine_future **futures; /* one, or one a model */
    size_t n_futures;
    bool compared[TINE_VERIFY_ANSWERS];
    double errors[TINE_VERIFY_ANSWERS];
} tine_verify_case;

/* Reads and checks a file. Errors: as tine_safetensors_open, and EINVAL if the file holds no LSTM
 * or ensemble with its answers; `why` then holds a sentence. */
tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size);
/* Creates the modules and forks them. tine_verify_finish reports failures. */
void tine_verify_start(tine_verify_case *c);
/* Waits and fills in `compared` and `errors`. On failure tine_error_message() says why. */
tine_error tine_verify_finish(tine_verify_case *c);
bool tine_verify_within(const tine_verify_case *c, double limit); /* false for a NaN */
void tine_verify_close(tine_verify_case *c);                      /* accepts a zeroed one */

#endif
