/* An LSTM in double precision, computed directly from its formula: the reference for the ensemble's
 * output. It shares no code with the kernels, the runtime or OpenBLAS. */
#ifndef TINE_LAUNCH_COMMAND_REFERENCE_H
#define TINE_LAUNCH_COMMAND_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>

enum { TINE_REFERENCE_COLUMNS = 4 };

typedef struct tine_reference_lstm {
    size_t steps, input, hidden;
    const float *w_ih, *w_hh, *b_ih, *b_hh; /* as in torch.nn.LSTM's state_dict, layer 0 */
    bool reverse;                           /* from the last step to the first */
} tine_reference_lstm;

/* x: [steps][input][COLUMNS], one batch column in each of the last index; h:
 * [steps][hidden][COLUMNS], in the order of x. False: no memory. */
bool tine_reference_run(const tine_reference_lstm *l, const double *x, double *h);

#endif
