"""Python functions as tasks.

A function is registered with the library under its name, in the program and in its workers alike. A
worker runs each task on a thread of its own (TINE_THREAD): the interpreter keeps its state by thread,
and its stack is deep. ctypes takes the GIL for the call and releases it in waits, so a suspended task
holds nothing. Its objects own what they refer to (TINE_OWNS), because they may outlive the task."""
import functools
import sys
import traceback
import types
from typing import Any, Callable, Generator, Optional, TypeVar, overload

from . import _abi
from ._calls import state
from ._library import FUNCTION, free, held, last_error
from ._values import from_value, to_value

registered: dict[Any, Any] = {}  # name: the function
_kept: list[Any] = []  # what the library holds pointers to


def _yield(task: int, values: Generator[Any, Any, Any]) -> Any:
    """Yields a generator's values to the caller of stream(); returns what the generator returns."""
    while True:
        try:
            value = to_value(next(values))
        except StopIteration as end:
            return end.value
        try:
            code = free.tine_yield(task, value)
        finally:
            held.tine_release_value_(value)
        if code:
            values.close()
            raise last_error(code)


def _run(name: str, torch: bool, task: int) -> Optional[int]:
    """One task: its result, or None, and then the task has failed."""
    outer, state.task = getattr(state, "task", None), task
    try:
        args = from_value(held.tine_arg(task, 0), torch)
        kwargs = from_value(held.tine_arg(task, 1), torch)
        result = registered[name](*args, **kwargs)
        return to_value(_yield(task, result) if isinstance(result, types.GeneratorType) else result)
    except BaseException as error:  # also SystemExit: a task does not end its worker
        trace = error.__traceback__
        text = "".join(traceback.format_exception(type(error), error, trace and trace.tb_next)).strip()
        held.tine_fail(task, b"%s", text.replace("\0", "\\0").encode(errors="backslashreplace"))
        return None
    finally:
        state.task = outer
        if outer is None:
            _flush()


def _flush() -> None:
    """Flushes what a task has printed: its worker may end without Python's knowledge."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            pass


def _register(fn: Callable[..., Any], name: str, repeatable: bool, torch: bool) -> None:
    before = registered.get(name)
    if before is not None and (before.__module__, before.__qualname__) != (fn.__module__, fn.__qualname__):
        raise ValueError(
            f"tine.function: {fn.__module__}.{fn.__qualname__} and {before.__module__}.{before.__qualname__} have one name, "
            f'"{name}": give one another, @tine.function(name="…")'
        )
    registered[name] = fn
    if before is not None:  # defined anew, as notebooks do
        return
    run = FUNCTION(functools.partial(_run, name, torch))
    flags = _abi.TINE_THREAD | _abi.TINE_OWNS | (_abi.TINE_REPEATABLE if repeatable else 0)
    _kept.append(run)
    held.tine_register_function(name.encode(), b"*args, **kwargs", run, flags)


_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def function(fn: _Function) -> _Function: ...
@overload
def function(*, name: Optional[str] = None, repeatable: bool = False, torch: bool = False) -> Callable[[_Function], _Function]: ...
def function(fn: Optional[Callable[..., Any]] = None, *, name: Optional[str] = None, repeatable: bool = False, torch: bool = False) -> Any:
    """Makes a function one that can be forked: `@tine.function`, or `@tine.function(repeatable=True)`.

    It stays the function that it is: called, it runs here.

    name        what it is registered as; default: the function's own name. A built-in of that name is
                replaced, and still called "tine.NAME"
    repeatable  safe to run again when its worker is lost
    torch       tensors come as torch tensors; default: numpy arrays, which are read-only

    A generator yields values to the caller of tine.stream().

    Workers have to define it before they reach tine.init(): they run the same script, or import the
    module. An exception fails the task; its traceback is the cause of the caller's tine.TaskError."""
    if fn is None:
        return functools.partial(function, name=name, repeatable=repeatable, torch=torch)
    if not callable(fn):
        raise TypeError(f"tine.function: {fn!r} is not callable")
    name = fn.__name__ if name is None else name
    if not name or "\0" in name:
        raise ValueError(f"tine.function: {name!r} cannot be a name")
    _register(fn, name, repeatable, torch)
    fn.tine_name = name  # type: ignore[attr-defined]
    return fn
