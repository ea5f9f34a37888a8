#!/usr/bin/env python3
"""What a call from Python costs above the same call from C.

Both run in one process, on one coordinator and one set of workers, in turns: the C side is compiled
here and loaded beside the package. Prints medians, and the median of the rounds' ratios with its 95 %
interval (of the sign test): what else the machine does changes both halves of a round.

usage: bench_python.py [--workers N] [--endpoint URL] [--channels C] [--rounds N]   (the package installed, libtine found)"""
import argparse, ctypes, os, statistics, subprocess, tempfile, time

import numpy as np
import tine

C = r"""
#include <time.h>
#include "runtime/tine.h"
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
double scalar(void) {
    double began = now();
    tine_future *f = tine_fork("identity", 1);
    tine_value *v = NULL;
    tine_wait(f, &v);
    volatile int64_t x = tine_as_int(v);
    (void)x;
    tine_release(v), tine_release(f);
    return now() - began;
}
double tensor(int64_t n) {
    static float data[1 << 16];
    double began = now();
    tine_value *x = tine_tensor(TINE_F32, 1, &n, data), *v = NULL;
    tine_future *f = tine_fork("identity", x);
    tine_wait(f, &v);
    volatile float y = ((const float *)tine_data(v))[0];
    (void)y;
    tine_release(v), tine_release(f), tine_release(x);
    return now() - began;
}
double ensemble(tine_value **models, int n, tine_value *x) {
    tine_future *f[16];
    tine_value *out[16];
    double began = now();
    for (int i = 0; i < n; i++) f[i] = tine_fork(models[i], x);
    tine_wait_all(f, n, out);
    tine_value *list = tine_list_of(out, n), *stacked = tine_call("stack", list);
    tine_value *sum = tine_call("sum", stacked, tine_kw("dim", 0));
    double seconds = sum ? now() - began : -1;
    tine_release(sum), tine_release(stacked), tine_release(list);
    for (int i = 0; i < n; i++) tine_release(f[i]), tine_release(out[i]);
    return seconds;
}
"""


def compiled():
    with tempfile.TemporaryDirectory() as at:
        source, library = f"{at}/c.c", f"{at}/c.so"
        with open(source, "w") as f:
            f.write(C)
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", f"-I{root}", source, "-o", library], check=True)
        ctypes.CDLL(tine._library.NAME, ctypes.RTLD_GLOBAL)  # its symbols, for the library made here
        loaded = ctypes.CDLL(library)
    for name in ("scalar", "tensor", "ensemble"):
        getattr(loaded, name).restype = ctypes.c_double
    loaded.tensor.argtypes = [ctypes.c_int64]
    loaded.ensemble.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    return loaded


def timed(fn):
    began = time.perf_counter()
    fn()
    return time.perf_counter() - began


def compare(name, rounds, in_c, in_python, unit=1e6, shown="us"):
    """Seconds, and of the CPU the calling thread's: on a busy machine only these can be compared closely."""
    seconds, cpu = {"C": [], "Python": []}, {"C": [], "Python": []}
    for i in range(rounds):
        for side in ("C", "Python") if i % 2 else ("Python", "C"):  # neither is always the later one
            began = time.thread_time()
            seconds[side].append(in_c() if side == "C" else timed(in_python))
            cpu[side].append(time.thread_time() - began)
    ratios = sorted(p / c for p, c in zip(seconds["Python"], seconds["C"]))
    reach = 0.98 * rounds**0.5
    low, high = ratios[max(int(rounds / 2 - reach), 0)], ratios[min(int(rounds / 2 + reach), rounds - 1)]
    c, python = (unit * statistics.median(seconds[side]) for side in ("C", "Python"))
    c_cpu, python_cpu = (unit * statistics.median(cpu[side]) for side in ("C", "Python"))
    print(f"{name:<26} C {c:8.3f} {shown}  Python {python:8.3f}  above C {python - c:7.3f}", end="")
    print(f"  ratio {statistics.median(ratios):.4f} ({low:.4f} to {high:.4f}, {rounds} rounds)", end="")
    print(f"  CPU of the caller: C {c_cpu:.3f}, Python {python_cpu:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--endpoint")
    parser.add_argument("--channels", type=int, default=1024, help="of the ensemble")
    parser.add_argument("--rounds", type=int, default=25, help="of the ensemble")
    options = parser.parse_args()
    tine.init(options.workers, endpoint=options.endpoint)
    c = compiled()
    print(f"{options.workers} workers at {tine.endpoint()}")
    for _ in range(200):
        c.scalar()
    compare("fork + wait, an int", 5000, c.scalar, lambda: tine.wait(tine.fork("identity", 1)))
    for n in (16, 65536):
        array = np.zeros(n, np.float32)
        compare(f"fork + wait, {n} floats", 3000 if n < 1000 else 500, lambda: c.tensor(n), lambda: tine.wait(tine.fork("identity", array)))

    T, B, C = 50, 50, options.channels
    rng = np.random.default_rng(0)

    def cell():
        shapes = {"weight_ih_l0": (4 * C, C), "weight_hh_l0": (4 * C, C), "bias_ih_l0": (4 * C,), "bias_hh_l0": (4 * C,)}
        weights = {k: ((rng.random(s) * 2 - 1) / C**0.5).astype(np.float32) for k, s in shapes.items()}
        return tine.lstm(C, C, state_dict=weights)

    models = [tine.bilstm(cell(), cell()) for _ in range(4)]
    x = rng.random((T, B, C), dtype=np.float32)
    value = tine._values.to_value(x)
    handles = (ctypes.c_void_p * 4)(*[m._handle for m in models])

    def in_python():
        futures = [tine.fork(model, x) for model in models]
        results = [tine.wait(future) for future in futures]
        return tine.call("sum", tine.call("stack", results), dim=0)

    in_python()
    compare("the tutorial's ensemble", options.rounds, lambda: c.ensemble(handles, 4, value), in_python, 1, "s")
    tine.shutdown()


main()
