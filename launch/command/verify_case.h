/* One file of `tine verify`: read, forked, compared. */
#ifndef TINE_LAUNCH_COMMAND_VERIFY_CASE_H
#define TINE_LAUNCH_COMMAND_VERIFY_CASE_H

#include <stdbool.h>
#include <stddef.h>

#include "launch/command/safetensors.h"
#include "runtime/tine.h"

enum { TINE_VERIFY_ANSWERS = 3 };
extern const char *const tine_verify_answer_names[TINE_VERIFY_ANSWERS]; /* output, h_n, c_n */

typedef struct tine_verify_lstm { /* what torch.nn.LSTM was constructed with, as its weights tell */
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

/* Reads and checks a file. Errors: as tine_safetensors_open, and EINVAL for one that is no such
 * case; `why` holds a sentence. */
tine_error tine_verify_open(tine_verify_case *c, const char *path, char *why, size_t why_size);
/* Makes the modules and forks them. What fails comes out at tine_verify_finish. */
void tine_verify_start(tine_verify_case *c);
/* Waits, and fills in errors. On failure tine_error_message() tells. */
tine_error tine_verify_finish(tine_verify_case *c);
bool tine_verify_within(const tine_verify_case *c, double limit); /* false for a NaN */
void tine_verify_close(tine_verify_case *c);                      /* accepts a zeroed one */

#endif
