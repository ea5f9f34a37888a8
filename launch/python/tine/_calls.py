"""fork, call and wait: futures, and the waits on several of them.

A wait of the main thread is cut into slices, between which Python handles signals, so Ctrl-C ends it.
Inside a task the wait goes to the library in one piece: it suspends the task, and the worker goes on
with others."""
import ctypes
import itertools
import math
import struct
import threading
import time
import traceback
import weakref
from typing import Any, Callable, Generator, Iterable, Iterator, Mapping, Optional, Sequence, Union

from . import _abi, _values
from ._library import CONTINUATION, Error, free, held, last_error
from ._values import Value, checked, modules, pointers, reap, release_all, seen, taken, to_value

SLICE = 0.1
_main_thread = threading.main_thread().ident
state = threading.local()  # .task: the thread runs a task


def in_task() -> bool:
    return getattr(state, "task", None) is not None


def _blocking(wait: Callable[[float], int], timeout: Optional[float], done: Callable[[], bool]) -> int:
    """Waits, in slices on the main thread. wait(seconds) returns a code of the library; ETIMEDOUT of a done future is the task's own."""
    if threading.get_ident() != _main_thread or in_task():
        return wait(math.inf if timeout is None else timeout)
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    left = SLICE if timeout is None else min(timeout, SLICE)
    while True:
        code = wait(left)
        if code != _abi.TINE_ETIMEDOUT:
            return code
        if done():
            return wait(0)
        left = min(deadline - time.monotonic(), SLICE)
        if left <= 0:
            return code


# ---- arguments ----

_ARGUMENT = "QQq"  # tine_argument: key, type and what fills the type up, the union
_arguments = [struct.Struct(_ARGUMENT * n) for n in range(17)]
_as_float = struct.Struct("d")
_as_bits = struct.Struct("q")
_names: dict[str, tuple[int, Any]] = {}  # text: a buffer that holds it
_MAX_NAMES = 4096


def _name(text: str) -> tuple[int, Any]:
    """The address of a name, and the buffer that holds it. They are kept: programs use few."""
    found = _names.get(text)
    if found is None:
        if "\0" in text:
            raise ValueError(f"tine: a name with a NUL character: {text!r}")
        if len(_names) >= _MAX_NAMES:
            _names.clear()
        buffer = ctypes.create_string_buffer(text.encode())
        found = _names[text] = (ctypes.addressof(buffer), buffer)
    return found


def _add(flat: list[Any], keep: list[Any], key: int, x: Any) -> None:
    """One argument."""
    kind = type(x)
    if kind is float:
        flat += (key, _abi.TINE_ARG_FLOAT, _as_bits.unpack(_as_float.pack(x))[0])
    elif kind is bool:
        flat += (key, _abi.TINE_ARG_BOOL, x)
    elif kind is int and -(1 << 63) <= x < 1 << 63:
        flat += (key, _abi.TINE_ARG_INT, x)
    elif kind is Future:
        flat += (key, _abi.TINE_ARG_FUTURE, x._handle)
        if x._torch:
            seen.torch = True
    else:
        value = to_value(x)
        keep.append(value)
        flat += (key, _abi.TINE_ARG_VALUE, value)


def _call(function: Callable[..., Any], method: Optional[str], target: Any, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> tuple[Any, ...]:
    """Calls one of the library's functions on an array of arguments: its result, and whether torch tensors were among them."""
    flat: list[Any] = []
    keep: list[Any] = []
    names: list[Any] = []
    seen.torch = False
    try:
        if isinstance(target, str):
            names.append(_name(target))
            flat += (0, _abi.TINE_ARG_STRING, names[0][0])
        elif isinstance(target, Value):
            flat += (0, _abi.TINE_ARG_VALUE, target._handle)
            seen.torch = target._torch
        elif isinstance(getattr(target, "tine_name", None), str):
            names.append(_name(target.tine_name))
            flat += (0, _abi.TINE_ARG_STRING, names[0][0])
        else:
            raise TypeError(f"tine: the target must be a function's name, a module or a function of @tine.function, not {target!r}")
        for x in args:
            _add(flat, keep, 0, x)
        for key, x in kwargs.items():
            names.append(_name(key))
            _add(flat, keep, names[-1][0], x)
        n = len(flat) // 3
        packed = (_arguments[n] if n < 17 else struct.Struct(_ARGUMENT * n)).pack(*flat)
        torch = seen.torch  # tine_call_args may run Python functions
        if function is free.tine_module_args:
            return function(packed, n), torch
        return function(method.encode() if method else None, packed, n), torch
    finally:
        release_all(keep)


# ---- futures ----


class Future:
    """The handle on one result to come. It can be an argument of a call, which then gets the result.

    `await future` gives the result in asyncio."""

    __slots__ = ("_handle", "_torch", "__weakref__")

    def __init__(self, handle: int, torch: bool):
        self._handle = handle
        self._torch = torch

    def __del__(self, release: Callable[[int], None] = held.tine_release_future_) -> None:
        release(self._handle)

    def __repr__(self) -> str:
        return f"<tine.Future {'done' if self.done() else 'pending'} at {self._handle:#x}>"

    def done(self) -> bool:
        """Whether `result()` would not block."""
        done: bool = held.tine_done(self._handle)
        return done

    def result(self, timeout: Optional[float] = None) -> Any:
        """Blocks until the task is done, for at most `timeout` seconds (None: without limit).

        Returns its result: arrays are read-only. Raises tine.Error, what the task failed with, or
        tine.TimeoutError: the task goes on. Inside a task it suspends the task, not the worker."""
        out = ctypes.c_void_p()
        code = self._wait(timeout, out)
        if code:
            raise last_error(code)
        if _values._lent:
            reap(64)
        return taken(checked(out.value), self._torch)

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What the task failed with, or None. Blocks as result() does."""
        code = self._wait(timeout, ctypes.c_void_p(), False)
        if code and not self.done():
            raise last_error(code)
        return last_error(code) if code else None

    def cancel(self, force: bool = False) -> bool:
        """Cancels the task: the future fails with tine.CanceledError, and with it what depends on it.

        A task that has not started never starts. One that runs is told: `tine.cancelled()` turns true
        there, and its waits fail. force: its worker is ended and replaced. False: it was done before."""
        code = held.tine_cancel(self._handle, _abi.TINE_CANCEL_FORCE if force else 0)
        if code and code != _abi.TINE_ESTATE:
            raise last_error(code)
        return not code

    def then(self, function: Callable[["Future"], Any]) -> "Future":
        """A future of what `function(self)` returns, which may hold futures. It is called once, when this one is done.

        It may fork, but not block: the thread that runs the event loop calls it, or this one, if the
        future is done already. An exception, also that of `self.result()`, fails the new future."""
        return _then(self, function)

    def _wait(self, timeout: Optional[float], out: ctypes.c_void_p, wanted: bool = True) -> int:
        handle, to = self._handle, ctypes.byref(out) if wanted else None
        return _blocking(lambda seconds: free.tine_wait_for(handle, seconds, to), timeout, self.done)

    def __await__(self) -> Generator[Any, Any, Any]:
        if not in_task() and not self.done():
            import asyncio

            yield from _watcher(asyncio.get_running_loop()).future(self)
        return self.result()


class Stream(Future):
    """The values that a task yields, one after the other: `for value in stream`, `async for value in stream`.

    Then, or when the task fails, it is done: result() gives what the task has returned. One that is
    released before its end cancels its task."""

    __slots__ = ()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Any:
        out = ctypes.c_void_p()
        handle, to = self._handle, ctypes.byref(out)
        code = _blocking(lambda seconds: free.tine_next_for(handle, seconds, to), None, self.done)
        if code == _abi.TINE_ENDED:
            raise StopIteration
        if code:
            raise last_error(code)
        return taken(checked(out.value), self._torch)

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        try:
            return await Future(checked(held.tine_next_future(self._handle)), self._torch)
        except Error as error:
            if error.code == "ENDED":
                raise StopAsyncIteration from None
            raise


def _from_future(future: Future) -> int:
    if future._torch:
        seen.torch = True
    return checked(held.tine_future_value(future._handle))


_values._from[Future] = _values._from[Stream] = _from_future


# ---- the calls ----

Target = Union[str, "Module", Callable[..., Any]]


def _fork(method: Optional[str], target: Target, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Future:
    handle, torch = _call(free.tine_fork_args, method, target, args, kwargs)
    return Future(checked(handle), torch)


def fork(target: Target, /, *args: Any, **kwargs: Any) -> Future:
    """Starts a task on a worker: `fork("neg", x)`, `fork(module, x)`, `fork(function, x, dim=0)`.

    target  the name of a function, a module (its `forward` is called), or a function of @tine.function
    args    None, numbers, strings, bytes, arrays and torch tensors of any shape (up to 8 dimensions),
            lists and dicts of them, modules, and futures, also inside lists and dicts: the task
            starts when they are done, with their results

    Returns at once with a Future, unless max_pending is reached. Every error of the task comes out at
    wait(); TypeError: an argument cannot be passed. An array must not be changed until the future is
    done: large ones are passed by reference."""
    return _fork(None, target, args, kwargs)


def fork_method(target: "Module", method: str, /, *args: Any, **kwargs: Any) -> Future:
    """fork() for a module's method other than `forward`."""
    return _fork(method, target, args, kwargs)


_options = {field[0]: field[1] for field in _abi.ForkOptions._fields_ if field[0] not in ("stream", "no_wait")}


def fork_with(options: Mapping[str, Any], target: Target, /, *args: Any, **kwargs: Any) -> Future:
    """fork() with options: `fork_with({"worker": 3, "deadline": 2.5}, "neg", x)`.

    options  as in `tine_fork_options`: worker (an id, as worker_id() gives it), label, resources
             ("gpu=1", of what workers offer as slots), name, deadline, grace, retries, retry_on_failure,
             priority, owned, and method for a module's. A missing option, or None, has its default

    TypeError: there is no such option."""
    fields = _abi.ForkOptions()
    for name, value in options.items():
        if name not in _options:
            raise TypeError(f"tine.fork_with: there is no option '{name}'; there are {', '.join(sorted(_options))}")
        if value is not None:
            setattr(fields, name, value.encode() if _options[name] is ctypes.c_char_p else value)
    handle, torch = _call(lambda _, packed, n: free.tine_fork_with_args(fields, packed, n), None, target, args, kwargs)
    return Future(checked(handle), torch)


def stream(ahead: int, target: Target, /, *args: Any, **kwargs: Any) -> Stream:
    """fork() of a function that yields values, as a generator does: `for value in stream(4, function, x)`.

    ahead   how many values it may be ahead of its reader; then it waits, and its worker runs other tasks"""
    options = _abi.ForkOptions(stream=ahead)
    if ahead < 1:
        raise ValueError(f"tine.stream: {ahead} values ahead: at least 1 is needed")
    handle, torch = _call(lambda _, packed, n: free.tine_fork_with_args(options, packed, n), None, target, args, kwargs)
    return Stream(checked(handle), torch)


def call(target: Target, /, *args: Any, **kwargs: Any) -> Any:
    """The same call made here, by the calling thread. Blocks while it runs; raises tine.Error."""
    return _call_here(None, target, args, kwargs)


def call_method(target: "Module", method: str, /, *args: Any, **kwargs: Any) -> Any:
    """call() for a module's method other than `forward`."""
    return _call_here(method, target, args, kwargs)


def _call_here(method: Optional[str], target: Target, args: tuple[Any, ...], kwargs: dict[Any, Any]) -> Any:
    value, torch = _call(free.tine_call_args, method, target, args, kwargs)
    return taken(checked(value), torch)


def wait(future: Future, timeout: Optional[float] = None) -> Any:
    """Blocks until a future is done; its result, as Future.result()."""
    return future.result(timeout)


def _handles(futures: Sequence[Future]) -> tuple[Any, ...]:
    return pointers([future._handle for future in futures]), len(futures)


def wait_all(futures: Iterable[Future], timeout: Optional[float] = None) -> list[Any]:
    """Blocks until all are done, also when one fails. Their results in order, or the first error in order."""
    futures = list(futures)
    handles, n = _handles(futures)
    code = _blocking(
        lambda seconds: free.tine_wait_all_for(handles, n, seconds, None), timeout, lambda: held.tine_which_done(handles, n, None) == n
    )
    if code:
        raise last_error(code)
    return [future.result() for future in futures]


def wait_any(futures: Sequence[Future], timeout: Optional[float] = None) -> int:
    """Blocks until one is done, also when it failed: its index, the first if there are several.

    ValueError: there are none; tine.TimeoutError: none was done within `timeout` seconds."""
    if not futures:
        raise ValueError("tine.wait_any: no futures")
    handles, n = _handles(futures)
    index = ctypes.c_size_t()
    code = _blocking(lambda seconds: free.tine_wait_any_for(handles, n, seconds, ctypes.byref(index)), timeout, lambda: False)
    if code:
        raise last_error(code)
    return index.value


def wait_failure(futures: Iterable[Future], timeout: Optional[float] = None) -> Optional[int]:
    """Blocks until one has failed, or all are done: the index of the one that has, the first if there are several, or None.

    tine.TimeoutError: neither was so within `timeout` seconds."""
    handles, n = _handles(list(futures))
    index = ctypes.c_size_t(n)
    code = _blocking(
        lambda seconds: free.tine_wait_failure(handles, n, seconds, ctypes.byref(index)), timeout, lambda: index.value < n
    )
    if index.value < n:
        return index.value
    if code:
        raise last_error(code)
    return None


def cancelled() -> bool:
    """Inside a task: whether it was cancelled, so that a long one can end early. False elsewhere."""
    return in_task() and held.tine_cancelled(state.task)


class Completer:
    """Futures in the order in which they are done, each once."""

    def __init__(self, futures: Sequence[Future] = ()):
        self._handle = checked(held.tine_as_completed(*_handles(futures)))
        self._count = len(futures)

    def __del__(self, release: Callable[[int], None] = held.tine_release_completer_) -> None:
        if hasattr(self, "_handle"):
            release(self._handle)

    def add(self, future: Future) -> int:
        """Its index. The caller has a lock, or is one thread."""
        code = held.tine_completer_add(self._handle, future._handle)
        if code:
            raise last_error(code)
        self._count += 1
        return self._count - 1

    def next(self, timeout: Optional[float]) -> Optional[int]:
        """The index of the next one; None when all were given. Raises TimeoutError."""
        index = ctypes.c_size_t()
        to = ctypes.byref(index)
        code = _blocking(lambda seconds: free.tine_completer_next(self._handle, seconds, to), timeout, lambda: False)
        if code == _abi.TINE_ENDED:
            return None
        if code:
            raise last_error(code)
        return index.value

    def ready(self) -> Iterator[int]:
        """The indexes of those that are done now."""
        index = ctypes.c_size_t()
        while held.tine_completer_next(self._handle, 0, ctypes.byref(index)) == 0:
            yield index.value

    def fileno(self) -> int:
        """A descriptor that is readable while one is ready."""
        fd: int = held.tine_completer_fd(self._handle)
        if fd < 0:
            raise last_error()
        return fd


def as_completed(futures: Iterable[Future], timeout: Optional[float] = None) -> Iterator[Future]:
    """The futures in the order in which they are done. tine.TimeoutError: not all within `timeout` seconds."""
    futures = list(dict.fromkeys(futures))
    deadline = None if timeout is None else time.monotonic() + timeout
    completer = Completer(futures)
    while True:
        index = completer.next(None if deadline is None else max(deadline - time.monotonic(), 0))
        if index is None:
            return
        yield futures[index]


class _Watcher:
    """Wakes the tasks of one asyncio loop whose futures are done, through the completer's descriptor."""

    def __init__(self, loop: Any):
        self._completer = Completer()
        self._waiters: dict[Any, Any] = {}
        self._loop = weakref.ref(loop)
        loop.add_reader(self._completer.fileno(), self._wake)

    def future(self, future: Future) -> Any:
        loop = self._loop()
        assert loop is not None  # it runs the caller
        waiter = loop.create_future()
        self._waiters[self._completer.add(future)] = waiter
        return waiter

    def _wake(self) -> None:
        for index in self._completer.ready():
            waiter = self._waiters.pop(index)
            if not waiter.done():  # cancelled
                waiter.set_result(None)


_watchers: weakref.WeakKeyDictionary[Any, _Watcher] = weakref.WeakKeyDictionary()


def _watcher(loop: Any) -> _Watcher:
    watcher = _watchers.get(loop)
    if watcher is None:
        watcher = _watchers[loop] = _Watcher(loop)
    return watcher


def when_all(futures: Sequence[Future]) -> Future:
    """A future of the list of all results; it fails as soon as one of them does."""
    return Future(checked(held.tine_when_all(*_handles(futures))), any(future._torch for future in futures))


def when_any(futures: Sequence[Future]) -> Future:
    """A future of the result, or the failure, of the first one that is done."""
    return Future(checked(held.tine_when_any(*_handles(futures))), any(future._torch for future in futures))


# ---- continuations ----


class _Continuation:
    __slots__ = ("function", "future", "torch", "made")

    def __init__(self, function: Callable[[Future], Any], future: Future):
        self.function, self.future, self.torch = function, future, future._torch
        self.made: Optional[Future] = None  # until tine_then has returned

    def run(self) -> int:
        seen.torch = self.torch
        value = to_value(self.function(self.future))
        self.torch = seen.torch
        if self.made is not None:
            self.made._torch = self.torch
        return value


_continuations: dict[int, _Continuation] = {}  # by number: each is called once
_numbers = itertools.count(1)


def _continue(future: int, number: int) -> Optional[int]:
    """What the library calls: a reference on the result. A failure is returned as a future that has failed."""
    outer = getattr(seen, "torch", False)
    try:
        return _continuations.pop(number).run()
    except BaseException as error:
        code = getattr(_abi, "TINE_" + error.code, _abi.TINE_EFAILED) if isinstance(error, Error) else _abi.TINE_EFAILED
        text = str(error) if isinstance(error, Error) else "".join(traceback.format_exception(error)).strip()
        failed = Promise()
        failed._fail(code, text)
        return checked(held.tine_future_value(failed.future._handle))
    finally:
        seen.torch = outer


_continue_here = CONTINUATION(_continue)


def _then(future: Future, function: Callable[[Future], Any]) -> Future:
    if not callable(function):
        raise TypeError(f"tine: then() takes a function of a future, not {function!r}")
    number = next(_numbers)
    one = _continuations[number] = _Continuation(function, future)
    handle = free.tine_then(future._handle, _continue_here, number)
    if handle is None:
        del _continuations[number]
    one.made = Future(checked(handle), one.torch)
    one.made._torch = one.torch  # it may have run meanwhile
    return one.made


class Promise:
    """Completes its `future` once, from any thread. Released before that, the future fails (ECANCELED)."""

    __slots__ = ("_handle", "future", "__weakref__")

    def __init__(self) -> None:
        future = ctypes.c_void_p()
        self._handle = checked(held.tine_promise_new(ctypes.byref(future)))
        self.future = Future(checked(future.value), False)

    def __del__(self, release: Callable[[int], None] = held.tine_release_promise_) -> None:
        if hasattr(self, "_handle"):
            release(self._handle)

    def set(self, result: Any) -> None:
        """Completes the future with a result, which may hold futures. tine.Error (ESTATE): it was completed before."""
        seen.torch = False
        value = to_value(result)
        self.future._torch = seen.torch
        try:
            code = free.tine_promise_set(self._handle, value)
        finally:
            held.tine_release_value_(value)
        if code:
            raise last_error(code)

    def fail(self, message: str) -> None:
        """Completes the future with a failure: a tine.TaskError."""
        self._fail(_abi.TINE_EFAILED, message)

    def _fail(self, code: int, message: str) -> None:
        text = message.replace("\0", "\\0").encode(errors="backslashreplace")
        code = held.tine_promise_fail(self._handle, code, b"%s", text)
        if code:
            raise last_error(code)


def put(x: Any) -> Value:
    """Ships a value once: passed to calls, the result stands for it. Blocks for futures inside it."""
    seen.torch = False
    value = to_value(x)
    try:
        return Value(checked(free.tine_put(value)), seen.torch)
    finally:
        held.tine_release_value_(value)


# ---- modules ----


class Module(Value):
    """A module: its weights travel to a worker once, are packed once, and stay.

    `fork(module, x)` and `module(x)` call its `forward`, on a worker and here."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call(self, *args, **kwargs)


modules.append(Module)


def module(name: str, /, *args: Any, **kwargs: Any) -> Module:
    """A module of a class by its name: `module("lstm", 8, 16, state_dict=weights)`.

    Blocks for futures among the arguments. Wrong arguments are reported by the calls."""
    handle, torch = _call(free.tine_module_args, None, name, args, kwargs)
    return Module(checked(handle), torch)
