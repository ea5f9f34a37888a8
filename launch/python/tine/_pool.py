"""init and shutdown: the library's life in a Python process, and what its workers run."""
import atexit
import contextlib
import ctypes
import multiprocessing
import os
import sys
from typing import Any, Iterator, Optional, Sequence

from . import _abi
from ._functions import registered
from ._library import free, held, last_error

# A program of one of these is not run again by its command line.
_HOSTS = {"pytest", "py.test", "ipykernel", "ipykernel_launcher", "ipython", "IPython", "jupyter", "unittest"}
_fields = {field[0]: field[1] for field in _abi.Options._fields_}


def _runs_again() -> bool:
    """Whether this process's command line would run the program once more."""
    main = sys.modules.get("__main__")
    if main is None or hasattr(sys, "ps1") or multiprocessing.parent_process() is not None:
        return False
    if "-c" in sys.orig_argv[1:] and sys.argv[:1] == ["-c"]:
        return True
    path = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    name = spec.name.split(".")[0] if spec else os.path.basename(path or "")
    return path is not None and os.path.exists(path) and name not in _HOSTS


def _command(modules: Optional[Sequence[str]]) -> list[Any]:
    """What a worker runs: this program once more, which comes to init() again, or an interpreter that imports modules."""
    if modules is None and _runs_again():
        return [sys.executable, *sys.orig_argv[1:]]
    if modules is None:
        modules = sorted({f.__module__ for f in registered.values()} - {"__main__", __package__ + "._executor"})
    if isinstance(modules, str):
        raise TypeError("tine.init: modules is a list of names")
    path = [os.path.abspath(p) for p in sys.path]
    return [sys.executable, "-c", f"import sys; sys.path[:] = {path!r}\nfrom tine import _pool\n_pool.serve({list(modules)!r})"]


def serve(modules: Sequence[str]) -> None:
    """Becomes a worker that knows the functions of these modules; ends the process."""
    import importlib

    for name in modules:
        importlib.import_module(name)
    init()
    raise SystemExit("tine: this process was not started as a worker: TINE_WORKER is not set")


def _options(settings: dict[Any, Any], command: list[Any]) -> _abi.Options:
    options = _abi.Options()
    for name, value in settings.items():
        if name not in _fields or name == "worker_command":
            raise TypeError(f"tine.init: unexpected keyword argument '{name}'; there are {', '.join(sorted(_fields))}")
        if value is None:
            continue
        if _fields[name] is ctypes.c_char_p:
            value = os.fspath(value).encode()
        elif _fields[name] is ctypes.c_int and value == 0:
            value = -1  # zero means the default there
        setattr(options, name, value)
    options.worker_command = (ctypes.c_char_p * (len(command) + 1))(*[os.fsencode(c) for c in command], None)
    return options


def init(workers: Optional[int] = None, *, modules: Optional[Sequence[str]] = None, **settings: Any) -> None:
    """Starts Tine: its workers, and the coordinator in this process.

    workers   processes to start here; default: one a core. 0: none, they join with `tine worker`
    modules   what workers import, with the functions of @tine.function. Default: a worker runs this
              script again, which ends in this call; a script's init() comes after its functions and
              before its work. In a notebook, an interactive interpreter or pytest the default is the
              modules of the functions that exist now
    settings  as in `tine_options`: endpoint, await_workers, threads, stack_size, max_pending,
              max_pending_bytes, max_frame, retries, connect_timeout, heartbeat, log_level, trace …
              They are overridden by TINE_… variables

    In a process that was started as a worker it serves, and does not return. Blocks until the workers
    have joined. Raises tine.Error: a setting is wrong, workers did not join, or Tine runs already."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    options = _options(dict(settings, workers=workers), _command(modules))
    code = free.tine_init(None, None, ctypes.byref(options))
    if code:
        raise last_error(code)
    atexit.unregister(shutdown)
    atexit.register(shutdown)


def shutdown() -> int:
    """Stops Tine and its workers; futures that are not done raise tine.CanceledError. May be called again.

    Returns 0; 1: the trace could not be written. A program that ends does it by itself."""
    code: int = free.tine_shutdown()
    return code


@contextlib.contextmanager
def pool(workers: Optional[int] = None, **settings: Any) -> Iterator[None]:
    """`with tine.pool(workers=2): …`: init() and shutdown()."""
    init(workers, **settings)
    try:
        yield
    finally:
        shutdown()


def worker_count() -> int:
    """How many workers are connected now; 0 before init()."""
    count: int = held.tine_worker_count()
    return count


def worker_id() -> int:
    """The worker that the calling task runs on, as fork_with() takes it; 0 in the program."""
    number: int = held.tine_worker_id()
    return number


def endpoint() -> Optional[str]:
    """Where workers can join: a URL; None before init(). A private pool takes only the workers that it starts: see tine_endpoint()."""
    url = held.tine_endpoint()
    return url.decode() if url else None


def trace_start() -> None:
    """Starts recording what every process does."""
    code = held.tine_trace_start()
    if code:
        raise last_error(code)


def trace_write(path: Any) -> None:
    """Writes what was recorded to a file, for ui.perfetto.dev or chrome://tracing. Blocks until workers have answered."""
    code = free.tine_trace_write(os.fsencode(path))
    if code:
        raise last_error(code)
