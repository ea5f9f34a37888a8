"""The functions that the workers of these tests import."""
import os
import threading

import numpy as np
import tine


@tine.function
def fib(n):
    if n < 2:
        return n
    a, b = tine.fork(fib, n - 1), tine.fork("fib", n - 2)
    return a.result() + tine.wait(b)


@tine.function
def raises(kind, text):
    raise {"ValueError": ValueError, "SystemExit": SystemExit}[kind](text)


@tine.function
def calls_raises():
    return tine.fork(raises, "ValueError", "below").result()


@tine.function
def survives():
    """A task whose fork failed goes on."""
    try:
        tine.fork(raises, "ValueError", "below").result()
    except tine.TaskError as error:
        return error.cause.splitlines()[-1]


@tine.function
def changes_its_argument(x):
    try:
        x[0] = 1
    except ValueError as error:
        return str(error)


@tine.function(repeatable=True)
def describe(*args, **kwargs):
    """What a task was given."""
    return [[type(x).__name__ for x in args], {key: repr(x) for key, x in kwargs.items()}]


@tine.function
def thread_of_task():
    """A task stays on its thread across waits, and thread-local state with it."""
    local = threading.local()
    local.x = threading.get_ident()
    inner = tine.fork(fib, 6).result()
    return [inner, local.x == threading.get_ident(), threading.current_thread() is not threading.main_thread()]


@tine.function
def deep(n):
    return n and deep(n - 1) + 1


kept = {}


@tine.function
def keep(x):
    """What a task keeps outlives it, and is released by another one."""
    kept["array"] = x
    kept["future"] = tine.fork("neg", x)
    kept["put"] = tine.put(x)
    return os.getpid()


@tine.function
def kept_sum():
    total = [float(kept["array"].sum()), float(kept["future"].result().sum()), float(kept["put"].get().sum())]
    kept.clear()
    return total


@tine.function
def first_of(futures):
    """wait_any and as_completed inside a task."""
    ones = [tine.fork("neg", i) for i in range(5)]
    index = tine.wait_any(ones)
    late = sorted(f.result() for f in tine.as_completed(ones, timeout=30))
    return [ones[index].done(), late, tine.wait_all(ones)]


@tine.function
def awaits(n):
    import asyncio

    async def main():
        return await tine.fork(fib, n)

    return asyncio.run(main())


@tine.function
def read_byte(pipe):
    """Waits for it."""
    with open(pipe, "rb", buffering=0) as f:
        return f.read(1)


@tine.function
def until_cancelled(runs, told):
    """Opens one FIFO when it runs, the other when it was told to end."""
    open(runs, "w").close()
    while not tine.cancelled():
        pass
    open(told, "w").close()


@tine.function
def die():
    os.kill(os.getpid(), 9)


@tine.function
def prints(text):
    print(text)


@tine.function
def identity_of_array(x):
    assert isinstance(x, np.ndarray) and not x.flags.writeable
    return x


@tine.function
def unpassable():
    return object()


def initialize(text):
    kept["initialized"] = kept.get("initialized", "") + text


def initialized(_):
    return kept.get("initialized")


@tine.function
def counts(n):
    """Yields 0 … n - 1, gives n."""
    for i in range(n):
        yield np.full(2, i)
    return n


@tine.function
def breaks():
    yield 1
    raise ValueError("behind the first")


@tine.function
def squares(n):
    """Takes a stream, and is one."""
    yield from (int(x[0]) ** 2 for x in tine.stream(2, counts, n))


@tine.function
def reads_nothing():
    """Waits for the end of a stream that it does not read."""
    try:
        return tine.stream(1, counts, 3).result()
    except tine.DeadlockError as error:
        return f"{error.code}: {error}"


@tine.function
def where():
    return tine.worker_id()


@tine.function
def spins():
    while not tine.cancelled():
        pass
