"""libtine through ctypes: finding it, the signatures of its calls, and errors.

Two handles on one library. `held` keeps the GIL: for calls that return at once, where giving it up
and taking it back would cost more than the call, and would wait for other threads. `free` releases it:
for calls that may block, run a task, or copy much. No call of the library takes the GIL under a lock
of its own, so holding it cannot deadlock."""
import builtins
import ctypes
import os
import re
import shutil
from ctypes import CFUNCTYPE, POINTER, c_bool, c_char_p, c_double, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any, Optional

from . import _abi

NAME = "libtine.so.0"


def _path() -> str:
    """Where the loader does not look: beside the `tine` command."""
    command = shutil.which("tine")
    if command:
        beside = os.path.join(os.path.dirname(os.path.realpath(command)), "..", "lib", NAME)
        if os.path.exists(beside):
            return os.path.normpath(beside)
    return NAME


def _open() -> str:
    for name in (NAME, _path()):
        try:
            ctypes.CDLL(name)
            return name
        except OSError as error:
            reason = error
    raise ImportError(
        f"tine: {reason}. Install the library (`make install PREFIX=…`) where the loader finds it, or set LD_LIBRARY_PATH"
    )


_name = _open()
held = ctypes.PyDLL(_name)
free = ctypes.CDLL(_name)

FUNCTION = CFUNCTYPE(c_void_p, c_void_p)
CONTINUATION = CFUNCTYPE(c_void_p, c_void_p, c_void_p)

_AT_ONCE = {
    "tine_version": (c_char_p, []),
    "tine_error_message": (c_char_p, []),
    "tine_last_error": (c_int, []),
    "tine_error_name": (c_char_p, [c_int]),
    "tine_worker_count": (c_int, []),
    "tine_endpoint": (c_char_p, []),
    "tine_done": (c_bool, [c_void_p]),
    "tine_none": (c_void_p, []),
    "tine_bool": (c_void_p, [c_bool]),
    "tine_int": (c_void_p, [c_int64]),
    "tine_float": (c_void_p, [c_double]),
    "tine_string": (c_void_p, [c_char_p]),
    "tine_bytes": (c_void_p, [c_char_p, c_size_t]),
    "tine_tensor": (c_void_p, [c_int, c_int, c_char_p, c_char_p]),
    "tine_tensor_wrap": (c_void_p, [c_int, c_int, c_char_p, c_void_p, c_void_p, c_void_p]),
    "tine_list_of": (c_void_p, [c_void_p, c_size_t]),
    "tine_dict_of": (c_void_p, [c_void_p, c_void_p, c_size_t]),
    "tine_future_value": (c_void_p, [c_void_p]),
    "tine_kind_of": (c_int, [c_void_p]),
    "tine_as_bool": (c_bool, [c_void_p]),
    "tine_as_int": (c_int64, [c_void_p]),
    "tine_as_float": (c_double, [c_void_p]),
    "tine_as_string": (c_void_p, [c_void_p]),
    "tine_as_bytes": (c_void_p, [c_void_p, c_void_p]),
    "tine_at": (c_void_p, [c_void_p, c_size_t]),
    "tine_length": (c_size_t, [c_void_p]),
    "tine_key_at": (c_char_p, [c_void_p, c_size_t]),
    "tine_dtype_of": (c_int, [c_void_p]),
    "tine_rank": (c_int, [c_void_p]),
    "tine_shape": (c_void_p, [c_void_p]),
    "tine_data": (c_void_p, [c_void_p]),
    "tine_elements": (c_int64, [c_void_p]),
    "tine_equal": (c_bool, [c_void_p, c_void_p]),
    "tine_ref_value_": (c_void_p, [c_void_p]),
    "tine_release_value_": (None, [c_void_p]),
    "tine_release_future_": (None, [c_void_p]),
    "tine_register_function": (None, [c_char_p, c_char_p, FUNCTION, c_int]),
    "tine_arg": (c_void_p, [c_void_p, c_size_t]),
    "tine_fail": (c_void_p, [c_void_p, c_char_p]),
    "tine_trace_start": (c_int, []),
    "tine_next_future": (c_void_p, [c_void_p]),
    "tine_worker_id": (c_uint32, []),
    "tine_which_done": (c_size_t, [c_char_p, c_size_t, c_void_p]),
    "tine_as_completed": (c_void_p, [c_char_p, c_size_t]),
    "tine_completer_add": (c_int, [c_void_p, c_void_p]),
    "tine_completer_next": (c_int, [c_void_p, c_double, POINTER(c_size_t)]),
    "tine_completer_fd": (c_int, [c_void_p]),
    "tine_release_completer_": (None, [c_void_p]),
    "tine_when_all": (c_void_p, [c_char_p, c_size_t]),
    "tine_when_any": (c_void_p, [c_char_p, c_size_t]),
    "tine_promise_new": (c_void_p, [POINTER(c_void_p)]),
    "tine_promise_fail": (c_int, [c_void_p, c_int, c_char_p]),
    "tine_release_promise_": (None, [c_void_p]),
    "tine_cancel": (c_int, [c_void_p, c_int]),
    "tine_cancelled": (c_bool, [c_void_p]),
}
_BLOCKING = {
    "tine_init": (c_int, [c_void_p, c_void_p, POINTER(_abi.Options)]),
    "tine_shutdown": (c_int, []),
    "tine_fork_args": (c_void_p, [c_char_p, c_char_p, c_size_t]),
    "tine_fork_with_args": (c_void_p, [POINTER(_abi.ForkOptions), c_char_p, c_size_t]),
    "tine_call_args": (c_void_p, [c_char_p, c_char_p, c_size_t]),
    "tine_next_for": (c_int, [c_void_p, c_double, POINTER(c_void_p)]),
    "tine_yield": (c_int, [c_void_p, c_void_p]),
    "tine_module_args": (c_void_p, [c_char_p, c_size_t]),
    "tine_wait_for": (c_int, [c_void_p, c_double, POINTER(c_void_p)]),
    "tine_wait_any_for": (c_int, [c_char_p, c_size_t, c_double, POINTER(c_size_t)]),
    "tine_wait_all_for": (c_int, [c_char_p, c_size_t, c_double, c_void_p]),
    "tine_wait_failure": (c_int, [c_char_p, c_size_t, c_double, POINTER(c_size_t)]),
    "tine_then": (c_void_p, [c_void_p, CONTINUATION, c_void_p]),
    "tine_completer_next": (c_int, [c_void_p, c_double, POINTER(c_size_t)]),
    "tine_promise_set": (c_int, [c_void_p, c_void_p]),
    "tine_put": (c_void_p, [c_void_p]),
    "tine_load": (c_void_p, [c_char_p, c_char_p]),
    "tine_save": (c_int, [c_char_p, c_void_p]),
    "tine_trace_write": (c_int, [c_char_p]),
}
for _library, _table in ((held, _AT_ONCE), (free, _BLOCKING)):
    for _function, (_result, _parameters) in _table.items():
        getattr(_library, _function).restype = _result
        getattr(_library, _function).argtypes = _parameters

version = held.tine_version().decode()
if version.split(".")[:2] != _abi.VERSION.split(".")[:2]:
    raise ImportError(f"tine: this package is for version {_abi.VERSION} of libtine, and {_name} is {version}: install both anew")


class Error(Exception):
    """A call of Tine failed. `str(error)` is the library's sentence.

    code    its name: "EFAILED" (the task itself failed), "ELOST", "EINVAL", "EUNKNOWN" …
    task    the name of the task that failed, or None
    worker  where it ran: "pid 12 (host a)", or None
    cause   what went wrong there: for a Python task, the traceback of its exception; without a task
            the whole sentence
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.task: Optional[str]
        self.worker: Optional[str]
        self.cause: str
        found = _TASK.match(message)
        self.task, self.worker, self.cause = found.groups() if found else (None, None, message)

    def __reduce__(self) -> Any:
        return type(self), (self.code, str(self))


class TaskError(Error):
    """The task itself failed: EFAILED."""


class LostError(Error):
    """The worker, or the coordinator, was lost: ELOST."""


class CanceledError(Error):
    """Tine was shut down, or the task cancelled, first: ECANCELED."""


class DeadlockError(Error):
    """It can never be done: it waits for what waits for it: EDEADLK."""


class TimeoutError(Error, builtins.TimeoutError):
    """A deadline passed: ETIMEDOUT. Also a built-in TimeoutError."""


class ArgumentError(Error, ValueError):
    """An argument, option or file is wrong: EINVAL. Also a ValueError."""


class UnknownError(Error, LookupError):
    """No worker knows this function, class or method: EUNKNOWN. Also a LookupError."""


_TASK = re.compile(r'task "(.*?)" (?:failed|was lost) on worker (.*?), attempt \d+ of \d+: (.*)', re.S)
_KINDS = {
    _abi.TINE_EINVAL: ArgumentError,
    _abi.TINE_EUNKNOWN: UnknownError,
    _abi.TINE_EFAILED: TaskError,
    _abi.TINE_ELOST: LostError,
    _abi.TINE_ETIMEDOUT: TimeoutError,
    _abi.TINE_ECANCELED: CanceledError,
    _abi.TINE_EDEADLK: DeadlockError,
}


def last_error(code: int = 0) -> BaseException:
    """The exception for the last error of this thread."""
    code = code or held.tine_last_error()
    message = held.tine_error_message().decode(errors="replace")
    if code == _abi.TINE_ENOMEM:
        return MemoryError(message)
    return _KINDS.get(code, Error)(held.tine_error_name(code).decode(), message)
