"""concurrent.futures on workers: what pickle can carry, to workers that run the same script.

A call is one task, python.call(call, buffers): the pickled function and arguments, whose large buffers
travel beside it as tensors (pickle protocol 5)."""
import concurrent.futures
import itertools
import os
import pickle
import threading
import traceback
from typing import Any, Callable, Optional

import numpy as np

from ._calls import Completer, Future, Module, fork
from ._functions import function
from ._pool import endpoint, init, shutdown, worker_count

_initialized: set[Any] = set()
_allowed = False


def allow_pickle() -> None:
    """Lets Executor work over tcp://, where anyone who reaches the port can make this process run code.

    For a network that you trust. Called before init(), so in the program and in its workers."""
    global _allowed
    _allowed = True


def _check(url: str) -> None:
    if url.startswith("tcp:") and not _allowed:
        raise PermissionError(
            "tine.Executor unpickles what its peers send, and over tcp:// anyone may be one: on a network that you trust call "
            "tine.allow_pickle() before tine.init()"
        )


_numbers = itertools.count(1)


def _dumps(x: Any) -> tuple[Any, ...]:
    buffers: list[Any] = []
    text = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    return text, [np.frombuffer(b.raw(), np.uint8) for b in buffers]


def _loads(text: bytes, buffers: list[Any]) -> Any:
    return pickle.loads(text, buffers=[bytearray(b) for b in buffers])  # writable, as if it had never travelled


class _RemoteTraceback(Exception):
    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


@function(name="python.call")
def _run(setup: Optional[bytes], text: bytes, buffers: list[Any]) -> list[Any]:
    _check(os.environ.get("TINE_WORKER", ""))
    try:
        if setup and setup not in _initialized:
            _, initializer, initargs = pickle.loads(setup)
            initializer(*initargs)
            _initialized.add(setup)
        fn, args, kwargs = _loads(text, buffers)
        return [True, *_dumps(fn(*args, **kwargs))]
    except Exception as error:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            return [False, pickle.dumps((error, trace)), []]
        except Exception:
            raise error


class Executor(concurrent.futures.Executor):
    """A concurrent.futures.Executor whose calls run on Tine's workers, like ProcessPoolExecutor.

    max_workers, initializer, initargs are as there. Tine is started if it does not run, and then shut
    down with the executor. Functions and arguments have to be picklable, and workers have to find the
    function: they run the same script up to here, or import its module. Functions of @tine.function,
    modules and names of built-in functions take tine.fork()'s arguments instead.

    An exception of a function is raised as itself, with the remote traceback as its cause; any other
    failure of a task is a tine.Error."""

    def __init__(self, max_workers: Optional[int] = None, initializer: Optional[Callable[..., Any]] = None, initargs: tuple[Any, ...] = (), **settings: Any):
        self._setup = pickle.dumps((next(_numbers), initializer, initargs)) if initializer else None
        self._owner = worker_count() == 0
        if self._owner:
            init(max_workers, **settings)
        try:
            _check(endpoint() or "")
        except PermissionError:
            if self._owner:
                shutdown()
            raise
        self._changed = threading.Condition()
        self._closed = False
        self._open: dict[Any, Any] = {}  # index in the completer: concurrent's future, Tine's, whether it is not pickled
        self._completer = Completer()
        self._thread = threading.Thread(target=self._deliver, name="tine.Executor", daemon=True)
        self._thread.start()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """As concurrent.futures.Executor.submit()."""
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            plain = isinstance(fn, (str, Module)) or hasattr(fn, "tine_name")
            if plain:
                task = fork(fn, *args, **kwargs)
            else:
                task = fork(_run, self._setup, *_dumps((fn, args, kwargs)))
            theirs: concurrent.futures.Future[Any] = concurrent.futures.Future()
            self._open[self._completer.add(task)] = theirs, task, plain
            self._changed.notify()
        return theirs

    def _deliver(self) -> None:
        while True:
            with self._changed:
                while not self._open and not self._closed:
                    self._changed.wait()
                if not self._open:
                    return
            index = self._completer.next(None)
            if index is None:
                continue
            with self._changed:
                theirs, task, plain = self._open.pop(index)
            if theirs.set_running_or_notify_cancel():
                self._set(theirs, task, plain)
            del task, theirs

    @staticmethod
    def _set(theirs: concurrent.futures.Future[Any], task: Future, plain: bool) -> None:
        try:
            result = task.result()
            if not plain:
                good, text, buffers = result
                result = _loads(text, buffers)
                if not good:
                    error, trace = result
                    error.__cause__ = _RemoteTraceback(trace)
                    raise error
        except BaseException as error:
            theirs.set_exception(error)
        else:
            theirs.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As concurrent.futures.Executor.shutdown(); Tine stops too if this executor started it and waits."""
        with self._changed:
            first, self._closed = not self._closed, True
            pending = [theirs for theirs, _, _ in self._open.values()]
            self._changed.notify()
        if cancel_futures:
            for theirs in pending:
                theirs.cancel()
        if wait:
            self._thread.join()
            if self._owner and first:
                shutdown()
