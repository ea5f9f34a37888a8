"""concurrent.futures: code that uses ProcessPoolExecutor runs unchanged."""
import concurrent.futures
import operator
import os

import functions
import numpy as np
import pytest
import tine


@pytest.fixture
def executor():
    with tine.Executor() as e:
        yield e
    assert tine.worker_count() > 0  # it did not start them


def test_map_and_submit(executor):
    assert list(executor.map(pow, range(20), [2] * 20)) == [i * i for i in range(20)]
    futures = [executor.submit(divmod, i, 3) for i in range(20)]
    assert {f.result() for f in concurrent.futures.as_completed(futures)} == {divmod(i, 3) for i in range(20)}
    assert executor.submit(int, "ff", base=16).result() == 255
    assert executor.submit(os.getpid).result() != os.getpid()


def test_exceptions(executor):
    failed = executor.submit(operator.truediv, 1, 0)
    with pytest.raises(ZeroDivisionError) as caught:
        failed.result()
    assert "Traceback" in str(caught.value.__cause__)
    assert isinstance(executor.submit(functions.die).exception(), tine.LostError)
    assert "pickle" in str(executor.submit(open, os.devnull).exception())


def test_arrays(executor):
    x = np.random.rand(400, 400)
    y = executor.submit(np.add, x, {"a": 1}["a"]).result()
    y += 1  # writable, as from other executors
    assert np.allclose(y, x + 2)


def test_tasks_of_tine(executor):
    assert executor.submit("neg", 3).result() == -3 and executor.submit(functions.fib, 8).result() == 21


def test_initializer():
    with tine.Executor(initializer=functions.initialize, initargs=("yes",)) as executor:
        assert set(executor.map(functions.initialized, range(20))) == {"yes"}


def test_shutdown(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with open(pipe, "r+b", buffering=0) as writer:
        executor = tine.Executor()
        futures = [executor.submit(functions.read_byte, str(pipe)) for _ in range(4)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(f.cancelled() for f in futures)
        writer.write(b"four")
        executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(os.getpid)
