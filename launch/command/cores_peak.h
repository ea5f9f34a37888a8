/* The measured peak of several cores at once: the reference of all "of peak" figures. */
#ifndef TINE_LAUNCH_COMMAND_CORES_PEAK_H
#define TINE_LAUNCH_COMMAND_CORES_PEAK_H

#include "kernels/peak.h"

/* The sum of the GFLOP/s of `cores` threads that run the peak loop of kernels/peak.h at the same
 * time. They run together because two virtual cores may share one physical core: measured one by
 * one their sum would be twice the true peak. 0 if no loop can run. */
double tine_cores_peak(int cores, enum tine_gemm_type type, double seconds);

#endif
