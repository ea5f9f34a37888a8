#!/usr/bin/env python3
"""Write the answers of torch.nn's modules over their parameters: modules.safetensors, and the tutorial's ensemble as a user exports
it: tutorial.safetensors, tutorial.onnx, tutorial_x.npy, tutorial_y.npy.

In modules.safetensors __metadata__ "K" is the constructor of case K as a line: the class, then ints, lists and NAME=VALUE; the items
of a sequential are CLASS:ARG:ARG. Its tensors are K.state.NAME (the state_dict), K.in.NAME (the arguments of forward; hx0 and hx1 are
h_0 and c_0) and K.out.I (the results in order).

usage: make_modules.py tests/golden/models      needs: torch 2.13.0, numpy, safetensors, onnx, onnxscript
"""
import itertools, sys
import numpy, torch
from safetensors.torch import save_file
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

tensors, lines = {}, {}

def add(line, module, inputs, outputs):
    k = str(len(lines))
    lines[k] = line
    for name, t in (module.state_dict() if module else {}).items(): tensors[f"{k}.state.{name}"] = t.clone(memory_format=torch.contiguous_format)
    for name, t in inputs.items(): tensors[f"{k}.in.{name}"] = t.clone(memory_format=torch.contiguous_format)
    for i, t in enumerate(outputs): tensors[f"{k}.out.{i}"] = t.clone(memory_format=torch.contiguous_format)

def value(v): return str(v).lower() if isinstance(v, bool) else str(v).replace(" ", "")

def rnn(kind, I, H, T, B, hx, lengths, **kw):
    module = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](I, H, **kw).eval()
    first = kw.get("batch_first", False)
    x = torch.randn(B, T, I) if first else torch.randn(T, B, I)
    d = kw.get("num_layers", 1) * (2 if kw.get("bidirectional") else 1)
    inputs, state = {"input": x}, None
    if hx:
        inputs["hx0"] = torch.randn(d, B, kw.get("proj_size", 0) or H)
        state = inputs["hx0"]
        if kind == "lstm":
            inputs["hx1"] = torch.randn(d, B, H)
            state = (inputs["hx0"], inputs["hx1"])
    if lengths:
        inputs["lengths"] = torch.tensor(lengths)
        packed = pack_padded_sequence(x, inputs["lengths"], batch_first=first, enforce_sorted=False)
        y, h = module(packed, state)
        y, _ = pad_packed_sequence(y, batch_first=first)
    else:
        y, h = module(x, state)
    line = " ".join([kind, str(I), str(H)] + [f"{k}={value(v)}" for k, v in kw.items()])
    add(line, module, inputs, [y, h] if kind == "gru" else [y, *h])

def rnns():
    forms = itertools.cycle([(False, None), (True, None), (False, [2, 4, 1]), (True, [4, 3, 4]), (True, [1, 3, 2])])
    for kind in "lstm", "gru":
        for layers, bias, both, first, proj in itertools.product([1, 2], [True, False], [False, True], [False, True], [0, 2]):
            if kind == "gru" and proj: continue
            hx, lengths = next(forms)
            kw = dict(num_layers=layers, bias=bias, bidirectional=both, batch_first=first)
            if proj: kw["proj_size"] = proj
            rnn(kind, 3, 5, 4, 3, hx, lengths, **kw)
        rnn(kind, 7, 17, 9, 19, True, [1 + 5 * i % 9 for i in range(19)], bidirectional=True)
        rnn(kind, 2, 33, 2, 1, False, None, dropout=0.5, num_layers=2)

def others():
    for i, o, bias, shape in [(1, 1, True, [1]), (5, 7, True, [5]), (5, 7, False, [3, 5]), (33, 19, True, [2, 3, 33]),
                              (16, 64, True, [7, 16]), (3, 65, False, [4, 1, 1, 3]), (4, 2, True, [0, 4])]:
        m, x = torch.nn.Linear(i, o, bias=bias), torch.randn(shape)
        add(f"linear {i} {o} bias={value(bias)}", m, {"input": x}, [m(x)])
    for kw in [dict(), dict(padding_idx=2), dict(padding_idx=-1), dict(max_norm=1.0), dict(max_norm=2.0, norm_type=1.0),
               dict(max_norm=0.5, norm_type=float("inf"), scale_grad_by_freq=True), dict(sparse=True)]:
        m = torch.nn.Embedding(6, 4, **kw)
        before = {k: v.clone() for k, v in m.state_dict().items()}
        x = torch.randint(0, 6, (3, 4), dtype=torch.int32 if "sparse" in kw else torch.int64)
        y = m(x).clone()
        m.load_state_dict(before)
        add(" ".join(["embedding 6 4"] + [f"{k}={value(v)}" for k, v in kw.items()]), m, {"input": x}, [y])
    for shape, kw in [([5], {}), ([2, 3], {}), ([5], dict(elementwise_affine=False)), ([5], dict(bias=False)), ([1], dict(eps=0.1)),
                      ([7], dict(eps=1e-3)), ([2, 1, 3], dict(eps=1e-12))]:
        m = torch.nn.LayerNorm(shape, **kw)
        for p in m.parameters(): p.data = torch.randn_like(p)
        x = torch.randn([3, 2] + shape) * 3 + 100 * (shape == [7])
        add(" ".join(["layer_norm", value(shape)] + [f"{k}={value(v)}" for k, v in kw.items()]), m, {"input": x}, [m(x)])
    for p in 0.0, 0.7:
        m, x = torch.nn.Dropout(p).eval(), torch.randn(3, 4)
        add(f"dropout {p}", m, {"input": x}, [m(x)])
    m = torch.nn.Sequential(torch.nn.Linear(5, 9), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.LayerNorm(9), torch.nn.Linear(9, 2),
                            torch.nn.Tanh()).eval()
    x = torch.randn(4, 5)
    add("sequential linear:5:9 relu dropout:0.3 layer_norm:9 linear:9:2 tanh", m, {"input": x}, [m(x)])
    x = torch.randn(3, 2)
    add("sequential", torch.nn.Sequential(), {"input": x}, [x])

C = 6

class BidirectionalRecurrentLSTM(torch.nn.Module): # as in the tutorial
    def __init__(self):
        super().__init__()
        self.cell_f = torch.nn.LSTM(input_size=C, hidden_size=C)
        self.cell_b = torch.nn.LSTM(input_size=C, hidden_size=C)

    def forward(self, x):
        output_f, _ = self.cell_f(x)
        output_b, _ = self.cell_b(torch.flip(x, dims=[0]))
        output_b_rev = torch.flip(output_b, dims=[0])
        return torch.cat((output_f, output_b_rev), dim=2)

class LSTMEnsemble(torch.nn.Module):
    def __init__(self, n_models):
        super().__init__()
        self.models = torch.nn.ModuleList([BidirectionalRecurrentLSTM() for _ in range(n_models)])

    def forward(self, x):
        return torch.stack([model(x) for model in self.models]).sum(dim=0)

def tutorial(out):
    ens, x = LSTMEnsemble(n_models=3).eval(), torch.rand(5, 4, C)
    save_file(ens.state_dict(), f"{out}/tutorial.safetensors")
    numpy.save(f"{out}/tutorial_x.npy", x.numpy())
    numpy.save(f"{out}/tutorial_y.npy", ens(x).numpy())
    torch.onnx.export(ens, (x,), f"{out}/tutorial.onnx", input_names=["x"], output_names=["y"], external_data=False)

def main():
    out = sys.argv[1]
    torch.manual_seed(20261126); torch.set_grad_enabled(False)
    rnns(); others()
    save_file(tensors, f"{out}/modules.safetensors", lines)
    tutorial(out)

if __name__ == "__main__": main()
