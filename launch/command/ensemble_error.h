/* How far the ensemble's result is from double precision. */
#ifndef TINE_LAUNCH_COMMAND_ENSEMBLE_ERROR_H
#define TINE_LAUNCH_COMMAND_ENSEMBLE_ERROR_H

#include "launch/bench/ensemble_model.h"

/* The largest difference of `output` from a computation in double precision, in some columns of the
 * batch. Computes on all cores. *columns: how many were compared. Errors: ENOMEM. */
tine_error tine_ensemble_error(const tine_ensemble *e, const tine_value *output, double *error,
                               long *columns);

#endif
