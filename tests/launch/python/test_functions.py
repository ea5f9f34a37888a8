"""Python functions as tasks."""
import pickle

import functions
import numpy as np
import pytest
import tine


def run(fn, *args, **kwargs):
    return tine.wait(tine.fork(fn, *args, **kwargs))


def test_tasks_wait_for_each_other():
    assert run(functions.fib, 12) == 144 and functions.fib(1) == 1
    assert run(functions.thread_of_task) == [8, True, True]


def test_arguments():
    assert run(functions.describe, 1, 2.0, "x", None, np.ones(2), [1], {}, True, b"", key="v") == [
        ["int", "float", "str", "NoneType", "ndarray", "list", "dict", "bool", "bytes"],
        {"key": "'v'"},
    ]
    assert tine.call(functions.describe, 1) == [["int"], {}]
    big = np.random.rand(500, 500)
    assert np.array_equal(run(functions.identity_of_array, big), big)


def test_exceptions_pass_through_tasks():
    with pytest.raises(tine.TaskError) as failed:
        run(functions.calls_raises)
    error = failed.value
    assert error.task == "calls_raises" and "ValueError: below" in error.cause and error.cause.count("Traceback") >= 2
    assert run(functions.survives) == "ValueError: below"
    with pytest.raises(tine.TaskError, match="SystemExit: 3"):
        run(functions.raises, "SystemExit", "3")
    with pytest.raises(tine.TaskError, match="takes 1 positional argument but 2 were given"):
        run(functions.fib, 1, 2)
    with pytest.raises(tine.TaskError, match="100 % of \u00fc"):
        run(functions.raises, "ValueError", "100 % of \u00fc")


def test_recursion_is_as_deep_as_in_a_program():
    assert run(functions.deep, 900) == 900
    with pytest.raises(tine.TaskError, match="RecursionError"):
        run(functions.deep, 100000)


def test_what_a_task_keeps():
    for size in (10, 100000):
        while True:  # both tasks have to meet the same worker
            tine.wait_all([tine.fork(functions.keep, np.ones(size)) for _ in range(8)])
            try:
                assert run(functions.kept_sum) == [size, -size, size]
                break
            except tine.TaskError as error:
                assert "KeyError" in error.cause


def test_waits_in_tasks():
    assert run(functions.first_of, []) == [True, [-4, -3, -2, -1, 0], [0, -1, -2, -3, -4]]
    assert run(functions.awaits, 7) == 13


def test_decorator():
    @tine.function(name="test_decorator_named")
    def named(x, *, y=2):
        "Adds."
        return x + y

    assert named(1) == 3 and named.__doc__ == "Adds." and named.tine_name == "test_decorator_named"
    assert tine.call("test_decorator_named", 1, y=5) == 6
    with pytest.raises(ValueError, match="test_decorator_named"):

        @tine.function(name="test_decorator_named")
        def other():
            pass

    with pytest.raises(TypeError):
        tine.function(3)
    assert pickle.loads(pickle.dumps(functions.fib)) is functions.fib and functions.fib.tine_name == "fib"
