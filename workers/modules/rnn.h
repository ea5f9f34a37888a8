/* What the classes "lstm" and "gru" share. */
#ifndef TINE_WORKERS_MODULES_RNN_H
#define TINE_WORKERS_MODULES_RNN_H

#include <pthread.h>

#include "kernels/lstm.h"
#include "runtime/call/call.h"

typedef struct tine_rnn {
    struct tine_lstm *packed;
    struct tine_lstm_config config;
    pthread_mutex_t lock;              /* protects spare; no other lock is taken under it */
    struct tine_lstm_workspace *spare; /* left by the last forward for the next; or NULL */
} tine_rnn;

/* The method forward, "input, hx=none, lengths=none": torch.nn.LSTM.forward: [output, [h_n, c_n]];
 * torch.nn.GRU.forward: [output, h_n]. */
tine_value *tine_rnn_forward(tine_task *task);
/* Whether the module is an instance of these classes, and not of a program's of the same name. */
bool tine_rnn_is(const tine_value *module);
/* For the class bilstm: the output alone of a forward, in float32, as half of a tensor twice as
 * wide. Without a `pair`: of x flipped in its first dimension, flipped back, without the copies, as
 * the right half of a new tensor, whose left half is not set. Else: of x, as the left half of
 * `pair`, which comes from such a call and which nobody else has yet; *fits: its shape is that of
 * this module's output, else nothing was done. `module` is one of these classes. NULL: the task has
 * failed, or it does not fit. */
tine_value *tine_rnn_half(tine_task *task, const tine_value *module, const tine_value *x,
                          tine_value *pair, bool *fits);

#endif
