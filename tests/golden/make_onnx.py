#!/usr/bin/env python3
"""Write small ONNX models and what they give: onnx/NAME.onnx, exported by PyTorch or made by hand, and onnx/cases.safetensors with
NAME.in.INPUT and NAME.out.OUTPUT, of PyTorch or of ONNX's reference implementation.

usage: make_onnx.py tests/golden/models/onnx      needs: torch 2.13.0, numpy, safetensors, onnx, onnxscript
"""
import sys
import numpy as np, onnx, torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save_file

out, tensors = sys.argv[1], {}

def keep(name, inputs, outputs):
    for k, v in inputs.items(): tensors[f"{name}.in.{k}"] = np.array(v, order="C")
    for k, v in outputs.items(): tensors[f"{name}.out.{k}"] = np.array(v, order="C")

def strip(path):
    """Without the stack traces that the exporter adds."""
    m = onnx.load(path)
    for n in m.graph.node: del n.metadata_props[:]
    for v in list(m.graph.value_info) + list(m.graph.input) + list(m.graph.output): del v.metadata_props[:]
    del m.metadata_props[:]
    onnx.save(m, path)

def exported(name, module, args, inputs, outputs, dynamo=True):
    path = f"{out}/{name}.onnx"
    module = module.eval()
    kw = dict(external_data=False) if dynamo else dict(dynamic_axes={"x": {0: "steps", 1: "batch"}})
    torch.onnx.export(module, args, path, input_names=inputs, output_names=outputs, dynamo=dynamo, **kw)
    strip(path)
    y = module(*args)
    flat = []
    def walk(v): [walk(i) for i in v] if isinstance(v, (tuple, list)) else flat.append(v)
    walk(args); walk_in = [v.numpy() for v in flat]; flat.clear()
    walk(y)
    keep(name, dict(zip(inputs, walk_in)), dict(zip(outputs, [v.numpy() for v in flat])))

def made(name, nodes, inputs, outputs, constants={}):
    info = lambda n, v: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
    graph = helper.make_graph(nodes, name, [info(k, v) for k, v in inputs.items()],
                              [helper.make_tensor_value_info(o, t, None) for o, t in outputs.items()],
                              [numpy_helper.from_array(v, k) for k, v in constants.items()])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(m, f"{out}/{name}.onnx")
    keep(name, inputs, dict(zip(outputs, ReferenceEvaluator(m).run(None, inputs))))

class Stateful(torch.nn.Module):
    def __init__(self): super().__init__(); self.rnn = torch.nn.LSTM(3, 4, bidirectional=True)
    def forward(self, x, h, c): return self.rnn(x, (h, c))

class Classifier(torch.nn.Module):
    """A GRU, the mean over the steps, and two linear layers."""
    def __init__(self):
        super().__init__()
        self.rnn, self.hidden, self.out = torch.nn.GRU(3, 4, num_layers=2, bidirectional=True), torch.nn.Linear(8, 5), torch.nn.Linear(5, 2, bias=False)
    def forward(self, x): return torch.tanh(self.out(torch.relu(self.hidden(self.rnn(x)[0].mean(0)))))

def by_hand():
    N, f, i64 = helper.make_node, np.float32, np.int64
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 3, 4)).astype(f), rng.standard_normal((3, 1)).astype(f)
    F, I = TensorProto.FLOAT, TensorProto.INT64
    made("shapes", [
        N("Constant", [], ["zero"], value_int=0), N("Transpose", ["a"], ["t"], perm=[2, 0, 1]),
        N("Slice", ["a", "s0", "s1", "s2", "s3"], ["sliced"]), N("Slice", ["a", "n0", "n1", "ax"], ["tail"]),
        N("Reshape", ["a", "r"], ["reshaped"]), N("Expand", ["b", "e"], ["expanded"]), N("Flatten", ["a"], ["flat"], axis=2),
        N("Unsqueeze", ["b", "u"], ["u1"]), N("Squeeze", ["u1", "u"], ["squeezed"]), N("Shape", ["a"], ["sh"], start=1),
        N("Gather", ["a", "g"], ["gathered"], axis=1), N("Gather", ["sh", "zero"], ["size"], axis=0),
        N("Concat", ["a", "tail", "a"], ["cat"], axis=-2)],
        {"a": a, "b": b}, {k: F for k in ["t", "sliced", "tail", "reshaped", "expanded", "flat", "squeezed", "gathered", "cat"]} | {"size": I},
        {"s0": np.array([-1, 5], i64), "s1": np.array([-(2**62), 0], i64), "s2": np.array([2, 1], i64), "s3": np.array([-2, -1], i64),
         "n0": np.array([-2], i64), "n1": np.array([2**62], i64), "ax": np.array([1], i64), "r": np.array([0, -1, 2], i64),
         "e": np.array([2, 1, 4], i64), "u": np.array([0, 2], i64), "g": np.array([[2, -3], [0, 1]], i64)})
    m, n = rng.standard_normal((3, 4)).astype(f), rng.standard_normal((4, 2)).astype(f)
    made("arithmetic", [
        N("Add", ["a", "b"], ["add"]), N("Sub", ["a", "b"], ["sub"]), N("Mul", ["a", "b"], ["mul"]), N("Div", ["a", "b"], ["div"]),
        N("Sum", ["a", "b", "a"], ["sum"]), N("Mean", ["a", "b", "a"], ["mean"]), N("ReduceSum", ["a", "axes"], ["rs"], keepdims=0),
        N("ReduceMean", ["a", "axes"], ["rm"]), N("ReduceSum", ["a"], ["all"]), N("Tanh", ["a"], ["tanh"]), N("Sigmoid", ["a"], ["sigmoid"]),
        N("Relu", ["a"], ["relu"]), N("Neg", ["a"], ["neg"]), N("Identity", ["a"], ["same"]), N("Cast", ["a"], ["whole"], to=I), N("MatMul", ["a", "w"], ["matmul"]),
        N("MatMul", ["m", "n"], ["both"]), N("Gemm", ["m", "n", "c"], ["gemm"], alpha=0.5, beta=2.0),
        N("Gemm", ["m", "wt", "bias"], ["linear"], transB=1)],
        {"a": a, "b": b, "m": m, "n": n}, {k: F for k in ["add", "sub", "mul", "div", "sum", "mean", "rs", "rm", "all", "tanh", "sigmoid",
        "relu", "neg", "same", "matmul", "both", "gemm", "linear"]} | {"whole": I},
        {"axes": np.array([0, -1], i64), "w": rng.standard_normal((4, 5)).astype(f), "c": rng.standard_normal(2).astype(f),
         "wt": rng.standard_normal((6, 4)).astype(f), "bias": rng.standard_normal(6).astype(f)})
    x = rng.standard_normal((5, 3, 2)).astype(f)
    w, r, bb = [rng.standard_normal(s).astype(f) for s in ((1, 12, 2), (1, 12, 3), (1, 24))]
    made("reverse", [N("LSTM", ["x", "w", "r", "b"], ["y", "h", "c"], hidden_size=3, direction="reverse")], {"x": x},
         {"y": F, "h": F, "c": F}, {"w": w, "r": r, "b": bb})
    # As PyTorch's exporter leaves large weights: gates i f g o, reordered by nodes.
    gates = rng.standard_normal((12, 2)).astype(f)
    made("folded", [N("Slice", ["g", "p0", "p1", "p0"], ["i"]), N("Slice", ["g", "p1", "p3", "p0"], ["fc"]),
                    N("Slice", ["g", "p3", "p4", "p0"], ["o"]), N("Concat", ["i", "o", "fc"], ["w2"], axis=0),
                    N("Unsqueeze", ["w2", "p0"], ["w"]), N("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=3)], {"x": x}, {"y": F},
         {"g": gates, "r": r, "b": bb, **{f"p{k}": np.array([3 * k], i64) for k in (0, 1, 3, 4)}})
    made("softmax", [N("Softmax", ["x"], ["y"], name="last")], {"x": x}, {"y": F})

def main():
    torch.manual_seed(20261126); torch.set_grad_enabled(False)
    exported("stateful", Stateful(), (torch.randn(5, 2, 3), torch.randn(2, 2, 4), torch.randn(2, 2, 4)), ["x", "h0", "c0"], ["y", "h", "c"])
    exported("classifier", Classifier(), (torch.randn(6, 2, 3),), ["x"], ["y"])
    exported("classifier_torchscript", Classifier(), (torch.randn(6, 2, 3),), ["x"], ["y"], dynamo=False)
    by_hand()
    save_file(tensors, f"{out}/cases.safetensors")

main()
