"""Tine: TorchScript's fork and wait, across processes.

    import numpy as np, tine

    tine.init(workers=2)
    future = tine.fork("neg", np.ones(3, np.float32))
    print(tine.wait(future))  # [-1. -1. -1.]

Workers run the same script up to init(), and then serve. Functions of @tine.function run as tasks; so
do the built-in functions and modules. Every failure is a tine.Error, with its code, task, worker and
cause. Threads may call everything; a future belongs to the process that forked it."""
from ._calls import Future, Module, Promise, Stream, as_completed, call, call_method, cancelled, fork, fork_method, fork_with, module, put, stream
from ._calls import wait, wait_all, wait_any, wait_failure, when_all, when_any
from ._executor import Executor, allow_pickle
from ._functions import function
from ._library import ArgumentError, CanceledError, DeadlockError, Error, LostError, TaskError, TimeoutError, UnknownError, version
from ._modules import bilstm, dropout, embedding, ensemble, from_torch, gru, layer_norm, linear, load, lstm, save, sequential
from ._pool import endpoint, init, pool, shutdown, trace_start, trace_write, worker_count, worker_id
from ._values import Value

__version__ = version
__all__ = [
    "ArgumentError", "CanceledError", "DeadlockError", "Error", "Executor", "Future", "LostError", "Module",
    "Promise", "Stream", "TaskError", "TimeoutError", "UnknownError", "Value", "allow_pickle", "as_completed",
    "bilstm", "call", "call_method", "cancelled", "dropout", "embedding", "endpoint", "ensemble", "fork",
    "fork_method", "fork_with", "from_torch", "function", "gru", "init", "layer_norm", "linear", "load", "lstm",
    "module", "pool", "put", "save", "sequential", "shutdown", "stream", "trace_start", "trace_write", "wait",
    "wait_all", "wait_any", "wait_failure", "when_all", "when_any", "worker_count", "worker_id",
]
