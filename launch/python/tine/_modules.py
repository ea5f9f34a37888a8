"""Modules made from PyTorch's, and files of tensors.

Weights are taken as they are: a tensor of a torch module is passed by reference where it is large."""
import os
from typing import Any, Callable, Optional

from ._calls import Module, module
from ._library import free, held, last_error
from ._values import checked, taken, to_value

_RNN = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
# torch.nn's class: Tine's, and the attributes that are parameters of both
_CLASSES: dict[Any, Any] = {
    "LSTM": ("lstm", _RNN + ("proj_size",)),
    "GRU": ("gru", _RNN),
    "Linear": ("linear", ("in_features", "out_features")),
    "Embedding": ("embedding", ("num_embeddings", "embedding_dim", "padding_idx", "max_norm", "norm_type")),
    "LayerNorm": ("layer_norm", ("normalized_shape", "eps")),
    "Dropout": ("dropout", ("p",)),
}
_ROUNDED = ("lstm", "gru", "linear")  # they have a dtype
_FUNCTIONS = {"ReLU": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Identity": "identity"}


def _kind(x: Any) -> str:
    """The class of a torch module, also of a scripted one; "" for something else."""
    return getattr(x, "original_name", type(x).__name__) if hasattr(x, "state_dict") else ""


def _with_weights(name: str, settings: dict[Any, Any], torch_module: Any, dtype: Optional[str]) -> Module:
    weights = {key: tensor.detach() for key, tensor in torch_module.state_dict().items()}
    if dtype and name in _ROUNDED:
        settings["dtype"] = dtype
    elif any(str(tensor.dtype) == "torch.bfloat16" for tensor in weights.values()):
        settings["dtype"] = "bf16"
    if name == "linear":
        settings["bias"] = "bias" in weights
    if name == "layer_norm":
        settings.update(elementwise_affine="weight" in weights, bias="bias" in weights, normalized_shape=list(settings["normalized_shape"]))
    if name == "dropout":
        return module(name, **settings)
    return module(name, **settings, state_dict=weights)


def from_torch(torch_module: Any, dtype: Optional[str] = None) -> Module:
    """The module that computes what a torch module does after eval(), with its weights.

    dtype  "f32", "bf16" or "int8": of the operands of products (launch/MODELS.md); None: bf16 where the
           weights are bfloat16, else f32. "int8" is for what torch's quantize_dynamic is for; pass the
           module as it was before that.

    LSTM, GRU, Linear, Embedding, LayerNorm, Dropout, and Sequential of these and of ReLU, Tanh, Sigmoid
    and Identity; the tutorial's classes, found by their attributes: one with `cell_f` and `cell_b`, and
    one with `models`. Scripted ones too. Their results come as torch tensors. TypeError: another class.

    Later changes of the torch module's weights, in place, may be seen or not: make the module anew."""
    kind = _kind(torch_module)
    if kind in _CLASSES:
        name, attributes = _CLASSES[kind]
        made = _with_weights(name, {a: getattr(torch_module, a) for a in attributes}, torch_module, dtype)
    elif kind == "Sequential":
        made = module("sequential", *[_FUNCTIONS.get(_kind(m)) or from_torch(m, dtype) for m in torch_module])
    elif hasattr(torch_module, "cell_f") and hasattr(torch_module, "cell_b"):
        made = module("bilstm", from_torch(torch_module.cell_f, dtype), from_torch(torch_module.cell_b, dtype))
    elif hasattr(torch_module, "models"):
        made = module("ensemble", [from_torch(m, dtype) for m in torch_module.models])
    else:
        known = ", ".join([*_CLASSES, "Sequential"])
        raise TypeError(f"tine.from_torch: {kind or type(torch_module).__name__} is none of {known}, and has no cell_f and cell_b, or models")
    made._torch = True
    return made


def _maker(name: str, forward: str) -> Callable[..., Module]:
    def make(*args: Any, **kwargs: Any) -> Module:
        if len(args) == 1 and not kwargs.keys() - {"dtype"} and _kind(args[0]):
            return from_torch(args[0], **kwargs)
        made = module(name, *args, **kwargs)
        made._torch = any(isinstance(x, Module) and x._torch for x in args)
        return made

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"""A module of the class {name}: from a torch module with its weights (and `dtype=`), or from torch.nn's parameters and
    `state_dict=`, `prefix=`, `seed=` (launch/MODELS.md).

    Called with {forward}. ArgumentError, at the calls: parameters or weights that do not fit."""
    return make


lstm = _maker("lstm", "input (T, B, C), or (T, C), or (B, T, C) with batch_first, hx=[h, c], lengths=…: [output, [h, c]]")
gru = _maker("gru", "input (T, B, C), or (T, C), or (B, T, C) with batch_first, hx=h, lengths=…: [output, h]")
linear = _maker("linear", "input (…, in_features): (…, out_features)")
embedding = _maker("embedding", "int64 or int32 of any shape: that shape and embedding_dim")
layer_norm = _maker("layer_norm", "input (…, *normalized_shape): the same shape")
dropout = _maker("dropout", "an input, which it gives back: as after eval()")
bilstm = _maker("bilstm", "x (T, B, C): both directions beside each other; the forward cell is forked")


def sequential(*modules: Any) -> Module:
    """Modules one after the other: torch modules, Tine's, and names of functions of one argument ("relu")."""
    if len(modules) == 1 and _kind(modules[0]) == "Sequential":
        return from_torch(modules[0])
    made = [from_torch(m) if _kind(m) else m for m in modules]
    return _joined(module("sequential", *made), made)


def ensemble(models: Any = None, **kwargs: Any) -> Module:
    """The tutorial's ensemble: forks its models and sums their results.

    models  a list of modules, Tine's or PyTorch's; or a torch module with an attribute `models`. None:
            from `state_dict=` (launch/MODELS.md)"""
    if _kind(models):
        return from_torch(models, **kwargs)
    if models is None or not hasattr(models, "__iter__"):
        return module("ensemble", *([] if models is None else [models]), **kwargs)
    made = [from_torch(m) if _kind(m) else m for m in models]
    return _joined(module("ensemble", made, **kwargs), made)


def _joined(whole: Module, parts: list[Any]) -> Module:
    whole._torch = any(isinstance(part, Module) and part._torch for part in parts)
    return whole


def load(path: Any, prefix: Optional[str] = None, *, torch: bool = False) -> dict[Any, Any]:
    """The tensors of a safetensors file by name, mapped into memory: read-only arrays, or torch tensors.

    prefix  "models.0.cell_f": only tensors whose names begin so, without it

    tine.Error (EIO): the file cannot be read; ArgumentError: it is no safetensors file, or has no such tensor."""
    handle = free.tine_load(os.fsencode(path), prefix.encode() if prefix else None)
    tensors: dict[str, Any] = taken(checked(handle), torch)
    return tensors


def save(path: Any, tensors: dict[Any, Any]) -> None:
    """Writes arrays or torch tensors by name to a safetensors file, which is replaced once the new one is complete."""
    value = to_value(tensors)
    try:
        code = free.tine_save(os.fsencode(path), value)
        if code:
            raise last_error(code)
    finally:
        held.tine_release_value_(value)
