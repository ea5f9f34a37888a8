/* The machine's measured peak over several cores at once: what shares of peak are taken of. */
#ifndef TINE_LAUNCH_COMMAND_CORES_PEAK_H
#define TINE_LAUNCH_COMMAND_CORES_PEAK_H

#include "kernels/peak.h"

/* GFLOP/s of `cores` threads that run the peak loop of kernels/peak.h at the same time, added up.
 * Two virtual cores may be one core's two threads: measured one by one they would promise twice
 * what there is. 0 if no loop can run. */
double tine_cores_peak(int cores, enum tine_gemm_type type, double seconds);

#endif
