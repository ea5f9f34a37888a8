"""PyTorch's tensors and modules."""
import functions
import pytest
import tine

torch = pytest.importorskip("torch")


def echo(x):
    return tine.wait(tine.fork("identity", x))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64", "int32", "uint8"])
@pytest.mark.parametrize("shape", [(), (0, 2), (3, 4), (300, 400)])
def test_tensors(dtype, shape):
    x = (torch.rand(shape) * 9).to(getattr(torch, dtype))
    y = echo(x)
    assert torch.is_tensor(y) and y.dtype == x.dtype and torch.equal(x, y)
    assert torch.equal(echo(x.T if x.ndim > 1 else x), x.T if x.ndim > 1 else x)
    assert torch.equal(echo({"a": [x]})["a"][0], x)


def test_what_returns_tensors():
    x = torch.ones(3)
    first = tine.fork("neg", x)
    assert torch.is_tensor(tine.wait(tine.fork("neg", first))) and torch.is_tensor(tine.call("neg", x))
    assert torch.is_tensor(tine.wait(tine.fork("sum", tine.put(x))))
    assert tine.wait(tine.fork(functions.describe, x))[0] == ["ndarray"]
    with pytest.raises(RuntimeError, match="requires grad"):
        tine.fork("neg", torch.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="float16"):
        tine.fork("neg", torch.ones(2).half())


def test_tensors_may_be_changed_and_values_are_not():
    kept = tine.put(torch.ones(1 << 19))  # more than what is lent to workers
    for _ in range(2):
        y = tine.wait(tine.fork("identity", kept))
        assert y.add_(1).eq(2).all()
    assert tine.wait(tine.fork("identity", kept)).eq(1).all()


def test_results_live_as_long_as_tensors():
    results = [echo(torch.full((200, 200), float(i)))[5, 3:8] for i in range(20)]
    assert all((r == i).all() for i, r in enumerate(results))


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}, {"batch_first": True}, {"proj_size": 3}, {"num_layers": 2, "bidirectional": True}]
)
def test_lstm(options):
    torch.manual_seed(3)
    reference = torch.nn.LSTM(5, 7, **options)
    x = torch.rand(4, 2, 5)
    with torch.no_grad():
        expected, (h, c) = reference(x)
        output, state = tine.wait(tine.fork(tine.lstm(reference), x))
        again, _ = tine.wait(tine.fork(tine.lstm(reference), x, [h, c]))
        expected_again, _ = reference(x, (h, c))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state, [h, c], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again, expected_again, atol=1e-5, rtol=1e-5)


def test_a_dtype_for_products():
    torch.manual_seed(6)
    nn, x = torch.nn, torch.rand(4, 3, 32)
    for reference in (nn.LSTM(32, 48, num_layers=2), nn.GRU(32, 48), nn.Linear(32, 9), nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 5))):
        with torch.no_grad():
            expected = reference(x)
        for dtype, least, most in (("f32", 0, 1e-5), ("bf16", 1e-5, 1e-2), ("int8", 1e-5, 3e-2)):
            result = tine.wait(tine.fork(tine.from_torch(reference, dtype), x))
            got, wanted = (result[0], expected[0]) if isinstance(expected, tuple) else (result, expected)
            assert least <= (got - wanted).abs().max().item() <= most, (reference, dtype)
    assert tine.wait(tine.fork(tine.linear(nn.Linear(32, 9), dtype="int8"), x)).shape == (4, 3, 9)


def test_other_modules():
    torch.manual_seed(5)
    nn, x, words = torch.nn, torch.rand(4, 2, 5), torch.randint(0, 11, (3, 4))
    for reference, given in [
        (nn.GRU(5, 6, num_layers=2, bidirectional=True), x),
        (nn.Linear(5, 3), x),
        (nn.Linear(5, 3, bias=False), x),
        (nn.Embedding(11, 4, padding_idx=0), words),
        (nn.LayerNorm(5), x),
        (nn.LayerNorm((2, 5), elementwise_affine=False), x),
        (nn.Sequential(nn.Embedding(11, 5), nn.LayerNorm(5), nn.Linear(5, 7), nn.Tanh(), nn.Dropout(), nn.Linear(7, 1)).eval(), words),
    ]:
        with torch.no_grad():
            expected = reference(given)
        result = tine.wait(tine.fork(tine.from_torch(reference), given))
        torch.testing.assert_close(result, list(expected) if isinstance(expected, tuple) else expected, atol=1e-5, rtol=1e-5)
    both = tine.sequential(nn.Linear(5, 5), "relu", tine.linear(5, 2, seed=1))
    assert tine.wait(tine.fork(both, x)).shape == (4, 2, 2)
    with pytest.raises(TypeError, match="Conv2d"):
        tine.from_torch(nn.Conv2d(1, 1, 1))


class BidirectionalRecurrentLSTM(torch.nn.Module):
    """The tutorial's."""

    def __init__(self, C):
        super().__init__()
        self.cell_f = torch.nn.LSTM(input_size=C, hidden_size=C)
        self.cell_b = torch.nn.LSTM(input_size=C, hidden_size=C)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output_f, _ = self.cell_f(x)
        output_b, _ = self.cell_b(torch.flip(x, dims=[0]))
        return torch.cat((output_f, torch.flip(output_b, dims=[0])), dim=2)


class LSTMEnsemble(torch.nn.Module):
    def __init__(self, n_models, C):
        super().__init__()
        self.models = torch.nn.ModuleList([BidirectionalRecurrentLSTM(C) for _ in range(n_models)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = []
        for model in self.models:
            results.append(model(x))
        return torch.stack(results).sum(dim=0)


@pytest.mark.parametrize("script", [False, True])
def test_tutorial_ensemble(script):
    torch.manual_seed(4)
    ens = LSTMEnsemble(4, 16)
    if script:
        ens = torch.jit.script(ens)
    x = torch.rand(6, 3, 16)
    with torch.no_grad():
        expected = ens(x)
    output = tine.wait(tine.fork(tine.ensemble(ens), x))
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tine.wait(tine.fork(tine.ensemble([tine.from_torch(m) for m in ens.models]), x)), expected)
    from_weights = tine.ensemble(state_dict=dict(ens.state_dict()))
    torch.testing.assert_close(torch.as_tensor(tine.wait(tine.fork(from_weights, x))), expected)
    models = [tine.bilstm(m) for m in ens.models]
    results = [tine.wait(future) for future in [tine.fork(m, x) for m in models]]
    torch.testing.assert_close(torch.stack(results).sum(dim=0), expected, atol=1e-5, rtol=1e-5)
