#!/usr/bin/env python3
"""Prints the best seconds of torch.nn.LSTM on one thread, and PyTorch's version.   usage: lstm_pytorch.py T B C

bench_lstm_peers runs it. The exit code is 3 where PyTorch is not installed."""
import os, sys, time

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
try:
    import torch
except ImportError:
    sys.exit(3)
steps, batch, channels = map(int, sys.argv[1:4])
torch.set_num_threads(1)
lstm, x = torch.nn.LSTM(channels, channels), torch.rand(steps, batch, channels)
best = float("inf")
with torch.no_grad():
    lstm(x)
    for _ in range(4):
        start = time.thread_time()
        lstm(x)
        best = min(best, time.thread_time() - start)
print(best, torch.__version__)
