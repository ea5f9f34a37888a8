#!/usr/bin/env python3
"""The tutorial's ensemble of bidirectional LSTMs on two cores: `tine ensemble` beside torch.jit.fork and wait, OpenVINO and ONNX
Runtime; those that are not installed are left out.
usage: ensemble_peers.py TINE [--rounds 3] [--steps 50] [--models 4] [--dtype f32|bf16] [C,B …]

In each round every system runs once, in a process of its own, so that no threads of one are in the way of another. A figure is the
median over the rounds of a run's own median; the last column is the fastest library's time over Tine's, above 1 where Tine is faster."""
import argparse, importlib.util, json, os, statistics, subprocess, sys, time
from typing import List


def median_time(run, repeat):
    """Seconds of a run, after two that warm up."""
    seconds = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def onnx_model(args, channels, batch):
    """The ensemble as an ONNX model, and its input."""
    import numpy
    from onnx import TensorProto, helper, numpy_helper
    rng, weights, nodes = numpy.random.default_rng(0), [], []
    for k in range(args.models):
        weights += [numpy_helper.from_array((rng.random((2, 4 * channels, channels), dtype=numpy.float32) - 0.5) / 16, f"{name}{k}")
                    for name in "WR"]
        weights.append(numpy_helper.from_array(numpy.zeros((2, 8 * channels), numpy.float32), f"B{k}"))
        nodes.append(helper.make_node("LSTM", ["x", f"W{k}", f"R{k}", f"B{k}"], [f"y{k}"], hidden_size=channels, direction="bidirectional"))
    weights.append(numpy_helper.from_array(numpy.array([args.steps, batch, 2 * channels], numpy.int64), "shape"))
    nodes += [helper.make_node("Sum", [f"y{k}" for k in range(args.models)], ["sum"]),
              helper.make_node("Transpose", ["sum"], ["turned"], perm=[0, 2, 1, 3]),
              helper.make_node("Reshape", ["turned", "shape"], ["y"])]
    graph = helper.make_graph(nodes, "ensemble", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [args.steps, batch, channels])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [args.steps, batch, 2 * channels])], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    made.ir_version = 8
    return made.SerializeToString(), rng.random((args.steps, batch, channels), dtype=numpy.float32)


def load_torch(args, channels, batch):
    """The tutorial's program: the directions of a model and the models are forked."""
    import torch
    torch.set_num_threads(1)
    torch.set_num_interop_threads(2)
    torch.set_grad_enabled(False)

    class Bidirectional(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell_f, self.cell_b = torch.nn.LSTM(channels, channels), torch.nn.LSTM(channels, channels)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            future_f = torch.jit.fork(self.cell_f, x)
            output_b, _ = self.cell_b(torch.flip(x, dims=[0]))
            output_f, _ = torch.jit.wait(future_f)
            return torch.cat((output_f, torch.flip(output_b, dims=[0])), dim=2)

    class Ensemble(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.models = torch.nn.ModuleList([Bidirectional() for _ in range(args.models)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            futures: List[torch.jit.Future[torch.Tensor]] = []
            for model in self.models:
                futures.append(torch.jit.fork(model, x))
            results: List[torch.Tensor] = []
            for future in futures:
                results.append(torch.jit.wait(future))
            return torch.stack(results).sum(dim=0)

    kind = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    ensemble, x = torch.jit.script(Ensemble().to(kind)), torch.rand(args.steps, batch, channels).to(kind)
    return lambda: ensemble(x)


def load_openvino(args, channels, batch):
    import openvino
    made, x = onnx_model(args, channels, batch)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(made, b""), "CPU", {"INFERENCE_NUM_THREADS": "2", "NUM_STREAMS": "1",
                                                                      "INFERENCE_PRECISION_HINT": args.dtype})
    request = compiled.create_infer_request()
    return lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)


def load_onnxruntime(args, channels, batch):
    import onnxruntime
    made, x = onnx_model(args, channels, batch)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})


def tine(args, channels, batch, repeat):
    out = subprocess.run([args.tine, "ensemble", "--workers", "2", "--channels", str(channels), "--batch", str(batch), "--time",
                          str(args.steps), "--models", str(args.models), "--dtype", args.dtype, "--repeat", str(repeat), "--json"],
                         check=True, capture_output=True, text=True)
    return {variant["name"]: variant["seconds"] for variant in json.loads(out.stdout)["variants"]}["models"]


def library(name, size):
    """In a process of its own: the options of this one, and --only."""
    out = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name, "--size", size], check=True, capture_output=True, text=True)
    return float(out.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tine")
    parser.add_argument("sizes", nargs="*", default=["128,1", "256,8", "512,16", "1024,50"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    args = parser.parse_intermixed_args()
    loaders = {"torch": load_torch, "openvino": load_openvino, "onnxruntime": load_onnxruntime}

    def repeat(channels, batch):
        """How often: more for small sizes, whose times vary more."""
        return max(3, min(41, int(3e11 / (32 * args.models * args.steps * batch * channels ** 2) + 3)))

    if args.only:
        channels, batch = map(int, args.size.split(","))
        print(median_time(loaders[args.only](args, channels, batch), repeat(channels, batch)))
        sys.stdout.flush()
        os._exit(0)
    names = [name for name in loaders if importlib.util.find_spec(name) and (name == "torch" or importlib.util.find_spec("onnx"))]
    if args.dtype == "bf16" and "onnxruntime" in names:
        names.remove("onnxruntime")  # has no LSTM in bf16
    if not names:
        sys.exit("ensemble_peers.py: none is installed: pip install torch onnx openvino onnxruntime")
    print(f"{args.models} models, T {args.steps}, {args.dtype}, two cores\n{'C':>5} {'B':>4} {'Tine':>11}",
          *(f"{name:>14}" for name in names), "fastest over Tine")
    for size in args.sizes:
        channels, batch = map(int, size.split(","))
        seconds = {name: [] for name in ["tine", *names]}
        for _ in range(args.rounds):
            seconds["tine"].append(tine(args, channels, batch, repeat(channels, batch)))
            for name in names:
                seconds[name].append(library(name, size))
        own, *others = (statistics.median(times) for times in seconds.values())
        print(f"{channels:5} {batch:4} {own * 1e3:8.2f} ms", *(f"{other * 1e3:11.2f} ms" for other in others),
              f"{min(others) / own:6.3f} x", flush=True)


main()
