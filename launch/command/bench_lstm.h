/* `tine bench lstm`: the LSTM kernels beside the machine's peak and OpenBLAS. */
#ifndef TINE_LAUNCH_COMMAND_BENCH_LSTM_H
#define TINE_LAUNCH_COMMAND_BENCH_LSTM_H

int tine_bench_lstm(int argc, char **argv);

#endif
