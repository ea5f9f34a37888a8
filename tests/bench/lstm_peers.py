#!/usr/bin/env python3
"""The LSTM of OpenVINO and ONNX Runtime beside Tine's, one thread, in turns; those that are not installed are left out.
usage: lstm_peers.py TINE [--rounds 3] [--steps 50] [--dtype f32|bf16] [C,B …]; by default a grid of C 128 to 1024, B 1 to 128

A figure is the least CPU time over all rounds; the last columns are a library's time over Tine's, above 1 where Tine is faster.
Tine's is that of `tine bench lstm --phases`. Run it under `taskset -c 1`, on a machine that does nothing else."""
import argparse, json, os, subprocess, sys, time

os.environ["OMP_NUM_THREADS"] = "1"
try:
    import numpy, onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as missing:
    sys.exit(f"lstm_peers.py: {missing}: pip install onnx numpy openvino onnxruntime")


def best(run, samples=15, seconds=2e-3):
    """The least CPU seconds of a run, the mean of as many as take 2 ms, after one that warms up: as `tine bench lstm` does."""
    run()
    start = time.process_time()
    run()
    n, least = int(seconds / max(time.process_time() - start, 1e-6)) + 1, float("inf")
    for _ in range(samples):
        start = time.process_time()
        for _ in range(n):
            run()
        least = min(least, (time.process_time() - start) / n)
    return least


def tine(command, steps, batch, channels, dtype):
    out = subprocess.run([command, "bench", "lstm", "--phases", "--quick", "--json", "--time", str(steps), "--batch", str(batch),
                          "--channels", str(channels)], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["profiles"][dtype == "bf16"]["seconds"]


def model(steps, batch, channels):
    """An ONNX model of one LSTM, and its input."""
    rng = numpy.random.default_rng(0)
    weights = [numpy_helper.from_array((rng.random((1, 4 * channels, channels), dtype=numpy.float32) - 0.5) / 16, name) for name in "WR"]
    weights.append(numpy_helper.from_array(numpy.zeros((1, 8 * channels), numpy.float32), "B"))
    graph = helper.make_graph([helper.make_node("LSTM", ["x", "W", "R", "B"], ["y"], hidden_size=channels)], "lstm",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, batch, channels])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, 1, batch, channels])], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    made.ir_version = 8
    return made.SerializeToString(), rng.random((steps, batch, channels), dtype=numpy.float32)


def with_openvino(dtype):
    import openvino
    core = openvino.Core()

    def load(made, x):
        compiled = core.compile_model(core.read_model(made, b""), "CPU", {"INFERENCE_NUM_THREADS": "1", "NUM_STREAMS": "1",
                                                                          "INFERENCE_PRECISION_HINT": dtype})
        request = compiled.create_infer_request()
        return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)
    return "OpenVINO " + openvino.__version__.split("-")[0], load


def with_onnxruntime(dtype):
    import onnxruntime
    if dtype != "f32":
        raise ImportError("ONNX Runtime has no LSTM in bf16")

    def load(made, x):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": x})
    return "ONNX Runtime " + onnxruntime.__version__, load


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tine")
    parser.add_argument("sizes", nargs="*", default=[f"{c},{b}" for c in (128, 256, 512, 1024) for b in (1, 4, 8, 16, 50, 128)])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    args = parser.parse_intermixed_args()
    peers = []
    for library in (with_openvino, with_onnxruntime):
        try:
            peers.append(library(args.dtype))
        except ImportError as missing:
            print(f"skipped: {missing}")
    print(f"LSTM, T {args.steps}, {args.dtype}, one thread\n{'C':>5} {'B':>4} {'Tine':>11} ", *(f"{name:>24}" for name, _ in peers))
    for size in args.sizes:
        channels, batch = map(int, size.split(","))
        made, x = model(args.steps, batch, channels)
        runs = [load(made, x) for _, load in peers]
        own, others = float("inf"), [float("inf")] * len(runs)
        for _ in range(args.rounds):
            own = min(own, tine(args.tine, args.steps, batch, channels, args.dtype))
            others = [min(was, best(run)) for was, run in zip(others, runs)]
        print(f"{channels:5} {batch:4} {own * 1e3:8.3f} ms ", *(f"{other * 1e3:11.3f} ms {other / own:6.3f} x" for other in others), flush=True)


main()
