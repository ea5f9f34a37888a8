"""Python objects to Tine's values and back.

| Python                              | value  | comes back as                                  |
|-------------------------------------|--------|------------------------------------------------|
| None, bool, int, float, str         | same   | same                                           |
| bytes, bytearray, memoryview        | bytes  | bytes                                          |
| numpy array or scalar, DLPack       | tensor | a read-only numpy array                        |
| torch tensor                        | tensor | a torch tensor (a copy), if the call had one   |
| list, tuple                         | list   | list                                           |
| dict with string keys               | dict   | dict                                           |
| Future, Module, Value               | itself | its result, a Module, what it stands for       |

A tensor of more than SMALL bytes is passed by reference, in both directions except to torch: the
array lives as long as a worker may need its memory, and must not be changed until the future is done."""
import collections
import ctypes
import struct
import sys
import threading
from typing import Any, Callable, Iterable, Optional

import numpy as np

from . import _abi
from ._library import held, last_error

SMALL = 64 << 10

_code_of: dict[Any, Any] = {
    np.dtype(np.float32): _abi.TINE_F32,
    np.dtype(np.float64): _abi.TINE_F64,
    np.dtype(np.int64): _abi.TINE_I64,
    np.dtype(np.int32): _abi.TINE_I32,
    np.dtype(np.uint8): _abi.TINE_U8,
}
_dtype_of: dict[Any, Any] = {code: dtype for dtype, code in _code_of.items()}
_longs = [struct.Struct(f"{n}q") for n in range(_abi.TINE_MAX_RANK + 1)]
_pointers = [struct.Struct(f"{n}P") for n in range(17)]


def pointers(items: list[Any]) -> bytes:
    return (_pointers[len(items)] if len(items) < len(_pointers) else struct.Struct(f"{len(items)}P")).pack(*items)


def checked(value: Optional[int]) -> int:
    if value is None:
        raise last_error()
    return value


def release_all(values: Iterable[int]) -> None:
    for value in values:
        held.tine_release_value_(value)


class Value:
    """Owns a reference on a value of the library: what `put` gives, and a base of Module.

    It is passed to calls like what it stands for; `get()` converts it."""

    __slots__ = ("_handle", "_torch", "__weakref__")

    def __init__(self, handle: int, torch: bool = False):
        self._handle = handle
        self._torch = torch

    def __del__(self, release: Callable[[int], None] = held.tine_release_value_) -> None:
        release(self._handle)

    def get(self) -> Any:
        """The Python object."""
        return from_value(self._handle, self._torch)


# ---- memory that workers read ----

_libc = ctypes.PyDLL(None)
_sem_post = ctypes.cast(_libc.sem_post, ctypes.c_void_p).value
_Semaphore = ctypes.c_char * 64  # a sem_t fits
_lent: collections.deque[Any] = collections.deque()
_REAP = 8


def reap(most: int = _REAP) -> None:
    """Drops arrays whose memory the library no longer uses.

    The library reports each by sem_post, perhaps from its event loop, which must not wait for
    the GIL."""
    for _ in range(min(most, len(_lent))):
        try:
            semaphore, array = _lent.popleft()
        except IndexError:  # another thread was faster
            return
        if _libc.sem_trywait(semaphore) != 0:
            _lent.append((semaphore, array))


def _wrap(code: int, array: np.ndarray) -> int:
    semaphore = _Semaphore()
    _libc.sem_init(semaphore, 0, 0)
    data = array.__array_interface__["data"][0]
    shape = _longs[array.ndim].pack(*array.shape)
    value = checked(held.tine_tensor_wrap(code, array.ndim, shape, data, _sem_post, ctypes.addressof(semaphore)))
    reap()
    _lent.append((semaphore, array))
    return value


# ---- to the library ----


def _bfloat16() -> Any:
    """ml_dtypes' dtype, or None. The module registers it when the program imports it."""
    module = sys.modules.get("ml_dtypes")
    if module is not None and _abi.TINE_BF16 not in _dtype_of:
        dtype = np.dtype(module.bfloat16)
        _code_of[dtype] = _abi.TINE_BF16
        _dtype_of[_abi.TINE_BF16] = dtype
    return _dtype_of.get(_abi.TINE_BF16)


def _from_array(array: np.ndarray, code: int = 0) -> int:
    code = code or _code_of.get(array.dtype, 0)
    if not code and array.dtype.newbyteorder("=") in _code_of:
        array = array.astype(array.dtype.newbyteorder("="))
        code = _code_of[array.dtype]
    if not code:
        _bfloat16()
        code = _code_of.get(array.dtype, 0)
    if not code:
        known = ", ".join(str(d) for d in _code_of)
        raise TypeError(f"tine: an array of {array.dtype} cannot be passed: convert it, with .astype(), to one of {known}, bfloat16")
    if array.ndim > _abi.TINE_MAX_RANK:
        raise TypeError(f"tine: an array of {array.ndim} dimensions cannot be passed: at most {_abi.TINE_MAX_RANK}")
    if array.nbytes > SMALL:
        flags = array.flags
        return _wrap(code, array if flags.c_contiguous and flags.aligned else array.copy())
    return checked(held.tine_tensor(code, array.ndim, _longs[array.ndim].pack(*array.shape), array.tobytes()))


seen = threading.local()  # .torch: a torch tensor was converted on this thread


def _from_torch(tensor: Any) -> int:
    torch = sys.modules["torch"]
    seen.torch = True
    if tensor.dtype == torch.bfloat16:
        return _from_array(tensor.contiguous().view(torch.int16).numpy(), _abi.TINE_BF16)
    return _from_array(tensor.numpy())


def _from_string(text: str) -> int:
    if "\0" in text:
        raise ValueError("tine: a string with a NUL character cannot be passed: pass bytes")
    return checked(held.tine_string(text.encode()))


def _from_bytes(data: Any) -> int:
    data = bytes(data)
    return checked(held.tine_bytes(data, len(data)))


def _from_int(number: int) -> int:
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"tine: the int {number} has more than 64 bits")
    return checked(held.tine_int(number))


def _from_list(items: Any) -> int:
    values: list[Any] = []
    try:
        for item in items:
            values.append(to_value(item))
        return checked(held.tine_list_of(pointers(values), len(values)))
    finally:
        release_all(values)


def _from_dict(items: dict[Any, Any]) -> int:
    values: list[Any] = []
    try:
        for key, item in items.items():
            if not isinstance(key, str) or "\0" in key:
                raise TypeError(f"tine: the keys of a dict must be strings without NUL, not {key!r}")
            values.append(to_value(item))
        keys = (ctypes.c_char_p * len(values))(*[key.encode() for key in items])
        return checked(held.tine_dict_of(keys, pointers(values), len(values)))
    finally:
        release_all(values)


def _from_masked(array: np.ma.MaskedArray) -> int:
    raise TypeError("tine: a masked array cannot be passed, as its mask would be lost: pass .filled(), or data and mask")


def _from_handle(x: Value) -> int:
    if x._torch:
        seen.torch = True
    handle: int = held.tine_ref_value_(x._handle)
    return handle


_from: dict[Any, Callable[[Any], int]] = {
    type(None): lambda x: held.tine_none(),
    bool: held.tine_bool,
    int: _from_int,
    float: lambda x: checked(held.tine_float(x)),
    str: _from_string,
    bytes: _from_bytes,
    bytearray: _from_bytes,
    memoryview: _from_bytes,
    np.ma.MaskedArray: _from_masked,
    np.ndarray: _from_array,
    list: _from_list,
    tuple: _from_list,
    dict: _from_dict,
    Value: _from_handle,
}


def to_value(x: Any) -> int:
    """A new reference on the value for x. TypeError if there is none."""
    make = _from.get(type(x))
    if make is not None:
        return make(x)
    for kind, make in list(_from.items()):
        if isinstance(x, kind):
            return make(x)
    if isinstance(x, np.generic):
        return _from_array(np.asarray(x))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, getattr(torch, "Tensor", ())):
        return _from_torch(x)
    if hasattr(x, "__dlpack__"):
        return _from_array(np.from_dlpack(x))
    raise TypeError(
        f"tine: an object of type {type(x).__name__} cannot be passed: only None, bool, int, float, str, bytes, arrays, lists and "
        "dicts of them, futures and modules (tine.Executor passes what pickle can)"
    )


# ---- from the library ----


def _shape(value: int) -> tuple[Any, ...]:
    rank = held.tine_rank(value)
    shape: tuple[Any, ...] = _longs[rank].unpack(ctypes.string_at(held.tine_shape(value), 8 * rank))
    return shape


class _Memory:
    """What owns the memory of an array: a reference on the tensor."""

    __slots__ = ("__array_interface__", "_handle")

    def __init__(self, value: int, data: int, typestr: str, shape: tuple[Any, ...]):
        self._handle = held.tine_ref_value_(value)
        self.__array_interface__ = {"version": 3, "typestr": typestr, "shape": shape, "data": (data, True)}

    def __del__(self, release: Callable[[int], None] = held.tine_release_value_) -> None:
        release(self._handle)


def _to_array(value: int, code: int) -> np.ndarray:
    dtype = _dtype_of.get(code) or (_bfloat16() if code == _abi.TINE_BF16 else None)
    if dtype is None:
        raise TypeError("tine: a bfloat16 tensor needs `import ml_dtypes`, or torch")
    shape, size = _shape(value), held.tine_elements(value) * dtype.itemsize
    data = held.tine_data(value)
    if size > SMALL:
        if code == _abi.TINE_BF16:  # numpy knows no name of it
            return np.asarray(_Memory(value, data, "<u2", shape)).view(dtype)
        return np.asarray(_Memory(value, data, dtype.str, shape))
    return np.frombuffer(ctypes.string_at(data, size), dtype).reshape(shape)


def _to_torch(value: int, code: int) -> Any:
    import torch

    names = {
        _abi.TINE_F32: torch.float32,
        _abi.TINE_F64: torch.float64,
        _abi.TINE_BF16: torch.bfloat16,
        _abi.TINE_I64: torch.int64,
        _abi.TINE_I32: torch.int32,
        _abi.TINE_U8: torch.uint8,
    }
    dtype, shape, elements = names[code], _shape(value), held.tine_elements(value)
    if elements == 0:
        return torch.empty(shape, dtype=dtype)
    size = elements * torch.empty(0, dtype=dtype).element_size()
    # A copy: torch has no read-only tensors, and the value is immutable; it may lie in memory of
    # another process, where a write would end this one.
    memory = bytearray((ctypes.c_char * size).from_address(held.tine_data(value)))
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)


def _to_bytes(value: int) -> bytes:
    return ctypes.string_at(held.tine_as_bytes(value, None), held.tine_length(value))


def _to_string(value: int) -> str:
    return ctypes.string_at(held.tine_as_string(value), held.tine_length(value)).decode()


modules: list[Any] = []  # Module, once it is defined


def from_value(value: int, torch: bool = False) -> Any:
    """The Python object for a value; the caller keeps its reference."""
    kind = held.tine_kind_of(value)
    if kind == _abi.TINE_TENSOR:
        code = held.tine_dtype_of(value)
        return _to_torch(value, code) if torch else _to_array(value, code)
    if kind == _abi.TINE_NONE:
        return None
    if kind == _abi.TINE_INT:
        return held.tine_as_int(value)
    if kind == _abi.TINE_FLOAT:
        return held.tine_as_float(value)
    if kind == _abi.TINE_BOOL:
        return held.tine_as_bool(value)
    if kind == _abi.TINE_STRING:
        return _to_string(value)
    if kind == _abi.TINE_BYTES:
        return _to_bytes(value)
    if kind == _abi.TINE_LIST:
        return [from_value(held.tine_at(value, i), torch) for i in range(held.tine_length(value))]
    if kind == _abi.TINE_DICT:
        n = held.tine_length(value)
        return {held.tine_key_at(value, i).decode(): from_value(held.tine_at(value, i), torch) for i in range(n)}
    if kind == _abi.TINE_MODULE_REF:
        return modules[0](held.tine_ref_value_(value), torch)
    raise TypeError(f"tine: a value of kind {kind} has no Python object")


def taken(value: int, torch: bool = False) -> Any:
    """The Python object for a value whose reference is given up."""
    try:
        return from_value(value, torch)
    finally:
        held.tine_release_value_(value)
