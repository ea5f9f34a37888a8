"""Objects there and back, and the memory of arrays."""
import collections
import gc
import weakref

import functions
import numpy as np
import pytest
import tine


def echo(x):
    return tine.wait(tine.fork("identity", x))


@pytest.mark.parametrize(
    "x", [None, True, False, 0, -(1 << 63), (1 << 63) - 1, 1.5, float("inf"), "", "grün\n", b"", b"a\0b", [], [[], [1, [2.0]]], {}, {"a": {"b": None}}]
)
def test_plain(x):
    result = echo(x)
    assert result == x and type(result) is type(x)


def test_like_plain():
    Pair = collections.namedtuple("Pair", "a b")
    assert echo((1, 2)) == [1, 2] and echo(Pair(1, 2)) == [1, 2]
    assert echo(bytearray(b"xy")) == echo(memoryview(b"xy")) == b"xy"
    assert echo(collections.OrderedDict(b=1, a=2)) == {"b": 1, "a": 2} and list(echo({"b": 1, "a": 2})) == ["b", "a"]


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "u1", ">f4", ">i8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4), (1,) * 8, (300, 400)])
def test_arrays(dtype, shape):
    x = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    y = echo(x)
    assert y.dtype == x.dtype.newbyteorder("=") and y.shape == shape and np.array_equal(x, y) and not y.flags.writeable
    assert np.array_equal(echo(np.asarray(x[..., ::2] if shape else x)), x[..., ::2] if shape else x)
    assert np.array_equal(echo(x.T), x.T)


def test_scalars_and_dlpack():
    assert echo(np.float32(1.5)) == 1.5 and echo(np.float32(1.5)).dtype == np.float32 and echo(np.int64(3)) == 3

    class Array:
        def __init__(self, x):
            self.x = x

        def __dlpack__(self, **kwargs):
            return self.x.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.x.__dlpack_device__()

    x = np.random.rand(200, 300)
    assert np.array_equal(echo(Array(x)), x)


def test_unaligned():
    x = np.frombuffer(bytes(8 * 20001), np.uint8)[1:-7].view(np.float64)
    assert not x.flags.aligned and np.array_equal(echo(x), x)


def test_refused():
    for x, what in [(np.ones(2, np.float16), "float16"), (np.ones(2, bool), "bool"), (np.ones((1,) * 9), "9 dimensions"), (np.ma.array([1.0], mask=[1]), "masked"), (object(), "object"),
                    ({1: 2}, "keys"), ("a\0b", "NUL"), (1 << 63, "64 bits"), ([object()], "object"), ("\ud800", "surrogates"), ({1, 2}, "set")]:
        with pytest.raises((TypeError, ValueError, OverflowError), match=what):
            tine.fork("identity", x)
    with pytest.raises(tine.TaskError, match="an object of type object cannot be passed"):
        tine.wait(tine.fork(functions.unpassable))


def test_large_arrays_are_lent_and_returned():
    class Array(np.ndarray):
        pass

    x = np.random.rand(300, 300).view(Array)
    gone = weakref.ref(x)
    address = x.ctypes.data
    value = tine.call("identity", x)
    assert value.ctypes.data == address  # nothing was copied
    expected = x.copy()
    del x
    gc.collect()
    assert gone() is not None and np.array_equal(value, expected)
    del value
    tine._values.reap(1000)
    gc.collect()
    assert gone() is None
    for _ in range(50):
        tine.wait(tine.fork("sum", np.random.rand(300, 300)))
    assert len(tine._values._lent) < 10


def test_arguments_are_read_only():
    x = np.zeros(1 << 19, np.float32)  # large enough to be lent to a worker
    assert "read-only" in tine.wait(tine.fork(functions.changes_its_argument, x))
    y = tine.wait(tine.fork("identity", x))
    with pytest.raises(ValueError, match="read-only"):
        y[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        y.flags.writeable = True


def test_a_result_keeps_its_memory():
    results = [echo(np.full((200, 200), float(i))) for i in range(20)]
    parts = [r[5, 3:8] for r in results]
    del results
    gc.collect()
    echo(np.zeros((200, 200)))
    assert all((part == i).all() for i, part in enumerate(parts))


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for n in (10, 100000):
        x = np.arange(n).astype(ml_dtypes.bfloat16)
        y = echo(x)
        assert y.dtype == x.dtype and np.array_equal(x, y)
    assert tine.wait(tine.fork("neg", x)).dtype == x.dtype


def test_files(tmp_path):
    tensors = {"a.x": np.arange(6.0).reshape(2, 3), "a.y": np.arange(4), "b": np.ones(100000, np.float32)}
    tine.save(tmp_path / "t.safetensors", tensors)
    loaded = tine.load(tmp_path / "t.safetensors")
    assert all(np.array_equal(loaded[k], tensors[k]) for k in tensors) and len(loaded) == 3
    assert list(tine.load(tmp_path / "t.safetensors", "a")) == ["x", "y"]
    with pytest.raises(tine.Error):
        tine.load(tmp_path / "missing")


def reference_lstm(w, x):
    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    h = c = np.zeros((x.shape[1], w["weight_hh_l0"].shape[1]))
    out = []
    for step in x:
        gates = step @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


def test_modules():
    rng = np.random.default_rng(1)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    weights = [{k: (rng.random(s) - 0.5).astype(np.float32) for k, s in shapes.items()} for _ in range(4)]
    cells = [tine.lstm(3, 4, state_dict=w) for w in weights]
    x = rng.random((5, 2, 3), dtype=np.float32)
    output, (h, c) = tine.wait(tine.fork(cells[0], x))
    assert np.allclose(output, reference_lstm(weights[0], x), atol=1e-5) and h.shape == (1, 2, 4)
    models = [tine.bilstm(cells[0], cells[1]), tine.bilstm(cells[2], cells[3])]
    expected = sum(
        np.concatenate([reference_lstm(weights[i], x), reference_lstm(weights[i + 1], x[::-1])[::-1]], axis=2) for i in (0, 2)
    )
    ensemble = tine.ensemble(models)
    assert np.allclose(tine.wait(tine.fork(ensemble, x)), expected, atol=1e-5) and np.array_equal(ensemble(x), tine.wait(tine.fork(ensemble, x)))
    assert np.array_equal(tine.wait(tine.fork_method(ensemble, "forward_serial", x)), tine.call_method(ensemble, "forward_serial", x))
    with pytest.raises(tine.Error, match="no_such"):
        tine.wait(tine.fork_method(ensemble, "no_such", x))
    assert isinstance(echo(cells[0]), tine.Module)
