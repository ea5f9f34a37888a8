"""`python3 -m tine worker ENDPOINT MODULE[,MODULE…] [--tine-NAME=VALUE…]`: a worker that knows the
functions of these modules, for a coordinator in another shell or on another host.
`tine worker --python MODULE ENDPOINT` runs it."""
import os
import signal
import sys

from ._pool import serve


def main(arguments: list[str]) -> str:
    if len(arguments) < 3 or arguments[0] != "worker":
        return "usage: python3 -m tine worker ENDPOINT MODULE[,MODULE…] [--tine-NAME=VALUE…]"
    os.environ["TINE_WORKER"] = arguments[1]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C has the worker leave, as SIGTERM does
    for setting in arguments[3:]:
        name, equals, value = setting.partition("=")
        if not name.startswith("--tine-") or not equals:
            return f"tine worker: {setting}: expected --tine-NAME=VALUE"
        os.environ["TINE_" + name[len("--tine-") :].replace("-", "_").upper()] = value
    try:
        serve(arguments[2].split(","))
    except Exception as error:
        return f"tine worker: {type(error).__name__}: {error}"
    return ""


sys.exit(main(sys.argv[1:]))
