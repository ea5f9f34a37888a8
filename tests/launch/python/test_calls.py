"""fork, wait and what can be waited for."""
import asyncio
import os
import threading

import functions
import numpy as np
import pytest
import tine


def test_tutorial():
    x = np.ones(1, np.float32)
    future = tine.fork("neg", x)
    normal = tine.call("neg", x)
    assert normal == tine.wait(future) == -1 and future.done()
    futures = [tine.fork("neg", x) for _ in range(100)]
    assert tine.call("sum", tine.call("stack", [tine.wait(f) for f in futures])) == -100


def test_futures_are_arguments():
    x = tine.fork("neg", 1.0)
    assert tine.wait(tine.fork("add", x, other=x, alpha=2)) == -3
    assert tine.wait(tine.fork("identity", {"a": [x, {"b": x}], "c": 7})) == {"a": [-1, {"b": -1}], "c": 7}
    assert tine.call("identity", [x, x]) == [-1, -1]


def test_errors_name_task_worker_and_cause():
    with pytest.raises(tine.TaskError) as failed:
        tine.wait(tine.fork(functions.raises, "ValueError", "the reason"))
    error = failed.value
    assert error.code == "EFAILED" and error.task == "raises" and error.worker.startswith("pid ")
    assert error.cause.startswith("Traceback") and error.cause.endswith("ValueError: the reason")
    assert 'functions.py", line' in error.cause and "_functions.py" not in error.cause
    with pytest.raises(tine.ArgumentError, match="'dimension'") as failed:
        tine.wait(tine.fork("sum", np.ones(2), dimension=0))
    assert failed.value.code == "EINVAL" and isinstance(failed.value, ValueError)
    with pytest.raises(tine.UnknownError, match='did you mean "fib"'):
        tine.wait(tine.fork("fob"))
    with pytest.raises(TypeError, match="target"):
        tine.fork(3)
    with pytest.raises(tine.ArgumentError):
        tine.call("neg")
    future = tine.fork("neg", "text")
    assert isinstance(future.exception(), tine.ArgumentError) and tine.fork("neg", 1).exception() is None


def test_deadlines(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = open(pipe, "r+b", buffering=0)
    slow = tine.fork(functions.read_byte, str(pipe))
    quick = tine.fork("neg", 1)
    try:
        with pytest.raises(TimeoutError) as failed:
            tine.wait(slow, timeout=0.05)
        assert isinstance(failed.value, tine.TimeoutError) and failed.value.code == "ETIMEDOUT"
        with pytest.raises(tine.TimeoutError):
            tine.wait_any([slow], timeout=0.05)
        with pytest.raises(tine.TimeoutError):
            tine.wait_all([quick, slow], timeout=0.05)
        with pytest.raises(tine.TimeoutError):
            list(tine.as_completed([slow, quick], timeout=0.05))
        assert tine.wait_any([slow, quick]) == 1 and quick.result() == -1
        assert not slow.done() and "pending" in repr(slow)
    finally:
        writer.write(b"x")
        assert slow.result() == b"x"
        writer.close()


def test_any_and_all():
    futures = [tine.fork(functions.fib, n) for n in (6, 1, 3)]
    done = list(tine.as_completed(futures + futures))
    assert len(done) == 3 and sorted(f.result() for f in done) == [1, 2, 8]
    assert tine.wait_any(futures) == 0 and tine.wait_all(futures) == [8, 1, 2] and tine.wait_all([]) == []
    with pytest.raises(ValueError):
        tine.wait_any([])
    bad = tine.fork("neg", "text")
    assert tine.wait_any([bad]) == 0
    with pytest.raises(tine.ArgumentError):
        tine.wait_all([futures[0], bad, tine.fork("fob")])


def test_many_waits_leave_nothing_behind():
    futures = [tine.fork("neg", i) for i in range(300)]
    left = list(futures)
    while left:
        left.pop(tine.wait_any(left))
    assert sum(f.result() for f in futures) == -sum(range(300))


def test_futures_of_futures():
    futures = [tine.fork("neg", i) for i in range(3)]
    assert tine.wait(tine.when_all(futures)) == [0, -1, -2] and tine.wait(tine.when_any(futures)) in (0, -1, -2)
    promise = tine.Promise()
    sum_ = tine.fork("add", promise.future, 1)
    threading.Thread(target=promise.set, args=(4,)).start()
    assert sum_.result() == 5
    with pytest.raises(tine.Error, match="before|already"):
        promise.set(5)
    failed, released = tine.Promise(), tine.Promise()
    failed.fail("100 % wrong")
    with pytest.raises(tine.TaskError, match="100 % wrong"):
        failed.future.result()
    future = released.future
    del released
    with pytest.raises(tine.CanceledError):
        future.result()


def test_then():
    future = tine.fork("neg", 2)
    assert future.then(lambda f: tine.fork("mul", f.result(), 2)).then(lambda f: f.result() - 1).result() == -5
    assert future.then(lambda f: [f.result(), f]).result() == [-2, -2]
    assert tine.fork("add", future.then(lambda f: f.result()), 10).result() == 8
    with pytest.raises(tine.TaskError, match="ZeroDivisionError"):
        future.then(lambda f: 1 / 0).result()
    with pytest.raises(TypeError):
        future.then(3)
    failed = tine.fork(functions.raises, "ValueError", "below")
    with pytest.raises(tine.TaskError, match="below"):
        failed.then(lambda f: f.result()).result()
    unknown = tine.fork("fob")
    with pytest.raises(tine.UnknownError):
        unknown.then(lambda f: f.result()).result()
    assert failed.then(lambda f: f.exception().code).result() == "EFAILED"
    several = [tine.fork("neg", i).then(lambda f: f.result() + 1) for i in range(200)]
    assert tine.wait_all(several) == [1 - i for i in range(200)]


def test_wait_failure(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = open(pipe, "r+b", buffering=0)
    slow = tine.fork(functions.read_byte, str(pipe))
    try:
        with pytest.raises(tine.TimeoutError):
            tine.wait_failure([tine.fork("neg", 1), slow], timeout=0.05)
        assert tine.wait_failure([slow, tine.fork("neg", "text"), slow]) == 1 and not slow.done()
    finally:
        writer.write(b"x")
    assert tine.wait_failure([slow, tine.fork("neg", 1)]) is None and slow.done()
    writer.close()
    assert tine.wait_failure([]) is None


def test_cancel(tmp_path):
    runs, told = str(tmp_path / "runs"), str(tmp_path / "told")
    os.mkfifo(runs)
    os.mkfifo(told)
    running = tine.fork(functions.until_cancelled, runs, told)
    dependent = tine.fork("identity", running)
    open(runs).close()  # returns when the task has opened it
    assert not running.done()
    assert running.cancel() and not running.cancel()
    for future in running, dependent:
        with pytest.raises(tine.CanceledError):
            future.result()
    open(told).close()
    assert not tine.cancelled() and tine.fork("neg", 1).result() == -1


def test_await():
    async def one(n):
        return await tine.fork(functions.fib, n)

    async def main():
        results = await asyncio.gather(*[one(n) for n in range(8)])
        waiting = asyncio.ensure_future(one(3))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(tine.TaskError):
            await tine.fork(functions.raises, "ValueError", "awaited")
        return results

    for _ in range(2):  # each loop has a descriptor of its own
        assert asyncio.run(main()) == [0, 1, 1, 2, 3, 5, 8, 13]


def test_fork_options():
    assert tine.worker_id() == 0
    ids = {tine.fork(functions.where).result() for _ in range(50)}
    for number in ids:
        assert [tine.fork_with({"worker": number}, functions.where).result() for _ in range(5)] == [number] * 5
    with pytest.raises(tine.Error, match="there is no worker with the id 4000"):
        tine.fork_with({"worker": 4000}, functions.where).result()
    with pytest.raises(tine.TimeoutError, match='task "late"'):
        tine.fork_with({"deadline": 0.05, "name": "late"}, functions.spins).result()
    waits = tine.fork_with({"label": "nobody", "priority": None}, functions.where)
    assert waits.cancel()
    waits = tine.fork_with({"resources": "nobody=1"}, functions.where)
    assert waits.cancel()
    with pytest.raises(tine.Error, match="a resource is named twice"):
        tine.fork_with({"resources": "a,a"}, functions.where).result()
    spins = tine.fork_with({"owned": True}, functions.spins)
    del spins  # cancels it
    assert tine.fork("neg", 1).result() == -1
    with pytest.raises(TypeError, match="no option 'wrker'; there are deadline, grace"):
        tine.fork_with({"wrker": 1}, functions.where)


def test_a_deadlock_is_an_error_of_its_own():
    assert tine.wait(tine.fork(functions.reads_nothing)) == (
        'EDEADLK: task "counts" can never be done: it waits for the taking of its values by "reads_nothing", '
        'which waits for its fork "counts"')


def test_streams():
    stream = tine.stream(3, functions.counts, 20)
    assert [int(x[0]) for x in stream] == list(range(20))
    assert stream.result() == 20
    assert list(tine.stream(1, functions.squares, 5)) == [0, 1, 4, 9, 16]
    broken = tine.stream(1, functions.breaks)
    assert next(broken) == 1
    with pytest.raises(tine.TaskError, match="behind the first"):
        next(broken)
    assert tine.fork(functions.counts, 30).result() == 30  # nobody takes them
    with pytest.raises(ValueError):
        tine.stream(0, functions.counts, 1)

    left = tine.stream(1, functions.counts, 10**9)
    next(left)
    del left  # cancels it
    assert tine.fork("neg", 1).result() == -1

    async def add(n):
        return sum([int(x[0]) async for x in tine.stream(2, functions.counts, n)])

    async def main():
        return await asyncio.gather(*[add(n) for n in range(5)])

    assert asyncio.run(main()) == [0, 0, 1, 3, 6]


def test_threads():
    results = {}

    def work(k):
        results[k] = [tine.wait(tine.fork("add", k, i)) for i in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert results == {k: [k + i for i in range(50)] for k in range(4)}


def test_lost_worker():
    with pytest.raises(tine.LostError) as failed:
        tine.wait(tine.fork(functions.die))
    assert failed.value.task == "die" and "SIGKILL" in failed.value.cause
    while tine.worker_count() < 2:  # it is replaced
        assert tine.wait(tine.fork(functions.fib, 5)) == 5


def test_put():
    x = np.arange(1000.0)
    put = tine.put(x)
    assert np.array_equal(put.get(), x)
    futures = [tine.fork("sum", put) for _ in range(10)]
    assert tine.wait_all(futures) == [499500] * 10


def test_state():
    assert tine.worker_count() == 2 and tine.endpoint().startswith("ipc://") and tine.__version__.count(".") == 2
    with pytest.raises(tine.Error) as failed:
        tine.init()
    assert failed.value.code == "ESTATE"
    with pytest.raises(TypeError, match="wrokers"):
        tine.init(wrokers=2)


def test_trace(tmp_path):
    tine.trace_start()
    tine.wait(tine.fork(functions.fib, 4))
    tine.trace_write(tmp_path / "trace.json")
    assert '"fib"' in (tmp_path / "trace.json").read_text()
    with pytest.raises(tine.Error):
        tine.trace_write(tmp_path / "missing" / "trace.json")
