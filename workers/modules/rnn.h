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
/* The method forward_flipped, "input": the output alone of a forward of the input flipped in its
 * first dimension, flipped back; without the copies. For the class bilstm. */
tine_value *tine_rnn_forward_flipped(tine_task *task);

#endif
