/* The measured peak of all workers at once: the reference of all "of peak" figures. */
#ifndef TINE_LAUNCH_COMMAND_PEAK_H
#define TINE_LAUNCH_COMMAND_PEAK_H

#include "kernels/peak.h"
#include "runtime/tine.h"

/* The sum of the GFLOP/s of all workers, on whatever hosts, while each runs the peak loop of
 * kernels/peak.h on its core; the mean is by the wall clock. They run together because virtual
 * cores may share a physical one, and workers a core: measured one by one their sum would be too
 * large. Blocks for about as long. EUNKNOWN: a worker is another program, in which the loop cannot
 * be started. */
tine_error tine_workers_peak(enum tine_gemm_type type, double seconds, struct tine_peak_rate *out);

#endif
