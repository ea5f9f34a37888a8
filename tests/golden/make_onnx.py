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

def made(name, nodes, inputs, outputs, constants={}, opset=18, run=True):
    info = lambda n, v: helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
    graph = helper.make_graph(nodes, name, [info(k, v) for k, v in inputs.items()],
                              [helper.make_tensor_value_info(o, t, None) for o, t in outputs.items()],
                              [numpy_helper.from_array(v, k) for k, v in constants.items()])
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(m, f"{out}/{name}.onnx")
    if run: keep(name, inputs, dict(zip(outputs, ReferenceEvaluator(m).run(None, inputs))))

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
    z = np.concatenate([rng.standard_normal(18).astype(f) * 3, np.array([0, -0.0, 1e-6, 30, -30, -20], f)]).reshape(2, 3, 4)
    plain = ["Abs", "Celu", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "LogSoftmax", "Mish", "Selu", "Softmax", "Softplus",
             "Softsign", "ThresholdedRelu"]
    made("activations", [N(op, ["z"], [op]) for op in plain] + [
        N("Gelu", ["z"], ["fast"], approximate="tanh"), N("Elu", ["z"], ["elu"], alpha=0.5), N("Celu", ["z"], ["celu"], alpha=0.5),
        N("LeakyRelu", ["z"], ["leaky"], alpha=0.25), N("HardSigmoid", ["z"], ["hard"], alpha=0.25, beta=0.375), N("Selu", ["z"], ["selu"], alpha=2.0, gamma=1.5),
        N("ThresholdedRelu", ["z"], ["over"], alpha=0.5), N("Softmax", ["z"], ["first"], axis=0), N("LogSoftmax", ["z"], ["middle"], axis=-2),
        N("Clip", ["z", "low", "high"], ["clip"]), N("Clip", ["z", "", "high"], ["below"]), N("Clip", ["z", "high", "low"], ["crossed"]), N("PRelu", ["z", "slope"], ["prelu"]),
        N("LayerNormalization", ["z", "scale", "shift"], ["norm"], epsilon=1e-3), N("LayerNormalization", ["z", "wide"], ["norm2"], axis=1)],
        {"z": z}, {k: F for k in plain + ["fast", "elu", "celu", "leaky", "hard", "selu", "over", "first", "middle", "clip", "below", "crossed", "prelu", "norm", "norm2"]},
        {"low": np.array(-0.5, f), "high": np.array(0.75, f), "slope": rng.standard_normal((3, 1)).astype(f), "scale": rng.standard_normal(4).astype(f),
         "shift": rng.standard_normal(4).astype(f), "wide": rng.standard_normal((3, 4)).astype(f)}, opset=20)
    # Before opset 13 softmax takes all dimensions from the axis on, and bounds of Clip are attributes. Default activations are written out.
    made("old", [N("Softmax", ["z"], ["soft"]), N("LogSoftmax", ["z"], ["log"], axis=2), N("Clip", ["z"], ["clip"], min=-1.0, max=2.0),
                 N("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=3, activations=["Sigmoid", "tanh", "Tanh"])], {"x": x, "z": z},
         {"soft": F, "log": F, "clip": F, "y": F}, {"w": w, "r": r, "b": bb}, opset=8, run=False)
    flat = z.reshape(2, 12).astype(np.float64); e = np.exp(flat - flat.max(1, keepdims=True)); last = z.astype(np.float64) - z.max(2, keepdims=True)
    y = torch.nn.LSTM(2, 3)
    order = np.r_[0:3, 6:12, 3:6]  # i o f g to i f g o
    for k, v in (("weight_ih_l0", w[0]), ("weight_hh_l0", r[0]), ("bias_ih_l0", bb[0, :12]), ("bias_hh_l0", bb[0, 12:])): getattr(y, k).data = torch.from_numpy(v[order])
    keep("old", {"x": x, "z": z}, {"soft": (e / e.sum(1, keepdims=True)).reshape(z.shape).astype(f), "log": (last - np.log(np.exp(last).sum(2, keepdims=True))).astype(f),
                                   "clip": np.clip(z, -1, 2), "y": y(torch.from_numpy(x))[0].numpy()[:, None]})
    gru = [w[:, :9], r[:, :9], np.concatenate([bb[:, :9], bb[:, 12:21]], 1)]
    lstm = {"w": w, "r": r, "b": bb}
    for name, node in {"gru_before_reset": N("GRU", ["x", "w", "r", "b"], ["y"], name="last", hidden_size=3),
                       "lstm_activations": N("LSTM", ["x", "w", "r", "b"], ["y"], name="last", hidden_size=3, activations=["Sigmoid", "Relu", "Tanh"]),
                       "lstm_clip": N("LSTM", ["x", "w", "r", "b"], ["y"], name="last", hidden_size=3, clip=1.0),
                       "lstm_layout": N("LSTM", ["x", "w", "r", "b"], ["y"], name="last", hidden_size=3, layout=1),
                       "lstm_peepholes": N("LSTM", ["x", "w", "r", "b", "", "", "", "p"], ["y"], name="last", hidden_size=3),
                       "split": N("Split", ["x"], ["y", "z"], name="last", axis=0, num_outputs=2)}.items():
        weights = dict(zip("wrb", gru)) if name[0] == "g" else lstm if name[0] == "l" else {}
        made("refused_" + name, [node], {"x": x}, {"y": F}, weights | ({"p": np.zeros((1, 9), f)} if "peep" in name else {}), run=False)

def main():
    torch.manual_seed(20261126); torch.set_grad_enabled(False)
    exported("stateful", Stateful(), (torch.randn(5, 2, 3), torch.randn(2, 2, 4), torch.randn(2, 2, 4)), ["x", "h0", "c0"], ["y", "h", "c"])
    exported("classifier", Classifier(), (torch.randn(6, 2, 3),), ["x"], ["y"])
    exported("classifier_torchscript", Classifier(), (torch.randn(6, 2, 3),), ["x"], ["y"], dynamo=False)
    by_hand()
    save_file(tensors, f"{out}/cases.safetensors")

main()
