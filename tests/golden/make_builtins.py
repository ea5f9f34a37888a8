#!/usr/bin/env python3
"""Write calls of Tine's built-in functions with PyTorch's answers, one call a line, to builtins.txt.

A line is   FUNCTION ARG… [KEY= ARG]… SIGN RESULT
    ARG     @NAME (a tensor of a line "NAME TENSOR"), TENSOR, i:INT, f:FLOAT, b:0, b:1, none, s:TEXT, ( ARG… )
    TENSOR  DTYPE[SHAPE]:HEX, little-endian
    SIGN    = the same bits; ~ torch.testing.assert_close's tolerance for the dtype; ! refused, without a RESULT
What PyTorch refuses and Tine accepts by design (numbers instead of tensors, an int as flip's dims, keepdim without
dim) is left out.

usage: make_builtins.py OUT_FILE [SEED]      needs: torch, numpy
"""
import itertools, sys
import torch

DTYPES = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16, "i64": torch.int64,
          "i32": torch.int32, "u8": torch.uint8}
NAMES = {v: k for k, v in DTYPES.items()}
lines, known = [], {}

def tensor_text(t):
    data = t.contiguous()
    raw = (data.view(torch.int16) if t.dtype == torch.bfloat16 else data).numpy().tobytes()
    return f"{NAMES[t.dtype]}[{','.join(map(str, t.shape))}]:{raw.hex()}"

def text(v):
    if isinstance(v, torch.dtype): return "s:" + NAMES[v]
    if isinstance(v, torch.Tensor): return "@" + known[id(v)][0] if id(v) in known else tensor_text(v)
    if isinstance(v, (list, tuple)): return " ".join(["(", *map(text, v), ")"])
    if isinstance(v, bool): return f"b:{int(v)}"
    if isinstance(v, int): return f"i:{v}"
    if isinstance(v, float): return "f:" + v.hex()
    return "none" if v is None else "s:" + v

def define(name, t):
    known[id(t)] = (name, t)
    lines.append(f"{name} {tensor_text(t)}")
    return t

def call(fn, *args, close=False, **kw):
    said = " ".join([fn, *map(text, args), *(f"{k}= {text(v)}" for k, v in kw.items())])
    try: out = getattr(torch, fn)(*args, **kw)
    except (RuntimeError, TypeError, IndexError, ValueError, NotImplementedError): lines.append(said + " !"); return
    exact = not out.is_floating_point() or not close
    lines.append(f"{said} {'=' if exact else '~'} {tensor_text(out)}")

def make(dtype, *shape):
    if dtype == torch.uint8: return torch.randint(1, 256, shape, dtype=dtype)
    if not dtype.is_floating_point:
        t = torch.randint(-9, 10, shape, dtype=dtype)
        return torch.where(t == 0, torch.tensor(7, dtype=dtype), t)
    return (torch.randn(shape, dtype=torch.float64) * 3).to(dtype)

def binary(tensors):
    pairs = {"add": [("r", "v"), ("v", "s"), ("s", "v"), ("s", "s")], "div": [("v", "c"), ("v", "s"), ("s", "s")],
             "sub": [("v", "s"), ("e", "v")], "mul": [("s", "v"), ("c", "v")]}
    for fn, shapes in pairs.items():
        for (a, b), x, y in itertools.product(shapes, DTYPES, DTYPES): call(fn, tensors[x + a], tensors[y + b])
        for x, n in itertools.product(DTYPES, [2, -1, 300, 2**40 + 1, 0.5, 0.001, True]):
            call(fn, tensors[x + "v"], n)
            call(fn, n, tensors[x + "s"])
    for x, y in itertools.product(DTYPES, DTYPES):
        for fn, alpha in (("add", 2), ("sub", 0.5)): call(fn, tensors[x + "v"], tensors[y + "v"], close=True, alpha=alpha)
        for mode in ("trunc", "floor"):
            call("div", tensors[x + "v"], tensors[y + "s"], rounding_mode=mode)
            call("div", tensors[x + "s"], tensors[y + "v"], rounding_mode=mode)
    many, few = torch.randn(40) * 1000, torch.randn(40)
    for mode in ("trunc", "floor"): call("div", many.bfloat16(), few.bfloat16(), rounding_mode=mode)
    for fn, n in itertools.product(pairs, (3.001, torch.tensor(-7.7), torch.tensor(0.7, dtype=torch.float64))):
        call(fn, many.bfloat16(), n)
        call(fn, n, few.bfloat16())
    call("add", many.bfloat16(), few.bfloat16(), alpha=0.7)
    for x in DTYPES:
        for alpha in (-1, 255, 300, -2**31, 2.0, True): call("add", tensors[x + "v"], tensors[x + "s"], close=True, alpha=alpha)
        for n, mode in itertools.product((0, 2, -3, 2.5), ("trunc", "floor")): call("div", tensors[x + "v"], n, rounding_mode=mode)
        call("div", tensors[x + "v"], 0)
    v = tensors["f32v"]
    for kw in ({"rounding_mode": "ceil"}, {"rounding_mode": 5}, {"alpha": 2}, {"device": "cpu"}): call("div", v, v, **kw)
    for other in ("text", None, [1.0], torch.zeros(2)): call("add", v, other)
    for fn in ("add", "sub", "mul", "div", "matmul"): call(fn, input=v, other=tensors["f32v"])
    call("add", v, v, 2)
    call("add", x1=v, x2=v)
    call("sub", a=v, other=1, alpha=2)

def unary(tensors):
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, -1e-40, 100.0, -100.0])
    for fn, x in itertools.product(("neg", "relu", "tanh", "sigmoid"), DTYPES):
        for s in "vse": call(fn, tensors[x + s], close=fn in ("tanh", "sigmoid"))
        if DTYPES[x].is_floating_point: call(fn, special.to(DTYPES[x]), close=fn in ("tanh", "sigmoid"))
    call("neg", input=tensors["f32v"])
    call("relu", x=tensors["f32v"])
    call("tanh")
    call("neg", tensors["f32v"], device="cpu")
    call("neg", "text")

def reductions(tensors):
    for fn, x in itertools.product(("sum", "mean"), DTYPES):
        t, wide = tensors[x + "3"], DTYPES[x].is_floating_point and x != "bf16"
        for dim, keep in itertools.product((None, 0, -1, [0, 2], [-1, -2], [0, 1, 2], []), (False, True)):
            call(fn, t, dim, close=wide, keepdim=keep)
        for dtype in DTYPES.values(): call(fn, t, [0, 1], close=wide or x != "bf16", dtype=dtype)
        call(fn, t, close=wide, dtype=None)
        for dim in (0, -1, 1, [0], [0, 0]): call(fn, tensors[x + "s"], dim)
        for dim in (None, 0, 1, [0, 1]): call(fn, tensors[x + "e"], dim, keepdim=True)
        call(fn, input=t, close=wide, axis=1, keepdims=True)
        for dim in (3, -4, 0.0, "text", [0, -3], [0.5], True): call(fn, t, dim)
        for keep in (None, "yes", 1.0): call(fn, t, 0, keepdim=keep)
    call("sum", 5)
    call("sum", tensors["f323"], 0, device="cpu")

def products(tensors):
    shapes = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (1, 3, 2)), ((2, 3), (4, 3, 2)),
              ((4, 2, 3), (3,)), ((3,), (4, 3, 2)), ((2, 1, 2, 3), (3, 3, 2)), ((1, 4, 1, 2), (3, 1, 2, 1)), ((2, 0), (0, 3)),
              ((0, 3), (3, 2)), ((0, 2, 3), (1, 3, 2)), ((2, 2, 3), (3, 3, 2)), ((2, 3), (2, 3)), ((), (3,)), ((3,), ())]
    for x, (a, b) in itertools.product(DTYPES, shapes): call("matmul", make(DTYPES[x], *a), make(DTYPES[x], *b), close=True)
    for x, y in itertools.permutations(DTYPES, 2): call("matmul", tensors[x + "v"], tensors[y + "v"])

def joined(tensors):
    for x, y in itertools.product(DTYPES, DTYPES):
        call("cat", [tensors[x + "v"], tensors[y + "v"]])
        call("stack", [tensors[x + "s"], tensors[y + "s"]])
        call("cat", [tensors[x + "v"], torch.zeros(0, dtype=DTYPES[y])])
    for x, dim in itertools.product(DTYPES, (0, 1, -1, -2, 2, -3)):
        call("cat", [tensors[x + "r"], tensors[x + "c"]], dim)
        call("stack", [tensors[x + "v"], tensors[x + "v"]], dim=dim)
    v = tensors["f32v"]
    for fn in ("stack", "cat"):
        call(fn, tensors=[v, v], dim=0)
        call(fn, [v, v], axis=-1)
        for dim in (0.0, None, "text", True): call(fn, [v, v], dim=dim)
        call(fn, [v, v], 0, dim=0)
        call(fn, [v], tensors=[v])
        for bad in ([], [v, 1], [v, None], 5, None, v): call(fn, tensors=bad)
    call("cat", [tensors["f32s"]])
    call("stack", [v, tensors["f32s"]])

def flips(tensors):
    for x in DTYPES:
        for dims in ([0], [1], [-1, 0], [0, 1, 2], [], [0, 0], [3], [-4], [0.5]): call("flip", tensors[x + "3"], dims)
        call("flip", tensors[x + "s"], [0])
        call("flip", input=tensors[x + "e"], dims=[0, 1])
    call("flip", tensors["f32v"])

def filled():
    for fn in ("ones", "zeros"):
        for size in ((), (2,), (2, 3), (0, 2), (-1,), (2.0,)): call(fn, list(size))
        for dtype in (*DTYPES.values(), None): call(fn, 2, 2, dtype=dtype)
        call(fn, size=[2])
        call(fn, [2], 3)
        call(fn, 2, size=[2])
        call(fn, 2, fill_value=3)

def main():
    torch.manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 20261126)
    lines.append(f"# PyTorch {torch.__version__}; see make_builtins.py")
    shapes = {"s": (), "v": (3,), "r": (2, 3), "c": (2, 1), "e": (0, 3), "3": (4, 5, 3)}
    tensors = {x + s: define(x + s, make(d, *shape)) for x, d in DTYPES.items() for s, shape in shapes.items()}
    binary(tensors), unary(tensors), reductions(tensors), products(tensors), joined(tensors), flips(tensors), filled()
    with open(sys.argv[1], "w") as f: f.write("\n".join(lines) + "\n")

if __name__ == "__main__": main()
